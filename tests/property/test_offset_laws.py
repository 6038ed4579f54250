"""Laws of offsets that stand for many events: whatever is cut, lost and sent again, each event counts once.

source    0: ab   1: cde   2: f
batches   [0: ab, 1: cde]  [2: f]
pieces    (ab c) (de ✓1) (f ✓2)        ✓ a mark: everything up to this offset stands here
killed    (ab c) ✗  (ab) (cde ✓1) (f ✓2)
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.logs.keyed_log import EVENTS, KeyedBatch, SourceMark
from streams.views.source_marks import SourceMarks


@dataclass(frozen=True)
class Row:
    """An event in the keyed log."""

    offset: int
    event: int


def batch_of(rows: list[Row]) -> KeyedBatch:
    """What a source task forwards: rows of whole messages, with the mark of the last of them."""
    return KeyedBatch(
        kind=EVENTS,
        topic="tx",
        partitions=1,
        marks=(SourceMark(0, rows[-1].offset, 0, False),),
        sources=np.zeros(len(rows), dtype=np.int32),
        offsets=np.array([row.offset for row in rows], dtype=np.int64),
        ids=np.array([row.event for row in rows], dtype=np.int64),
    )


@st.composite
def keyed_logs(draw: st.DrawFn) -> tuple[list[Row], list[KeyedBatch]]:
    """Events of a source partition, and its keyed log as some runs left it, each killed but the last."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    events = iter(range(sum(sizes)))
    messages = [[Row(offset, next(events)) for _ in range(size)] for offset, size in enumerate(sizes)]
    pieces: list[KeyedBatch] = []
    committed = 0
    for _ in range(draw(st.integers(1, 4))):
        made: list[tuple[KeyedBatch, int]] = []
        at = committed
        while at < len(messages):
            end = draw(st.integers(at + 1, len(messages)))
            batch = batch_of([row for message in messages[at:end] for row in message])
            step = draw(st.integers(1, 5))
            cuts = range(0, len(batch), step)
            made += [
                (batch.slice(cut, cut + step, last=cut + step >= len(batch)), end if cut + step >= len(batch) else at)
                for cut in cuts
            ]
            at = end
        kept = draw(st.integers(0, len(made)))
        pieces += [piece for piece, _ in made[:kept]]
        # A commit says less than what is in the log, never more.
        committed = draw(st.integers(committed, max([committed, *(end for _, end in made[:kept])])))
    pieces += [batch_of([row for message in messages[committed:] for row in message])] if messages[committed:] else []
    return [row for message in messages for row in message], pieces


@given(keyed_logs())
def test_every_event_is_applied_and_what_comes_twice_is_of_an_offset_nobody_closed(
    given: tuple[list[Row], list[KeyedBatch]],
) -> None:
    rows, pieces = given
    marks = SourceMarks("tx", None)
    applied: list[int] = []
    closed = -1
    offset_of = {row.event: row.offset for row in rows}
    for piece in pieces:
        taken = piece.ids[marks.fresh(piece)].tolist()
        assert all(event not in applied or offset_of[event] > closed for event in taken)
        applied += taken
        marks.update(piece)
        closed = max([closed, *(mark.offset for mark in piece.marks)])

    assert set(applied) == {row.event for row in rows}
    assert marks.applied() == {"tx:0": rows[-1].offset}


@given(keyed_logs())
def test_events_first_come_in_their_order(given: tuple[list[Row], list[KeyedBatch]]) -> None:
    """So of two events with one id the same one is first, however often the worker fell."""
    rows, pieces = given
    marks = SourceMarks("tx", None)
    firsts: dict[int, None] = {}
    for piece in pieces:
        firsts.update(dict.fromkeys(piece.ids[marks.fresh(piece)].tolist()))
        marks.update(piece)

    assert list(firsts) == [row.event for row in rows]
