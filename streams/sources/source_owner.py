"""Owning partitions of source topics: claimed when they come, committed as they go, given up when they leave."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from headrace.errors import UnavailableError
from headrace.logging import get_logger
from streams.messages.message_runs import Place
from streams.ownership.claims import Claim, NotMemberError, read_epochs
from streams.ownership.membership import Change, ChangeKind, Membership
from streams.sources.source_commit import SourceCommit, claim_sources, copy_of, write_commits

__all__ = ["SourceOwner"]

_TRIES, _AGAIN_S = 20, 0.05
"""Of the last commit of a partition that moves: for a second, should the group be changing again."""
_LOG = get_logger(__name__)

_Claimed = dict[Place, tuple[SourceCommit, Claim]]


class SourceOwner:
    """The claims and commits of one worker.

    Args:
        membership: of the group of the source topics.
        bootstrap: the broker's address, for errors.
        now_us: wall clock.
        taken: told of each partition that was taken over how long it had been given up; None when it was not.
    """

    def __init__(
        self,
        membership: Membership,
        bootstrap: str,
        now_us: Callable[[], int],
        taken: Callable[[float | None], None] = lambda _: None,
    ) -> None:
        self._taken = taken
        self._membership = membership
        self._bootstrap = bootstrap
        self._now_us = now_us
        self._terms: dict[Place, int] = {}
        self._unclaimed: set[Place] = set()
        self._claim: Future[_Claimed] | None = None
        self._waiting: dict[Place, SourceCommit] = {}
        self._writing: Future[dict[Place, SourceCommit]] | None = None
        self.epochs: dict[Place, int] = {}
        """Of every partition that was claimed and is still owned."""

    @property
    def is_settled(self) -> bool:
        """Whether everything the group has given was claimed."""
        return not self._unclaimed

    def changes(self) -> Iterator[Change]:
        """Claimed partitions that go, one change after another; gives up or begins to claim the others by itself."""
        for change in self._membership.changes():
            if change.kind is ChangeKind.GAINED:
                self._terms |= dict.fromkeys(change.places, change.term)
                self._unclaimed |= change.places
                continue
            claimed = change.places & self.epochs.keys()
            self.forget(change.places - claimed)
            if claimed:
                # Before the next change: the same partitions may come again with it.
                yield replace(change, places=claimed)
            elif change.kind is ChangeKind.RELEASED:
                change.done.set()

    def claimed(self) -> dict[Place, SourceCommit]:
        """Partitions that are this worker's from now on, and where they were left."""
        if self._claim is None and self._unclaimed:
            wanted = {place: self._terms[place] for place in self._unclaimed}
            self._claim = self._membership.ask(lambda consumer: self._claim_all(consumer, wanted))
        if self._claim is None or not self._claim.done():
            return {}
        claim, self._claim = self._claim, None
        try:
            taken = claim.result()
        except (NotMemberError, UnavailableError) as error:
            _LOG.info("partitions are claimed again", why=error.args[0])
            return {}
        now_us, opened = self._now_us(), {}
        for place, (commit, held) in taken.items():
            if place in self._unclaimed:
                self._unclaimed.discard(place)
                self.epochs[place] = held.epoch
                opened[place] = commit
                paused_s = (now_us - held.released_us) / 1e6 if held.released_us else None
                self._taken(paused_s)
                _LOG.info(
                    "partition taken over",
                    topic=place[0],
                    partition=place[1],
                    offset=commit.offset,
                    epoch=held.epoch,
                    paused_s=None if paused_s is None else round(paused_s, 3),
                )
        return opened

    def fenced(self) -> set[Place]:
        """Partitions that somebody else has claimed meanwhile.

        Raises:
            UnavailableError: the broker does not answer.
        """
        places = set(self.epochs)
        if not places:
            return set()
        newest = self._membership.ask(lambda consumer: read_epochs(consumer, places, self._bootstrap)).result()
        return {place for place, epoch in newest.items() if epoch > self.epochs[place]}

    def commit(self, commits: Mapping[Place, SourceCommit]) -> None:
        """Have these stored; :meth:`committed` says when they are."""
        self._waiting |= commits
        self._write_waiting()

    def committed(self) -> dict[Place, SourceCommit]:
        """What has been stored since the last call.

        Raises:
            UnavailableError: the broker does not answer.
        """
        if self._writing is None or not self._writing.done():
            return {}
        writing, self._writing = self._writing, None
        stored: dict[Place, SourceCommit] = {}
        try:
            stored = writing.result()
        except NotMemberError as error:
            # Either the group settles and takes them, or the partitions are lost, which drops them.
            _LOG.debug("offsets are committed again", why=error.args[0])
        self._waiting = {
            place: commit
            for place, commit in self._waiting.items()
            if place not in stored or stored[place] is not commit
        }
        self._write_waiting()
        return stored

    @property
    def has_uncommitted(self) -> bool:
        """Whether anything given to :meth:`commit` is not stored yet."""
        return bool(self._waiting)

    def release(self, change: Change, commits: Mapping[Place, SourceCommit]) -> None:
        """Commit a last time what moves, and let it move.

        A group that does not take the commit has moved the partitions already; their new owner begins before it.
        """
        now_us = self._now_us()
        last = {place: replace(copy_of(commit), released_us=now_us) for place, commit in commits.items()}
        terms = {place: self._terms[place] for place in last}

        def work(consumer: Any) -> None:
            for left in reversed(range(_TRIES)):
                try:
                    self._write(consumer, last, terms)
                    break
                except (NotMemberError, UnavailableError) as error:
                    if not left:
                        _LOG.warning("partitions moved without their last commit", why=error.args[0])
                time.sleep(_AGAIN_S)
            change.done.set()

        self._membership.ask(work)
        self.forget(change.places)

    def forget(self, places: Collection[Place]) -> None:
        """These are not this worker's any more."""
        for place in places:
            self._terms.pop(place, None)
            self.epochs.pop(place, None)
            self._waiting.pop(place, None)
        self._unclaimed -= set(places)

    def _write_waiting(self) -> None:
        if self._waiting and self._writing is None:
            commits = dict(self._waiting)
            terms = {place: self._terms[place] for place in commits}
            self._writing = self._membership.ask(lambda consumer: self._write(consumer, commits, terms))

    def _write(
        self, consumer: Any, commits: Mapping[Place, SourceCommit], terms: Mapping[Place, int]
    ) -> dict[Place, SourceCommit]:
        # A worker that was lost and has joined again could commit anything: only what it was given since counts.
        held = {place: commit for place, commit in commits.items() if self._membership.holds(place, terms[place])}
        write_commits(consumer, held.items(), self._bootstrap)
        return held

    def _claim_all(self, consumer: Any, wanted: Mapping[Place, int]) -> _Claimed:
        held = [place for place, term in wanted.items() if self._membership.holds(place, term)]
        return claim_sources(consumer, held, self._bootstrap, self._now_us) if held else {}
