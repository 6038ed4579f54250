"""Where a view that was computed from the offline log goes on live: no gap, no double; pure.

The log says what happened up to a source offset S of each partition. Its keyed log holds those rows too, and what came
after. The view may go on behind any message K before which nothing stands that is newer than S: what is older is
dropped by its marks, as after a restart.

    offline log     ... S
    keyed log       [≤S] [≤S] [≤S] [>S] [≤S] [>S] ...       after a crash the worker sends some rows once more
                               K └─ read from here, what is ≤ S is dropped

Looking back from the end is enough: a mark of a partition at or below S says that everything newer comes behind it,
because whoever wrote it went on in order from there. Only the present owner's marks count: a former one that was paused
may still write.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headrace.errors import IntegrityError
from streams.logs.keyed_log import EVENTS, KeyedBatch, SourceMark

__all__ = ["BehindError", "SwitchPoint", "find_switch"]

I64 = NDArray[np.int64]
Place = tuple[str, int]
"""(source topic, partition)."""
Read = Callable[[int, int], Iterable[tuple[int, KeyedBatch]]]
"""Messages of a keyed log from an offset to before another, with their offsets."""
_FIRST_LOOK = 64
_FARTHER = 8


class BehindError(Exception):
    """The offline log must be read further before the view can go on live; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPoint:
    """A message of a keyed log, and what was known of the sources there."""

    offset: int
    """K; -1 when the view reads all of the keyed log."""
    marks: Mapping[Place, SourceMark]
    """Newest mark of each source partition at or before it, as far as was looked."""
    silent: frozenset[Place]
    """Source partitions of which nothing was heard, so that nobody may wait for them."""


@dataclass(slots=True)
class _Look:
    """What stands in one part of the keyed log."""

    first: dict[Place, int] = field(default_factory=dict)
    """Offset of the first mark of each partition."""
    before: dict[Place, SourceMark] = field(default_factory=dict)
    heard: set[Place] = field(default_factory=set)
    cut: int | None = None
    """First message with something newer than S."""
    lacking: str = ""
    """An input that rows newer than S do not carry."""


def find_switch(
    read: Read,
    first: int,
    end: int,
    applied: Mapping[str, I64],
    columns: Iterable[str],
    epochs: Mapping[Place, int] | None = None,
    *,
    where: str,
) -> SwitchPoint:
    """The last message of a keyed log behind which a view may go on.

    Args:
        read: gives its messages.
        first: oldest offset it still holds.
        end: offset after the newest.
        applied: source topic -> (P,) S of each partition.
        columns: inputs the view needs of events.
        epochs: of the present owner of each source partition, see streams.ownership.claims; 0 where absent.
        where: the keyed log's name, for messages.

    Raises:
        BehindError: reading on in the offline log, or a worker of this project, will help.
        IntegrityError: rows newer than S have left the keyed log.
    """
    wanted, back = frozenset(columns), _FIRST_LOOK
    places = {(topic, number) for topic, offsets in applied.items() for number in range(len(offsets))}
    while True:
        start = max(first, end - back)
        look = _look(read(start, end), applied, wanted, epochs or {})
        open_places = {place for place in places if place not in look.first or look.first[place] > _of(applied, place)}
        if not open_places or start == first:
            break
        back *= _FARTHER
    beyond = sorted(place for place in open_places if place in look.first)
    if beyond and first > 0:
        topic, number = beyond[0]
        raise IntegrityError(
            f"{where} begins behind offset {_of(applied, beyond[0])} of {topic}:{number}, where the offline log ended",
            hint="run the command again: it goes on from where it is, with what the log holds by now",
        )
    if beyond:
        topic, number = beyond[0]
        raise BehindError(f"{where} begins at offset {look.first[beyond[0]] + 1} of {topic}:{number}")
    if open_places and first == 0:
        topic, number = min(open_places)
        raise BehindError(f"{where} says nothing of {topic}:{number}")
    if look.lacking:
        raise BehindError(f"{where} has rows without {look.lacking!r}, from before the view was defined")
    return SwitchPoint(
        offset=(end if look.cut is None else look.cut) - 1, marks=look.before, silent=frozenset(places - look.heard)
    )


def _look(
    messages: Iterable[tuple[int, KeyedBatch]],
    applied: Mapping[str, I64],
    wanted: frozenset[str],
    epochs: Mapping[Place, int],
) -> _Look:
    look = _Look()
    for offset, batch in messages:
        known = applied.get(batch.topic)
        if known is None:
            continue
        fresh = bool(len(batch)) and bool((batch.offsets > known[batch.sources]).any())
        beyond = fresh or any(mark.offset > known[mark.partition] for mark in batch.marks)
        if beyond and look.cut is None:
            look.cut = offset
        if fresh and batch.kind == EVENTS and (missing := wanted - batch.columns.keys()):
            look.lacking = min(missing)
        for mark in batch.marks:
            place = (batch.topic, mark.partition)
            look.heard.add(place)
            if mark.epoch >= epochs.get(place, 0):
                look.first.setdefault(place, mark.offset)
            if look.cut is None and mark.epoch >= (look.before[place].epoch if place in look.before else 0):
                look.before[place] = mark
    return look


def _of(applied: Mapping[str, I64], place: Place) -> int:
    return int(applied[place[0]][place[1]])
