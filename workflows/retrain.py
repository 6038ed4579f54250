"""The Retrain workflow: snapshot, train, evaluate, gate, register. It ends with a registered version or a reason.

snapshot ──► train (gpu queue) ──► evaluate and gate ──┬─ refused ──► recorded, rejected
    └─ too few labels                                  └─ passed ───► registered, reference published
                                                                          └─ first model: into service
"""

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from headrace.contracts.artifacts import EvaluationReport
    from headrace.contracts.control import GPU_QUEUE, QUERY_STATE, RETRAIN_WORKFLOW

    # A record refers to its own class, which the sandbox finds only among the modules imported here.
    from headrace.contracts.rollout import RolloutRecord
    from workflows.activity_calls import call_long, call_training
    from workflows.activity_messages import (
        EVALUATE_CANDIDATE,
        PUBLISH_REFERENCE,
        REGISTER_MODEL,
        SNAPSHOT_DATASET,
        TRAIN_MODEL,
        EvaluateRequest,
        ReferenceRequest,
        Registered,
        RegisterRequest,
        RolloutWrite,
        Snapshot,
        SnapshotRequest,
        Trained,
        TrainRequest,
    )
    from workflows.messages import RetrainOutcome, RetrainResult, RetrainStart
    from workflows.record_changes import change_record

_STAGE = SearchAttributeKey.for_keyword("Stage")


@workflow.defn(name=RETRAIN_WORKFLOW)
class Retrain:
    @workflow.init
    def __init__(self, start: RetrainStart) -> None:
        self._start = start
        self._stage = "snapshot"
        self._notes: list[str] = []
        # The run id tells apart two controllers that counted to the same number; retries of activities share it.
        self._run = f"{start.model}-{start.number}-{workflow.info().run_id[:8]}"

    @workflow.run
    async def run(self, start: RetrainStart) -> RetrainResult:
        snapshot = await self._take_snapshot()
        if snapshot.shortage:
            return RetrainResult(outcome=RetrainOutcome.TOO_FEW_LABELS, reason=snapshot.shortage)
        trained = await self._train(snapshot)
        report = await self._evaluate(trained, snapshot)
        registered = await self._register(trained, snapshot, report)
        if not report.passed:
            refused = [gate.detail for gate in report.gates if not gate.passed]
            return RetrainResult(
                outcome=RetrainOutcome.REJECTED, reason="; ".join(refused), report=report, links=registered.links
            )
        await self._publish_reference(registered, snapshot)
        record = await self._put_into_service(registered, report) if not start.champion else None
        return RetrainResult(
            outcome=RetrainOutcome.ACCEPTED,
            reason=f"{registered.version} passed {len(report.gates)} gates",
            version=registered.version,
            report=report,
            record=record,
            links=registered.links,
        )

    @workflow.query(name=QUERY_STATE)
    def state(self) -> str:
        """The stage it is in."""
        return self._stage

    async def _take_snapshot(self) -> Snapshot:
        self._enter("snapshot")
        request = SnapshotRequest(project=self._start.project, model=self._start.model, at_us=self._start.at_us)
        snapshot: Snapshot = await call_long(SNAPSHOT_DATASET, request, Snapshot, summary="training and test set")
        self._note(
            snapshot.shortage
            or f"{snapshot.train_rows} rows to train on ({snapshot.train_positives} positive), "
            f"{snapshot.test_rows} to test on ({snapshot.test_positives} positive)"
        )
        return snapshot

    async def _train(self, snapshot: Snapshot) -> Trained:
        self._enter("train")
        request = TrainRequest(
            project=self._start.project,
            model=self._start.model,
            run=self._run,
            dataset=snapshot.train,
            at_us=self._start.at_us,
        )
        trained: Trained = await call_training(TRAIN_MODEL, request, Trained, queue=GPU_QUEUE, summary=self._run)
        self._note(f"trained in {trained.device_seconds:.1f} device seconds, weights {trained.weights_sha256[:12]}")
        return trained

    async def _evaluate(self, trained: Trained, snapshot: Snapshot) -> EvaluationReport:
        self._enter("evaluate")
        request = EvaluateRequest(
            project=self._start.project,
            model=self._start.model,
            artifact=trained.artifact,
            test=snapshot.test,
            champion=self._start.champion,
        )
        against = f"against {self._start.champion}" if self._start.champion else "first model"
        report: EvaluationReport = await call_long(EVALUATE_CANDIDATE, request, EvaluationReport, summary=against)
        for gate in report.gates:
            self._note(f"{'passed' if gate.passed else 'REFUSED'} {gate.gate}: {gate.detail}")
        return report

    async def _register(self, trained: Trained, snapshot: Snapshot, report: EvaluationReport) -> Registered:
        self._enter("register")
        request = RegisterRequest(
            project=self._start.project,
            model=self._start.model,
            run=self._run,
            artifact=trained.artifact,
            test=snapshot.test,
            report=report,
            reason=self._start.reason,
            accepted=report.passed,
        )
        registered: Registered = await call_long(REGISTER_MODEL, request, Registered, summary=self._run)
        self._note(f"registered as {registered.version}" if report.passed else "recorded without a version")
        return registered

    async def _publish_reference(self, registered: Registered, snapshot: Snapshot) -> None:
        request = ReferenceRequest(
            project=self._start.project, model=self._start.model, version=registered.version, test=snapshot.test
        )
        await call_long(PUBLISH_REFERENCE, request, None, summary=registered.version)

    async def _put_into_service(self, registered: Registered, report: EvaluationReport) -> RolloutRecord | None:
        """A first model has nobody to be compared with: absolute gates are all there is."""
        self._enter("into service")
        write = RolloutWrite(
            model=self._start.model,
            kind="champion",
            expected_epoch=0,
            version=registered.version,
            reason=f"first model, {len(report.gates)} gates passed",
            by="controller",
            at_us=self._start.at_us,
            evidence={"gates": [f"{gate.gate}: {gate.detail}" for gate in report.gates]},
        )
        return (await change_record(write)).record

    def _enter(self, stage: str) -> None:
        self._stage = stage
        workflow.upsert_search_attributes([_STAGE.value_set(stage)])
        self._show()

    def _note(self, note: str) -> None:
        self._notes.append(note)
        self._show()

    def _show(self) -> None:
        head = f"**{self._start.model}**, retraining {self._start.number}: {self._stage}\n\n{self._start.reason}\n"
        workflow.set_current_details(head + "".join(f"\n- {note}" for note in self._notes))
