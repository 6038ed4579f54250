"""A small world for workflows: real Temporal, Valkey and workflow code; data, training and evaluation are scripted.

Only the activities that would need features and torch are replaced, under their own names.
Run as a program it is a worker that a test can kill:  python -m tests.integration.workflow_world ADDRESS REDIS SCRIPT
"""

import asyncio
import json
import sys
import threading
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client

from headrace.clock import SystemClock
from headrace.config import Settings
from headrace.contracts.artifacts import EvaluationReport, GateResult
from headrace.contracts.control import (
    ControllerStart,
    ControllerState,
    Observation,
    OperatorCommand,
    controller_id,
)
from headrace.contracts.monitoring import ArmEvidence, RolloutEvidence
from headrace.contracts.rollout import RolloutChange, RolloutRecord
from headrace.rollout_store import RolloutStore
from headrace.spec.policies import RetrainPolicy, RolloutPolicy
from headrace.temporal_client import connect, controller_state, send_command, send_observation
from tests.eventually import eventually
from workflows.activity_edge import Activities, activity_named, alive
from workflows.activity_messages import (
    DESCRIBE_MODEL,
    EVALUATE_CANDIDATE,
    PUBLISH_REFERENCE,
    REGISTER_MODEL,
    REHEARSE_ROLLBACK,
    SNAPSHOT_DATASET,
    TRAIN_MODEL,
    EvaluateRequest,
    ModelBrief,
    ModelRequest,
    ReferenceRequest,
    Registered,
    RegisterRequest,
    Rehearsal,
    RehearsalRequest,
    Snapshot,
    SnapshotRequest,
    Trained,
    TrainRequest,
)
from workflows.rollout_activities import RolloutActivities
from workflows.worker import ensure_search_attributes, serve

T = TypeVar("T")

DAY_US = 86_400_000_000
NOON_US = 1_523_000_000_000_000
RETRAIN = RetrainPolicy(history="10d", test="2d", cooldown="2d", cooldown_max="6d", max_age="60d")
ROLLOUT = RolloutPolicy(shadow="1d", stages=(0.05, 0.25), bake="1d", probation="3d", deadline="4d")

GOOD = ArmEvidence(
    units=4000,
    events=8000,
    flagged_challenger=80,
    flagged_champion=80,
    flagged_only_challenger=10,
    flagged_only_champion=10,
    matured_units=4000,
    matured_events=8000,
    matured_positives=60,
    loss_sum=-4.0,
    loss_sum_sq=2.0,
)
UNJUDGEABLE = ArmEvidence(units=4000, events=8000)
"""Plenty of units, and not one of them flagged by anybody."""
FLOOD = replace(GOOD, flagged_challenger=4000, flagged_only_challenger=3930)
BROKEN = replace(GOOD, failures=50)


@dataclass
class Script:
    """What the scripted activities do next; a plain value, so that it fits into a file."""

    gates: list[bool]
    """Verdict of each evaluation, the last one for ever."""
    labels: bool = True
    approval: bool = False
    way_back: bool = True
    hold_training: str = ""
    """While a file of this name exists, training goes on."""


class ScriptedActivities(RolloutActivities):
    """The rollout's real activities, and scripted ones for everything that needs data."""

    def __init__(self, store: RolloutStore, script: Script) -> None:
        self.script = script
        self.calls: list[tuple[str, object]] = []
        self.announced: list[RolloutChange] = []
        self.aliases: dict[str, str | None] = {}
        self._versions: dict[str, str] = {}
        super().__init__(
            store,
            announce=self.announced.append,
            set_aliases=lambda model, aliases: self.aliases.update(aliases),
            models_dir=Path("/nowhere"),
            links=lambda model: {"controller": f"http://ui/{model}"},
            clock=SystemClock(),
        )

    @activity_named(DESCRIBE_MODEL)
    def describe_model(self, request: ModelRequest) -> ModelBrief:
        return ModelBrief(
            retrain=replace(RETRAIN, approval=self.script.approval),
            rollout=ROLLOUT,
            label_delay_us=7 * DAY_US,
            record=self._store.read(request.model),
            links=self._links(request.model),
        )

    @activity_named(SNAPSHOT_DATASET)
    def snapshot_dataset(self, request: SnapshotRequest) -> Snapshot:
        self.calls.append(("snapshot", request))
        if not self.script.labels:
            return Snapshot(shortage="12 positive labels of 30")
        return Snapshot(train="train", test="test", train_rows=100, test_rows=50)

    @activity_named(TRAIN_MODEL)
    def train_model(self, request: TrainRequest) -> Trained:
        self.calls.append(("train", request))
        with alive():
            if self.script.hold_training:
                eventually(lambda: not Path(self.script.hold_training).exists(), timeout_s=120, what="training let go")
        return Trained(artifact=f"runs/{request.run}", weights_sha256="ab" * 32, device_seconds=1.5)

    @activity_named(EVALUATE_CANDIDATE)
    def evaluate_candidate(self, request: EvaluateRequest) -> EvaluationReport:
        self.calls.append(("evaluate", request))
        passed = self.script.gates.pop(0) if len(self.script.gates) > 1 else self.script.gates[0]
        gate = GateResult(gate="at_least", passed=passed, value=0.3, limit=0.2, detail="average precision 0.3")
        return EvaluationReport(
            model="m",
            candidate={"average_precision": 0.3},
            champion=None,
            champion_version=request.champion or None,
            test_from_us=0,
            test_until_us=1,
            rows=50,
            positives=5,
            difference={"average_precision": (0.1, 0.05, 0.15)},
            slices={},
            calibration_error=0.01,
            latency_p99_ms=1.0,
            gates=(gate,),
        )

    @activity_named(REGISTER_MODEL)
    def register_model(self, request: RegisterRequest) -> Registered:
        self.calls.append(("register", request))
        if not request.accepted:
            return Registered(version="")
        version = self._versions.setdefault(request.artifact, f"v{len(self._versions) + 1}")
        return Registered(version=version, links={"run": f"http://mlflow/{request.run}"})

    @activity_named(PUBLISH_REFERENCE)
    def publish_reference(self, request: ReferenceRequest) -> None:
        self.calls.append(("reference", request))

    @activity_named(REHEARSE_ROLLBACK)
    def rehearse_rollback(self, request: RehearsalRequest) -> Rehearsal:
        record = self._store.read(request.model)
        assert record is not None
        return Rehearsal(refusal="" if self.script.way_back else "weights of v1 are gone", epoch=record.epoch)

    def all(self) -> Activities:
        light = (
            self.describe_model,
            self.read_rollout,
            self.write_rollout,
            self.announce_rollout,
            self.align_registry,
            self.rehearse_rollback,
            self.snapshot_dataset,
            self.evaluate_candidate,
            self.register_model,
            self.publish_reference,
        )
        return Activities(control=light, training=(self.train_model,))


