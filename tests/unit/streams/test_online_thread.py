"""Rows on their way to a slow store: joined by key, never reordered with what was said after them."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from feature_store.online.redis_online import RowWrite
from feature_store.plan import ViewPlan, compile_view
from feature_store.rows import RowBatch, newest_of
from headrace import EventStream, FeatureView, Int64, String, count
from headrace.errors import UnavailableError
from streams.stopped_waiting import StoppedWaitingError
from streams.views.online_thread import OnlineThread


def plan_of(kind: Any = Int64) -> ViewPlan:
    stream = EventStream("s", key="k", time="t", id="i", schema={"k": kind})
    return compile_view(FeatureView("v", entity="k", source=stream, features=[count().over("1h")]))


def rows_of(plan: ViewPlan, values: dict[Any, float], events: int = 1) -> RowBatch:
    """Rows whose state is ``events`` events that carry the key's value."""
    n, sizes = len(values), np.arange(len(values)) % 3 * events
    keys = np.array(list(values), dtype=object if plan.has_text_keys else np.int64)
    marks = np.repeat(np.array(list(values.values())), sizes).astype(np.int64)
    return RowBatch(
        keys=keys,
        valid_from_us=np.array(list(values.values())).astype(np.int64),
        valid_until_us=np.full(n, 9),
        values=np.array(list(values.values()))[:, None],
        has_state=np.ones(n, dtype=np.bool_),
        state_start=np.concatenate([[0], np.cumsum(sizes)]),
        state_t=marks,
        state_id=marks + 1,
        state_inputs=np.empty((len(plan.inputs), len(marks)), dtype=np.int64),
        state_base=np.empty((len(keys), 0), dtype=np.int64),
    )


def content(rows: RowBatch) -> dict[Any, tuple[Any, ...]]:
    """Key -> everything its row says."""
    parts = list(zip(rows.state_start[:-1], rows.state_start[1:], strict=True))
    return {
        key: (
            rows.values[row].tolist(),
            int(rows.valid_from_us[row]),
            rows.state_t[slice(*parts[row])].tolist(),
            rows.state_id[slice(*parts[row])].tolist(),
        )
        for row, key in enumerate(rows.keys.tolist())
    }


class SlowStore:
    """Keeps what it was given, once the gate is open; is away for the first ``failures`` calls."""

    def __init__(self, failures: int = 0) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.failures = failures
        self.said: list[Any] = []
        self.calls: list[int] = []

    def write_all(self, writes: list[RowWrite]) -> list[int]:
        self.entered.set()
        assert self.gate.wait(30)
        if self.failures:
            self.failures -= 1
            raise UnavailableError("away")
        self.calls.append(len(writes))
        self.said.extend((write.version, write.watermark_us, content(write.rows)) for write in writes)
        return [len(write.rows) for write in writes]


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def thread(store: SlowStore) -> Iterator[OnlineThread]:
    made = OnlineThread(store, threading.Event())  # type: ignore[arg-type]  # the one method used
    yield made
    store.gate.set()
    made.close()


@pytest.mark.parametrize("kind", [Int64, String])
def test_the_newer_row_of_a_key_is_kept_with_its_events(kind: Any) -> None:
    plan, name = plan_of(kind), str if kind is String else int
    rng = np.random.default_rng(0)
    for _ in range(20):
        older, newer = ({name(key): float(rng.integers(100)) for key in rng.permutation(12)[:7]} for _ in range(2))
        batches = [rows_of(plan, values, events=2) for values in (older, newer)]

        joined = newest_of(*batches)

        assert content(joined) == {**content(batches[0]), **content(batches[1])}
        assert len(joined) == len(set(joined.keys.tolist()))


def test_rows_that_wait_are_joined_and_written_before_what_was_said_later(
    store: SlowStore, thread: OnlineThread
) -> None:
    plan = plan_of()
    thread.write(plan, 0, rows_of(plan, {1: 1.0}), version=1, watermark_us=10)
    assert store.entered.wait(30)
    thread.write(plan, 0, rows_of(plan, {1: 2.0, 2: 2.0}), version=2, watermark_us=20)
    thread.write(plan, 1, rows_of(plan, {7: 2.0}), version=1, watermark_us=20)
    thread.do(lambda: store.said.append("report"))
    thread.write(plan, 0, rows_of(plan, {2: 3.0, 3: 3.0}), version=3, watermark_us=30)
    store.gate.set()
    thread.wait()

    written = [
        said if said == "report" else (said[:2], {key: row[0] for key, row in said[2].items()}) for said in store.said
    ]
    assert written == [
        ((1, 10), {1: [1.0]}),
        ((3, 30), {1: [2.0], 2: [3.0], 3: [3.0]}),
        ((1, 20), {7: [2.0]}),
        "report",
    ]
    assert store.calls == [1, 2]  # what waited was one call of both partitions


def test_files_wait_for_the_rows_before_them_and_no_row_waits_for_files(store: SlowStore, thread: OnlineThread) -> None:
    plan, disk, begun = plan_of(), threading.Event(), threading.Event()

    def save() -> None:
        begun.set()
        assert disk.wait(30)
        store.said.append("saved")

    thread.write(plan, 0, rows_of(plan, {1: 1.0}), version=1, watermark_us=10)
    thread.save(save)
    thread.save(lambda: store.said.append("saved again"))
    assert store.entered.wait(30)
    assert not begun.is_set()
    store.gate.set()
    assert begun.wait(30)
    written = threading.Event()
    thread.write(plan, 0, rows_of(plan, {1: 2.0}), version=2, watermark_us=20)
    thread.do(written.set)
    assert written.wait(30)
    disk.set()
    thread.wait()

    assert [said if isinstance(said, str) else said[0] for said in store.said] == [1, 2, "saved", "saved again"]


def test_a_store_that_was_away_gets_everything_once(store: SlowStore, thread: OnlineThread) -> None:
    plan = plan_of()
    store.failures = 2
    store.gate.set()
    thread.write(plan, 0, rows_of(plan, {1: 1.0}), version=1, watermark_us=10)
    thread.wait()

    assert [said[0] for said in store.said] == [1]


def test_told_to_stop_while_the_store_is_away_it_says_so() -> None:
    store, stop = SlowStore(failures=10**6), threading.Event()
    store.gate.set()
    stop.set()
    thread = OnlineThread(store, stop)  # type: ignore[arg-type]  # the one method used
    plan = plan_of()
    thread.write(plan, 0, rows_of(plan, {1: 1.0}), version=1, watermark_us=10)

    with pytest.raises(StoppedWaitingError):
        thread.wait()
    thread.close()
