"""Partitions that change hands: every row counts once whoever sends it, and nobody runs ahead of the slowest."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.logs.keyed_log import EVENTS, KeyedBatch, SourceMark
from streams.messages.fetch import Fetcher
from streams.messages.message_runs import MessageRun, Place
from streams.messages.reach import Reach, newer
from streams.views.source_marks import SourceMarks
from tests.message_runs import message_run


def message(first: int, stop: int, epoch: int, *, idle: bool = False) -> KeyedBatch:
    """Offsets of one source partition, one row each, as their owner forwards them."""
    offsets = np.arange(first, stop, dtype=np.int64)
    return KeyedBatch(
        kind=EVENTS,
        topic="tx",
        partitions=1,
        marks=(SourceMark(0, stop - 1, (stop - 1) * 10, idle, epoch),),
        sources=np.zeros(len(offsets), dtype=np.int32),
        offsets=offsets,
        ids=offsets,
        keys=offsets,
        times_us=offsets * 10,
        columns={},
    )


@st.composite
def owners(draw: st.DrawFn) -> tuple[int, list[KeyedBatch]]:
    """A keyed log of several owners in turn; each begins at a commit of the one before, who may not know that it ended.

    What a former owner sends comes in its order, at any time after the next one has begun.
    """
    total = draw(st.integers(1, 40))
    log: list[KeyedBatch] = []
    late: list[KeyedBatch] = []
    start = 0
    count = draw(st.integers(1, 4))
    for epoch in range(1, count + 1):
        end = total if epoch == count else draw(st.integers(start, total))
        cuts = sorted({start, end, *draw(st.lists(st.integers(start, end), max_size=6))})
        sent = [message(low, high, epoch) for low, high in pairwise(cuts)]
        delivered = len(sent) if epoch == count else draw(st.integers(0, len(sent)))
        log += [message(start, start, epoch)] if start else []
        for piece in sent[:delivered]:
            while late and draw(st.booleans()):
                log.append(late.pop(0))
            log.append(piece)
        late += [*sent[delivered:], message(end, end, epoch, idle=True)] if epoch < count else []
        # What is committed has been acknowledged before.
        start = draw(st.integers(start, cuts[delivered]))
    return total, log + late


@given(owners())
def test_rows_count_once_and_only_the_last_owner_is_believed(given: tuple[int, list[KeyedBatch]]) -> None:
    total, log = given
    marks = SourceMarks("tx", None)
    applied: list[int] = []
    highest = 0
    for piece in log:
        fresh = piece.offsets[marks.fresh(piece)].tolist()
        before = marks.applied()
        watermark_us = marks.watermark_us()
        marks.update(piece)
        epoch = piece.marks[0].epoch
        if epoch < highest:
            assert not fresh
            assert (marks.applied(), marks.watermark_us()) == (before, watermark_us)
        highest = max(highest, epoch)
        applied += fresh

    assert sorted(applied) == list(range(total))
    assert marks.applied() == {"tx:0": total - 1}

    again = SourceMarks("tx", None)
    again.restore(marks.arrays())
    assert not any(again.fresh(piece).any() for piece in log)


@dataclass
class Worker:
    """A fetcher over partitions of a broker of lists: consumer and reader in one."""

    arrivals: Mapping[Place, list[int]]
    own: list[Place]
    read_to: dict[Place, int] = field(default_factory=dict)
    wanted: int = 1
    at_once = 1

    def add(self, starts: Mapping[Place, int]) -> None:
        self.read_to |= starts

    def remove(self, places: Collection[Place]) -> None:
        for place in places:
            del self.read_to[place]

    def pause(self, _places: object) -> None: ...

    def resume(self, _places: object) -> None: ...

    def close(self) -> None: ...

    def read(self, _count: int, _wait_s: float) -> list[MessageRun]:
        """A few messages of one partition, chosen by whoever drives the test."""
        if not self.wanted:
            return []
        place = self.own[self.wanted % len(self.own)]
        first, every = self.read_to[place], self.arrivals[place]
        stop = min(len(every), first + self.wanted % 3 + 1)
        self.read_to[place], self.wanted = stop, self.wanted // 2
        return [message_run(*place, first, every[first:stop], at_end=stop == len(every))]

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        return {place: len(self.arrivals[place]) for place in places}


@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=12).map(sorted), min_size=2, max_size=4),
    st.integers(0, 50),
    st.integers(0, 2**32),
)
def test_no_worker_runs_ahead_of_another_and_none_waits_for_ever(
    partitions: list[list[int]], slack_us: int, seed: int
) -> None:
    arrivals = {("t", number): every for number, every in enumerate(partitions)}
    places = sorted(arrivals)
    shares = [places[0::2], places[1::2]]
    workers = [Worker(arrivals, share) for share in shares]
    fetchers = [
        Fetcher(worker, worker, ends=worker.ends, slack_us=slack_us, foreign_slack_us=slack_us) for worker in workers
    ]
    for fetcher, share in zip(fetchers, shares, strict=True):
        fetcher.add(dict.fromkeys(share, 0))
        fetcher.stand_by(frozenset(places) - frozenset(share), {})
    rng = Random(seed)
    said: dict[Place, Reach] = {}
    left = {place: list(every) for place, every in arrivals.items()}
    for _ in range(1_000):
        number = rng.randrange(2)
        fetcher, worker = fetchers[number], workers[number]
        worker.wanted = rng.randrange(1, 200)
        if rng.random() < 0.7:
            fetcher.stand_by(frozenset(shares[1 - number]), dict(said))
        for batch in fetcher.fetch(50, 0.0):
            for partition, arrival_us in zip(batch.partitions.tolist(), batch.arrivals_us.tolist(), strict=True):
                slowest_us = min((left[place][0] for place in shares[1 - number] if left[place]), default=10**9)
                assert arrival_us <= slowest_us + slack_us
                left["t", partition].remove(arrival_us)
        if rng.random() < 0.7:
            said = newer(said, fetcher.reaches(dict.fromkeys(shares[number], 1)))
        if not any(left.values()):
            return
    raise AssertionError("everything passes in the end")
