"""Owning partitions of keyed logs: claimed and restored beside the worker when they come, given up once saved."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from headrace.errors import UnavailableError
from headrace.logging import get_logger
from streams.messages.message_runs import Place
from streams.ownership.claims import Claim, NotMemberError, claim_views, read_epochs, release_views
from streams.ownership.membership import Change, ChangeKind, Membership
from streams.ownership.tenures import FencedError
from streams.views.view_task import ViewTask

__all__ = ["OpenedViews", "ViewOwner"]

_LOG = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedViews:
    """The view tasks of one partition, restored."""

    tasks: list[ViewTask]
    start: int
    """First offset of the keyed log to read."""
    epoch: int


Open = Callable[[Place, int], OpenedViews]
"""Makes and restores the tasks of a partition under an epoch."""


class ViewOwner:
    """The claims of one worker.

    Args:
        membership: of the group of the keyed logs.
        bootstrap: the broker's address, for errors.
        now_us: wall clock.
        open_views: restores a partition; called in another thread, so that the other partitions flow meanwhile.
        taken: told of each partition that was taken over how long it had been given up; None when it was not.
    """

    def __init__(
        self,
        membership: Membership,
        bootstrap: str,
        now_us: Callable[[], int],
        open_views: Open,
        taken: Callable[[float | None], None] = lambda _: None,
    ) -> None:
        self._taken = taken
        self._membership = membership
        self._bootstrap = bootstrap
        self._now_us = now_us
        self._open_views = open_views
        self._opener = ThreadPoolExecutor(1, "open views")
        self._opening: dict[Place, tuple[int, Future[OpenedViews]]] = {}
        """Place -> the term in which it came, and its tasks to be."""
        self._terms: dict[Place, int] = {}
        self.epochs: dict[Place, int] = {}
        """Of every partition that was opened and is still owned."""

    @property
    def is_settled(self) -> bool:
        """Whether everything the group has given was opened."""
        return not self._opening

    def changes(self) -> Iterator[Change]:
        """Opened partitions that go, one change after another; begins to open those that come by itself."""
        for change in self._membership.changes():
            if change.kind is ChangeKind.GAINED:
                self._begin(change.places, change.term)
                continue
            opened = change.places & self.epochs.keys()
            for place in change.places - opened:
                self._opening.pop(place, None)
            if opened:
                # Before the next change: the same partitions may come again with it.
                yield replace(change, places=opened)
            elif change.kind is ChangeKind.RELEASED:
                change.done.set()

    def opened(self) -> dict[Place, OpenedViews]:
        """Partitions that are this worker's from now on.

        Raises:
            IntegrityError: state, log and topic of one do not belong together.
        """
        found, again = {}, {}
        for place, (term, future) in list(self._opening.items()):
            if not future.done():
                continue
            del self._opening[place]
            try:
                views = found[place] = future.result()
            except (NotMemberError, FencedError, UnavailableError) as error:
                _LOG.info("a partition is opened again", topic=place[0], partition=place[1], why=error.args[0])
                again[place] = term
                continue
            self.epochs[place], self._terms[place] = views.epoch, term
        for place, term in again.items():
            self._begin([place], term)
        return found

    def is_fenced(self, place: Place, epoch: int) -> bool:
        """Whether somebody else has claimed the partition since; may be asked in any thread but the member's.

        Raises:
            UnavailableError: the broker does not answer.
        """
        asked = self._membership.ask(lambda consumer: read_epochs(consumer, [place], self._bootstrap))
        return asked.result()[place] > epoch

    def release(self, change: Change, offsets: dict[Place, int], released_us: int) -> Callable[[], None]:
        """Forget the partitions; gives what lets them move, to be called when all of them is saved."""
        epochs = {place: self.epochs[place] for place in change.places}
        terms = {place: self._terms[place] for place in change.places}
        self.forget(change.places)

        def work(consumer: Any) -> None:
            held = {place: epoch for place, epoch in epochs.items() if self._membership.holds(place, terms[place])}
            try:
                release_views(consumer, held, offsets, released_us, self._bootstrap)
            except (NotMemberError, UnavailableError) as error:
                _LOG.info("partitions moved unannounced", why=error.args[0])
            finally:
                change.done.set()

        def let_go() -> None:
            self._membership.ask(work)

        return let_go

    def forget(self, places: Collection[Place]) -> None:
        """These are not this worker's any more."""
        for place in places:
            self.epochs.pop(place, None)
            self._terms.pop(place, None)

    def close(self) -> None:
        self._opener.shutdown(wait=False, cancel_futures=True)

    def _begin(self, places: Collection[Place], term: int) -> None:
        claims = self._membership.ask(lambda consumer: self._claim(consumer, places, term))
        for place in places:
            self._opening[place] = term, self._opener.submit(self._open, place, claims)

    def _claim(self, consumer: Any, places: Collection[Place], term: int) -> dict[Place, Claim]:
        if not all(self._membership.holds(place, term) for place in places):
            raise NotMemberError("the partitions have moved on")
        return claim_views(consumer, places, self._bootstrap, self._now_us)

    def _open(self, place: Place, claims: "Future[dict[Place, Claim]]") -> OpenedViews:
        claim = claims.result()[place]
        views = self._open_views(place, claim.epoch)
        paused_s = (self._now_us() - claim.released_us) / 1e6 if claim.released_us else None
        self._taken(paused_s)
        _LOG.info(
            "partition taken over",
            topic=place[0],
            partition=place[1],
            offset=views.start,
            epoch=claim.epoch,
            paused_s=None if paused_s is None else round(paused_s, 3),
        )
        return views
