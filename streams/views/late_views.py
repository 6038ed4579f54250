"""Opens views whose backfill has ended beside the worker: their states may be large, and other views flow meanwhile.

    partition read by   card_use ───────────────────────────────────────────────►
    backfill ended                 │ restored in a thread │ read again from there on
                                                            card_risk ───────────►

Whatever a view is not yet restored for is read again for it alone: tasks pass over what they know.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from feature_store.plan import ViewPlan
from streams.messages.message_runs import Place
from streams.ownership.tenures import FencedError
from streams.views.view_task import ViewTask

__all__ = ["LateViews"]

Open = Callable[[ViewPlan, int, int], ViewTask]
"""Makes and restores the task of a view and a partition under an epoch."""


@dataclass(frozen=True, slots=True)
class _Opening:
    epoch: int
    tasks: "Future[list[ViewTask]]"


class LateViews:
    """What is being opened for partitions that are owned already, one after another."""

    def __init__(self, open_view: Open) -> None:
        self._open_view = open_view
        self._thread = ThreadPoolExecutor(1, "late views")
        self._opening: dict[Place, _Opening] = {}

    def begin(self, place: Place, epoch: int, plans: Sequence[ViewPlan]) -> None:
        """Open these views of a partition, unless others of it are being opened: ask again once they are."""
        if place not in self._opening:
            self._opening[place] = _Opening(epoch, self._thread.submit(self._open, place, epoch, plans))

    def opened(self, epochs: Mapping[Place, int]) -> dict[Place, list[ViewTask]]:
        """Tasks that are ready now, of partitions that are owned as they were then; each is given once.

        Raises:
            IntegrityError: state and log of one do not belong together.
        """
        done = {place: opening for place, opening in self._opening.items() if opening.tasks.done()}
        for place in done:
            del self._opening[place]
        found = {}
        for place, opening in done.items():
            if epochs.get(place) == opening.epoch and not opening.tasks.cancelled():
                with contextlib.suppress(FencedError):  # it is about to be lost
                    found[place] = opening.tasks.result()
        return found

    def is_opening(self, place: Place) -> bool:
        """Whether something of a partition is being opened."""
        return place in self._opening

    def give_up(self, place: Place) -> None:
        """Return when nothing of a partition is being opened: a restart tidies files, which then may be another's."""
        opening = self._opening.get(place)
        if opening is not None and not opening.tasks.cancel():
            concurrent.futures.wait([opening.tasks])

    def close(self) -> None:
        """Begin nothing any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _open(self, place: Place, epoch: int, plans: Sequence[ViewPlan]) -> list[ViewTask]:
        return [self._open_view(plan, place[1], epoch) for plan in plans]
