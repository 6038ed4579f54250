"""Activities around the rollout record: read it, change it, tell others, and prove that the way back is open."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from headrace.artifact_format import LoadedModel
from headrace.clock import Clock
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from headrace.errors import IntegrityError, RejectedError
from headrace.rollout_records import begin_canary, begin_shadow, first_champion, promote, resolve, rollback
from headrace.rollout_store import RolloutStore
from headrace.spec.model import Model
from headrace.spec.project import definitions_of, load_project
from workflows.activity_edge import activity_named, alive
from workflows.activity_messages import (
    ALIGN_REGISTRY,
    ANNOUNCE_ROLLOUT,
    DESCRIBE_MODEL,
    READ_ROLLOUT,
    REHEARSE_ROLLBACK,
    WRITE_ROLLOUT,
    ModelBrief,
    ModelRequest,
    RegistryAlignment,
    Rehearsal,
    RehearsalRequest,
    RolloutWrite,
    WriteOutcome,
)

__all__ = ["Aliases", "RolloutActivities", "aliases_of", "next_record"]


class Aliases(Protocol):
    """Sets a registry's aliases; one that is None is removed."""

    def __call__(self, model: str, aliases: dict[str, str | None]) -> None: ...


class RolloutActivities:
    """Everything a rollout does to the world.

    Args:
        store: the records.
        announce: publishes a change; repeated calls are harmless.
        set_aliases: the registry.
        models_dir: root of published versions.
        links: title -> address of pages about a model, given its name.
        clock: wall clock.
    """

    def __init__(
        self,
        store: RolloutStore,
        *,
        announce: Callable[[RolloutChange], None],
        set_aliases: Aliases,
        models_dir: Path,
        links: Callable[[str], dict[str, str]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._announce = announce
        self._set_aliases = set_aliases
        self._models_dir = models_dir
        self._links = links
        self._clock = clock

    @activity_named(DESCRIBE_MODEL)
    def describe_model(self, request: ModelRequest) -> ModelBrief:
        """The model's policies as they are defined now, and its record."""
        model = load_project(request.project).model(request.model)
        return ModelBrief(
            retrain=model.retrain,
            rollout=model.rollout,
            label_delay_us=model.label.delay_us,
            record=self._store.read(request.model),
            links=self._links(request.model),
        )

    @activity_named(READ_ROLLOUT)
    def read_rollout(self, request: ModelRequest) -> WriteOutcome:
        """The record in force."""
        return WriteOutcome(record=self._store.read(request.model))

    @activity_named(WRITE_ROLLOUT)
    def write_rollout(self, write: RolloutWrite) -> WriteOutcome:
        """Change the record, unless somebody else has; a retry finds its own earlier write and returns it."""
        current = self._store.read(write.model)
        epoch = 0 if current is None else current.epoch
        if epoch != write.expected_epoch:
            return WriteOutcome(record=current, change=self._own(write))
        change = RolloutChange(
            record=next_record(current, write),
            kind=write.kind,
            evidence=write.evidence,
            wall_us=self._clock.now_us(),
        )
        if self._store.write(change):
            return WriteOutcome(record=change.record, change=change)
        return WriteOutcome(record=self._store.read(write.model), change=self._own(write))

    @activity_named(ANNOUNCE_ROLLOUT)
    def announce_rollout(self, change: RolloutChange) -> None:
        """Publish a change that was written."""
        with alive():
            self._announce(change)

    @activity_named(ALIGN_REGISTRY)
    def align_registry(self, request: RegistryAlignment) -> None:
        """Let the registry's aliases say what the record says."""
        with alive():
            self._set_aliases(request.model, aliases_of(request.record))

    @activity_named(REHEARSE_ROLLBACK)
    def rehearse_rollback(self, request: RehearsalRequest) -> Rehearsal:
        """Build the record a rollback would write, and score with both versions it depends on."""
        record = self._store.read(request.model)
        if record is None:
            return Rehearsal(refusal=f"model {request.model!r} has no champion")
        with alive():
            return self._rehearse(record, request)

    def _rehearse(self, record: RolloutRecord, request: RehearsalRequest) -> Rehearsal:
        model = load_project(request.project).model(request.model)
        try:
            trial = begin_shadow(
                record, challenger=request.version, rollout_id="", salt="", reason="", by="", at_us=record.at_us
            )
            back = rollback(trial, reason="", by="", at_us=record.at_us)
            for version in (back.champion, request.version):
                self._score_once(model, version)
        except (IntegrityError, RejectedError) as error:
            return Rehearsal(refusal=str(error.args[0]), epoch=record.epoch)
        return Rehearsal(epoch=record.epoch)

    def _own(self, write: RolloutWrite) -> RolloutChange | None:
        """The change an earlier attempt of this very write made, if it did."""
        for change in reversed(self._store.history(write.model)):
            record = change.record
            if record.epoch <= write.expected_epoch:
                return None
            made = (change.kind, record.reason, record.written_by, record.at_us)
            if record.epoch == write.expected_epoch + 1 and made == (write.kind, write.reason, write.by, write.at_us):
                return change
        return None

    def _score_once(self, model: Model, version: str) -> None:
        loaded = LoadedModel.load(
            self._models_dir / model.name / version,
            expected_features=model.feature_names,
            expected_definitions=definitions_of(model),
        )
        score = loaded.score(np.zeros((1, len(loaded.features))))
        if not np.isfinite(score).all():
            raise IntegrityError(f"model {model.name!r} {version} scores {score[0]} on zeros")


def next_record(current: RolloutRecord | None, write: RolloutWrite) -> RolloutRecord:
    """The record a change asks for.

    Raises:
        RejectedError: not allowed from the record in force.
    """
    who = {"reason": write.reason, "by": write.by}
    if current is None:
        if write.kind != "champion":
            raise RejectedError(f"model {write.model!r} has no champion; a {write.kind} needs one")
        return first_champion(write.model, write.version, at_us=write.at_us, **who)
    match write.kind:
        case "shadow" | "override":
            return begin_shadow(
                current,
                challenger=write.version,
                rollout_id=write.rollout_id,
                salt=write.rollout_id,
                at_us=write.at_us,
                **who,
            )
        case "canary":
            return begin_canary(current, share=write.share, at_us=write.at_us, **who)
        case "promote":
            return promote(current, at_us=write.at_us, **who)
        case "resolve":
            return resolve(current, at_us=write.at_us, **who)
        case "rollback":
            return rollback(current, at_us=write.at_us, **who)
    raise RejectedError(f"a change of kind {write.kind!r} is unknown")


def aliases_of(record: RolloutRecord) -> dict[str, str | None]:
    """Registry aliases that say the same as a record.

    The last known good is the version to go back to: the champion itself while another one is on trial.
    """
    on_trial = record.stage in (Stage.SHADOW, Stage.CANARY)
    earlier = record.previous.champion if record.previous is not None else None
    return {
        "champion": record.champion,
        "challenger": record.challenger if on_trial else None,
        "last-known-good": record.champion if on_trial or earlier is None else earlier,
    }
