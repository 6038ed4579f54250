"""What a view knows of its sources: each row once, and a watermark that nobody runs ahead of."""

import numpy as np

from streams.logs.keyed_log import EVENTS, LABELS, NO_TIME_US, KeyedBatch, SourceMark
from streams.sources.idleness import IDLE_AFTER_S, IdleWatch
from streams.views.source_marks import SourceMarks


def batch(
    topic: str, marks: list[tuple[int, int, int, bool]], rows: list[tuple[int, int]] = (), partitions: int = 2
) -> KeyedBatch:
    """A message with marks of (partition, offset, newest, idle) and rows of (source, offset)."""
    n = len(rows)
    return KeyedBatch(
        kind=LABELS if topic == "labels" else EVENTS,
        topic=topic,
        partitions=partitions,
        marks=tuple(SourceMark(*mark) for mark in marks),
        sources=np.array([source for source, _ in rows], dtype=np.int32),
        offsets=np.array([offset for _, offset in rows], dtype=np.int64),
        ids=np.zeros(n, dtype=np.int64),
    )


def test_rows_are_fresh_once() -> None:
    marks = SourceMarks("tx", None)
    message = batch("tx", [(0, 4, 100, False), (1, 7, 100, False)], [(0, 3), (0, 4), (1, 7)])

    first = marks.fresh(message).tolist()
    marks.update(message)

    assert first == [True, True, True]
    assert marks.fresh(message).tolist() == [False, False, False]
    assert marks.fresh(batch("tx", [], [(0, 5), (1, 7), (1, 8)])).tolist() == [True, False, True]


def test_a_source_message_cut_in_two_is_whole_with_its_mark() -> None:
    marks = SourceMarks("tx", None)
    head = batch("tx", [], [(0, 3), (0, 4)])
    tail = batch("tx", [(0, 4, 100, False)], [(0, 4), (0, 4)])

    first = marks.fresh(head).tolist()
    marks.update(head)
    second = marks.fresh(tail).tolist()
    marks.update(tail)

    assert (first, second) == ([True, True], [True, True])
    assert marks.fresh(tail).tolist() == [False, False]
    assert marks.applied() == {"tx:0": 4, "tx:1": -1}


def test_a_mark_covers_messages_that_left_no_row_here() -> None:
    marks = SourceMarks("tx", None)
    marks.update(batch("tx", [(0, 9, 100, False)]))

    assert marks.applied() == {"tx:0": 9, "tx:1": -1}


def test_the_watermark_is_that_of_the_slowest_partition() -> None:
    marks = SourceMarks("tx", None)
    marks.update(batch("tx", [(0, 1, 100, False)]))
    unheard = marks.watermark_us()
    marks.update(batch("tx", [(1, 1, 40, False)]))

    assert unheard is None
    assert marks.watermark_us() == 40


def test_an_idle_partition_holds_nobody() -> None:
    marks = SourceMarks("tx", None)
    marks.update(batch("tx", [(0, 1, 100, False), (1, -1, NO_TIME_US, True)]))

    assert marks.watermark_us() == 100


def test_where_all_are_idle_time_stands_at_the_newest_event() -> None:
    marks = SourceMarks("tx", None)
    marks.update(batch("tx", [(0, 1, 100, True), (1, 1, 40, True)]))

    assert marks.watermark_us() == 100


def test_labels_hold_time_back_and_never_push_it() -> None:
    marks = SourceMarks("tx", "labels")
    marks.update(batch("tx", [(0, 1, 100, False), (1, 1, 90, False)]))
    marks.update(batch("labels", [(0, 1, 30, False)], partitions=1))
    held = marks.watermark_us()
    marks.update(batch("tx", [(0, 1, 100, True), (1, 1, 90, True)]))
    marks.update(batch("labels", [(0, 2, 500, False)], partitions=1))

    assert held == 30
    assert marks.watermark_us() == 100


def test_a_restored_view_knows_what_it_knew() -> None:
    marks, again = SourceMarks("tx", None), SourceMarks("tx", None)
    marks.update(batch("tx", [(0, 4, 100, False), (1, 2, 70, True)], [(0, 4)]))
    again.restore(marks.arrays())

    assert again.applied() == marks.applied()
    assert again.watermark_us() == marks.watermark_us()


def test_one_partition_that_wakes_wakes_its_group() -> None:
    watch = IdleWatch(["a", "b", "c"], now_s=0.0)
    watch.look(["a", "b"], now_s=IDLE_AFTER_S)

    woken = watch.saw(["a"], now_s=10.0)

    assert woken == {"a", "b"}
    assert watch.look(["a", "b", "c"], now_s=10.0 + IDLE_AFTER_S / 2) == set()
    assert watch.look(["a", "b", "c"], now_s=10.0 + IDLE_AFTER_S) == {"a", "b", "c"}


def test_a_partition_that_keeps_talking_leaves_the_idle_ones_idle() -> None:
    watch = IdleWatch(["a", "b"], now_s=0.0)
    watch.look(["b"], now_s=IDLE_AFTER_S)

    assert watch.saw(["a"], now_s=3.0) == set()
    assert watch.idle == {"b"}
