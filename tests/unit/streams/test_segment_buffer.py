"""The event log of a topic: what it may be continued with, and how its partitions are written apart."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_store.offline.offline_log import write_segment
from headrace.errors import ConfigError, HeadraceError
from streams.logs.segment_buffer import SegmentBuffer, SourceRows

OLD = pa.schema([pa.field("id", pa.int64()), pa.field("n", pa.int64())])


def test_a_changed_type_is_refused_at_the_start_and_a_field_more_is_not(tmp_path: Path) -> None:
    write_segment(pa.table([[1], [2]], schema=OLD), tmp_path / "partition=0", 0, 0)

    with pytest.raises(ConfigError, match=r"'n' is declared double, and .* holds int64") as caught:
        SegmentBuffer(tmp_path, OLD.set(1, pa.field("n", pa.float64()))).restart({0: 1})
    assert "new name" in caught.value.hint
    SegmentBuffer(tmp_path, OLD.append(pa.field("tip", pa.float64()))).restart({0: 1})


def part_of(first: int, rows: int) -> SourceRows:
    """As many events of each of the partitions 0 and 1, from the same offset on."""
    offsets = np.tile(np.arange(first, first + rows), 2)
    partitions = np.repeat(np.array([0, 1], np.int32), rows)
    return SourceRows(
        columns={"id": offsets * 10 + partitions, "n": offsets},
        nulls={},
        times_us=offsets,
        partitions=partitions,
        offsets=offsets,
        arrivals_us=offsets,
        late=np.zeros(2 * rows, dtype=np.bool_),
    )


def test_a_partition_that_cannot_be_written_takes_no_row_of_another_with_it(tmp_path: Path) -> None:
    buffer = SegmentBuffer(tmp_path, OLD)
    buffer.restart({0: 0, 1: 0})
    # Few rows and many: those of few are joined with their neighbours before they are split.
    ends = np.cumsum([3, 1, 4_000, 2, 5])
    for first, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        buffer.add(part_of(first, end - first))
    end = int(ends[-1])
    write = buffer.take({0: (0, end), 1: (0, end)})
    buffer.add(part_of(end, 1))
    (tmp_path / "partition=0").write_bytes(b"no folder")

    with pytest.raises(HeadraceError):
        write(0)
    write(1)

    (segment,) = (tmp_path / "partition=1").glob("*.parquet")
    written = pq.ParquetFile(segment).read()
    assert written["n"].to_pylist() == list(range(end))
    assert written["id"].to_pylist() == [10 * offset + 1 for offset in range(end)]
    assert buffer.rows == 2  # what came since waits for the next time