class World:
    """A model with a controller; days pass when the test says so."""

    def __init__(self, settings: Settings, model: str, script: Script, *, own_worker: bool = True) -> None:
        self.model = model
        self.store = RolloutStore(settings.redis.url)
        self.activities = ScriptedActivities(self.store, script)
        self._settings = settings
        self._start = ControllerStart(project="nowhere", model=model)
        self._window = -1
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world", daemon=True)
        self._thread.start()
        self.client: Client = self.wait(connect(settings))
        self.wait(ensure_search_attributes(self.client, settings))
        self._stop = asyncio.Event()
        self._serving: Any = None
        if own_worker:
            self.start_worker()

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def start_worker(self) -> None:
        self._stop = asyncio.Event()
        self._serving = asyncio.run_coroutine_threadsafe(
            serve(self.client, self.activities.all(), self._stop), self._loop
        )

    def stop_worker(self) -> None:
        """As SIGTERM would."""
        if self._serving is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._serving.result(30)
            self._serving = None

    def lose_controller(self) -> None:
        """Terminate the controller, as an operator or a lost database would."""

        async def end() -> None:
            await self.client.get_workflow_handle(controller_id(self.model)).terminate("lost")

        self.wait(end())

    def close(self) -> None:
        self.lose_controller()
        self.stop_worker()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self.store.close()

    def send(self, window: int, *, at_us: int = 0, **seen: Any) -> None:
        observation = Observation(model=self.model, window=window, at_us=at_us or NOON_US + window * DAY_US, **seen)
        self.wait(send_observation(self.client, self._start, observation))

    def day(self, arm: ArmEvidence | None = None, *, served: ArmEvidence | None = None, **seen: Any) -> ControllerState:
        """One more day passes; returns when the controller has acted upon it."""
        self._window += 1
        evidence = None if arm is None else self.evidence(arm, served or arm)
        self.send(self._window, evidence=evidence, **seen)
        return self.settled(self._window)

    def settled(self, window: int) -> ControllerState:
        return eventually(
            lambda: (state := self.state()).settled_window >= window and state, what=f"window {window} settled"
        )

    def days(self, count: int) -> ControllerState:
        for _ in range(count):
            state = self.day()
        return state

    def command(self, action: str, **fields: Any) -> None:
        self.wait(send_command(self.client, self._start, OperatorCommand(action=action, by="anna", **fields)))

    def state(self) -> ControllerState:
        state = self.wait(controller_state(self.client, self.model))
        assert state is not None
        return state

    def until(self, phase: str) -> ControllerState:
        return eventually(lambda: (state := self.state()).phase == phase and state, what=f"phase {phase}")

    def record(self) -> RolloutRecord:
        record = self.store.read(self.model)
        assert record is not None
        return record

    def kinds(self) -> list[str]:
        return [change.kind for change in self.store.history(self.model)]

    def evidence(self, total: ArmEvidence, served: ArmEvidence) -> RolloutEvidence | None:
        record = self.store.read(self.model)
        if record is None or not record.rollout_id:
            return None
        return RolloutEvidence(
            model=self.model,
            rollout_id=record.rollout_id,
            epoch=record.epoch,
            stage=str(record.stage),
            at_us=0,
            total=total,
            stage_served=served,
        )

    def first_model(self) -> None:
        """Get a champion: a person asks, the gates pass."""
        self.day()
        self.command("retrain", reason="first model")
        eventually(lambda: self.state().champion, what="a champion")

    def drift(self) -> ControllerState:
        """Monitors confirm drift, after the rest of the last run is over."""
        self.days(2)
        return self.day(requests_retrain=True, causes=("drift in tx_amount",), incident="i1")


async def _work(address: str, redis_url: str, script: Script) -> None:
    client = await Client.connect(address)
    activities = ScriptedActivities(RolloutStore(redis_url), script)
    await serve(client, activities.all(), asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], sys.argv[2], Script(**json.loads(sys.argv[3]))))
