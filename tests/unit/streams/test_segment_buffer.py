"""A log is not continued with columns that cannot be read beside those it has."""

from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.offline.offline_log import write_segment
from headrace.errors import ConfigError
from streams.logs.segment_buffer import SegmentBuffer

OLD = pa.schema([pa.field("id", pa.int64()), pa.field("n", pa.int64())])


def test_a_changed_type_is_refused_at_the_start_and_a_field_more_is_not(tmp_path: Path) -> None:
    write_segment(pa.table([[1], [2]], schema=OLD), tmp_path / "partition=0", 0, 0)

    with pytest.raises(ConfigError, match=r"'n' is declared double, and .* holds int64") as caught:
        SegmentBuffer(tmp_path, OLD.set(1, pa.field("n", pa.float64()))).restart({0: 1})
    assert "new name" in caught.value.hint
    SegmentBuffer(tmp_path, OLD.append(pa.field("tip", pa.float64()))).restart({0: 1})
