"""Compaction changes files and no row: after a crash at any step, and for readers in the middle of it."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.offline.log_reading import read_log
from feature_store.offline.offline_log import covered, drop_from, end_offset, list_files, segments, write_segment
from feature_store.upkeep.compaction import FileSteps, compact

SCHEMA = pa.schema([pa.field("key", pa.int64()), pa.field("at", pa.int64()), pa.field("_offset", pa.int64())])


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Mortal(FileSteps):
    """File operations of a process that dies before one of them, or in the middle of writing."""

    left: int
    halfway: bool = False

    def write(self, table: pa.Table, path: Path) -> None:
        if self.left == 0 and self.halfway:
            path.write_bytes(b"PAR1 half a file")
        self._live()
        super().write(table, path)

    def publish(self, hidden: Path, target: Path) -> None:
        self._live()
        super().publish(hidden, target)

    def remove(self, path: Path) -> None:
        self._live()
        super().remove(path)

    def _live(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1


class Watched(FileSteps):
    """File operations beside a reader, who looks before and after each."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self.seen = [_rows(log)]

    def write(self, table: pa.Table, path: Path) -> None:
        super().write(table, path)
        self.seen.append(_rows(self._log))

    def publish(self, hidden: Path, target: Path) -> None:
        super().publish(hidden, target)
        self.seen.append(_rows(self._log))

    def remove(self, path: Path) -> None:
        super().remove(path)
        self.seen.append(_rows(self._log))


sizes = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=9)
"""(rows, offsets without a row after them) of each file."""


@contextmanager
def written(files: list[tuple[int, int]]) -> Iterator[Path]:
    """A log of one partition with these files; keys and times are in no order."""
    with tempfile.TemporaryDirectory() as folder:
        log, first = Path(folder), 0
        for rows, gap in files:
            offsets = range(first, first + rows)
            columns = [[offset * 7 % 5 for offset in offsets], [-offset * 3 % 11 for offset in offsets], offsets]
            last = first + rows - 1 + gap
            write_segment(
                pa.table([pa.array(c, pa.int64()) for c in columns], SCHEMA), log / "partition=0", first, last
            )
            first = last + 1
        yield log


def _rows(log: Path) -> list[dict[str, int]]:
    """Rows a reader finds, by offset."""
    return sorted(read_log(log, SCHEMA).to_pylist(), key=lambda row: row["_offset"])


@settings(deadline=None)
@given(
    files=sizes, crashes=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=3), below=st.integers(0, 50)
)
def test_a_crash_at_any_step_costs_no_row_and_the_next_run_leaves_no_trace_of_it(
    files: list[tuple[int, int]], crashes: list[tuple[int, bool]], below: int
) -> None:
    with written(files) as log:
        expected, end = _rows(log), end_offset(log / "partition=0")
        for left, halfway in crashes:
            with suppress(Crash):
                list(compact(log / "partition=0", below=below, order=("key", "at"), steps=Mortal(left, halfway)))
            assert _rows(log) == expected
            assert end_offset(log / "partition=0") == end

        while list(compact(log / "partition=0", below=below, order=("key", "at"))):
            pass

        assert _rows(log) == expected
        assert not covered(list_files(log / "partition=0"))
        assert {path.suffix for path in (log / "partition=0").iterdir()} == {".parquet"}


@settings(deadline=None)
@given(files=sizes)
def test_a_reader_beside_it_finds_every_row_once_at_any_step(files: list[tuple[int, int]]) -> None:
    with written(files) as log:
        watched = Watched(log)

        list(compact(log / "partition=0", below=10**6, order=("key", "at"), steps=watched))

        assert all(rows == watched.seen[0] for rows in watched.seen)


@settings(deadline=None)
@given(files=sizes, restart=st.integers(0, 9))
def test_a_writer_that_restarts_takes_back_the_same_rows_as_without_compaction(
    files: list[tuple[int, int]], restart: int
) -> None:
    with written(files) as log, written(files) as other:
        starts = [segment.first for segment in segments(log / "partition=0")]
        first = starts[restart % len(starts)]

        list(compact(log / "partition=0", below=first, order=("key", "at")))
        for folder in (log, other):
            drop_from(folder / "partition=0", first)

        assert _rows(log) == _rows(other)


def test_readers_in_another_thread_never_find_a_row_less_or_twice() -> None:
    with written([(3, 1)] * 60) as log, ThreadPoolExecutor(1) as thread:
        expected = _rows(log)
        for target_bytes in (4_000, 10_000, 10**6):
            at_work = thread.submit(
                lambda target_bytes=target_bytes: list(
                    compact(log / "partition=0", below=10**6, order=("key", "at"), target_bytes=target_bytes)
                )
            )
            while not at_work.done():
                assert _rows(log) == expected
            assert at_work.result()
        assert len(segments(log / "partition=0")) == 1
