"""Follows the rollout records: what Redis says is loaded and swapped in; a trial that tripped is ended.

One thread does all reading, loading and writing. Requests only take a reference, so a swap fails none of them,
and a tripped trial ends for every later request at once, whether Redis can be told or not.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.artifact_format import LoadedModel
from headrace.clock import Clock
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from headrace.errors import HeadraceError, IntegrityError
from headrace.logging import get_logger
from headrace.rollout_records import rollback
from headrace.rollout_store import RolloutStore
from serving.model_shelf import ModelShelf
from serving.record_cache import KnownGood, RecordCache, Trip
from serving.router import on_trial

__all__ = ["Loaded", "RecordFollower"]

WRITER = "serving"
POLL_S = 0.1
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A record and the versions it names, ready to answer."""

    record: RolloutRecord
    routing: RolloutRecord
    """What requests are routed by: the record, without its trial when that has tripped or could not be loaded."""
    versions: Mapping[str, LoadedModel]
    thresholds: Mapping[str, float]
    """Version -> score from which an event is flagged."""


class RecordFollower:
    """Keeps every model's newest loadable record at hand.

    Args:
        store: where the records are.
        shelf: loads versions.
        cache: what to boot from when the store is away.
        models: names of the models to follow.
        announce: takes a rollback this server wrote; must not block.
        changed: told after each swap; must not block for long.
        clock: wall clock.
    """

    def __init__(
        self,
        store: RolloutStore,
        shelf: ModelShelf,
        cache: RecordCache,
        models: Sequence[str],
        *,
        announce: Callable[[RolloutChange], None],
        changed: Callable[[Loaded], None],
        clock: Clock,
    ) -> None:
        self._store, self._shelf, self._cache, self._models = store, shelf, cache, tuple(models)
        self._announce, self._changed, self._clock = announce, changed, clock
        self._current: dict[str, Loaded] = {}
        self._tripped: dict[str, dict[str, Trip]] = {model: {} for model in models}
        self._remembered: dict[str, KnownGood] = {}
        self._problems: dict[str, str] = {}
        self._lock = threading.Lock()  # swaps and trips; never held over I/O
        self._pass = threading.Lock()  # one look at the store at a time
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="record-follower", daemon=True)

    def start(self) -> None:
        """Load what is in force, or what was last known, then follow in the background."""
        self.restore()
        self.refresh()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def current(self, model: str) -> Loaded | None:
        """What answers now; take it once per request. None before the first champion."""
        return self._current.get(model)

    def problem(self, model: str) -> str:
        """Why the newest record is not followed; empty when it is."""
        return self._problems.get(model, "")

    def restore(self) -> None:
        """Load what this server knew last; of use when the store is away."""
        for model in self._models:
            self._restore(model)

    def refresh(self) -> None:
        """Look at every record now."""
        with self._pass:
            for model in self._models:
                try:
                    self._follow(model)
                except HeadraceError as error:
                    self._report(model, str(error.args[0]))
                except Exception as error:  # a dead follower would serve an old record for ever
                    _log.error("record follower failed", error=error, model=model)
                    self._report(model, f"{type(error).__name__}: {error}")
                else:
                    self._report(model, "")
                self._remember(model)

    def end_trial(self, record: RolloutRecord, reason: str, at_us: int) -> None:
        """End the trial of a record: for requests at once, in the store as soon as it can be told.

        Args:
            record: the record whose trial tripped.
            reason: one sentence.
            at_us: policy clock.
        """
        trial = _trial(record)
        with self._lock:
            if not trial or trial in self._tripped[record.model]:
                return
            self._tripped[record.model][trial] = Trip(reason=reason, at_us=at_us)
            loaded = self._current.get(record.model)
            if loaded is not None and _trial(loaded.routing) == trial:
                self._current[record.model] = replace(loaded, routing=_without_trial(loaded.record))
        _log.warning("tripwire", model=record.model, version=on_trial(record), reason=reason, epoch=record.epoch)
        self._wake.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(POLL_S)
            self._wake.clear()
            self.refresh()

    def _restore(self, model: str) -> None:
        try:
            known = self._cache.read(model)
        except IntegrityError as error:
            _log.warning("local copy of the record is unusable", model=model, reason=error.args[0])
            return
        if known is None:
            return
        self._tripped[model].update(known.tripped)
        try:
            self._adopt(known.record)
        except HeadraceError as error:
            _log.warning("last known record cannot be loaded", model=model, reason=error.args[0])

    def _follow(self, model: str) -> None:
        record = self._store.read(model)
        trip = None if record is None else self._tripped[model].get(_trial(record))
        if record is not None and trip is not None:
            record = self._write_back(record, trip)
        loaded = self._current.get(model)
        if record is not None and (loaded is None or loaded.record != record):
            self._adopt(record)

    def _write_back(self, record: RolloutRecord, trip: Trip) -> RolloutRecord | None:
        """Roll the record back in the store; None when somebody else wrote first, which the next look will see."""
        if record.previous is None:  # not written by us; the record itself says who is not on trial
            record = replace(record, previous=_without_trial(record))
        at_us = max(trip.at_us, record.at_us)
        reason = f"{on_trial(record)} tripped: {trip.reason}"
        change = RolloutChange(
            record=rollback(record, reason=reason, by=WRITER, at_us=at_us),
            kind="rollback",
            evidence={"tripwire": trip.reason, "version": on_trial(record), "rollout_id": record.rollout_id},
            wall_us=self._clock.now_us(),
        )
        if not self._store.write(change):
            return None
        self._announce(change)
        _log.info("rolled back", model=record.model, epoch=change.record.epoch, champion=change.record.champion)
        return change.record

    def _adopt(self, record: RolloutRecord) -> None:
        """Load what a record names and swap it in.

        Raises:
            HeadraceError: the version that must answer cannot be loaded; what was loaded before goes on.
        """
        versions: dict[str, LoadedModel] = {}
        failed: dict[str, HeadraceError] = {}
        for version in filter(None, (record.champion, record.challenger)):
            try:
                versions[version] = self._shelf.load(record.model, version)
            except HeadraceError as error:
                failed[version] = error
        routing = record
        for version, failure in failed.items():
            reason = str(failure.args[0])
            if version == on_trial(record) and not failure.retryable:
                self.end_trial(record, f"artifact refused: {reason}", record.at_us)
                routing = _without_trial(record)
            elif version != record.champion:
                _log.error("warm version cannot be loaded", model=record.model, version=version, reason=reason)
                routing = replace(record, stage=Stage.STEADY, challenger=None)
        if routing.champion not in versions:
            raise failed[routing.champion]
        thresholds = {version: model.manifest.threshold for version, model in versions.items()}
        with self._lock:
            if _trial(record) in self._tripped[record.model]:  # just now, or while its versions were loading
                routing = _without_trial(record)
            loaded = Loaded(record=record, routing=routing, versions=versions, thresholds=thresholds)
            self._current[record.model] = loaded
        self._shelf.keep(record.model, versions)
        self._changed(loaded)

    def _remember(self, model: str) -> None:
        loaded = self._current.get(model)
        if loaded is None:
            return
        with self._lock:
            known = KnownGood(record=loaded.record, tripped=dict(self._tripped[model]))
        if known == self._remembered.get(model):
            return
        try:
            self._cache.write(model, known)
        except HeadraceError as error:
            _log.warning("record cannot be kept locally", model=model, reason=error.args[0])
        else:
            self._remembered[model] = known

    def _report(self, model: str, problem: str) -> None:
        if problem and problem != self._problems.get(model):
            _log.warning("record not followed", model=model, reason=problem)
        self._problems[model] = problem


def _trial(record: RolloutRecord) -> str:
    version = on_trial(record)
    return f"{record.rollout_id}/{version}" if version else ""


def _without_trial(record: RolloutRecord) -> RolloutRecord:
    """The same record as if the version not on trial answered everything."""
    champion = record.challenger if record.stage is Stage.PROBATION else record.champion
    assert champion is not None
    return replace(
        record, stage=Stage.STEADY, champion=champion, challenger=None, share=0.0, salt="", rollout_id="", previous=None
    )
