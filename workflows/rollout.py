"""The Rollout workflow: rehearse the way back, then shadow, canary stages, promotion, probation.

It lives from observations its controller forwards. Each one is a look at the evidence: go on, wait, or roll back.
The rollout record in Redis is the truth; when somebody else has rolled back (a tripwire in serving, a person while
Temporal was away) this workflow follows.
"""

from dataclasses import replace

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from headrace.contracts.control import (
        QUERY_STATE,
        ROLLOUT_WORKFLOW,
        SIGNAL_COMMAND,
        SIGNAL_OBSERVE,
        Observation,
        OperatorCommand,
    )
    from headrace.contracts.rollout import RolloutRecord, Stage
    from workflows.activity_calls import call_long, call_quick
    from workflows.activity_messages import (
        READ_ROLLOUT,
        REHEARSE_ROLLBACK,
        ModelRequest,
        Rehearsal,
        RehearsalRequest,
        RolloutWrite,
        WriteOutcome,
    )
    from workflows.decisions import Action, Step, next_step, plan, successor
    from workflows.messages import SIGNAL_PROGRESS, RolloutOutcome, RolloutProgress, RolloutResult, RolloutStart
    from workflows.record_changes import align_registry, change_record

_STAGE = SearchAttributeKey.for_keyword("Stage")


@workflow.defn(name=ROLLOUT_WORKFLOW)
class Rollout:
    @workflow.init
    def __init__(self, start: RolloutStart) -> None:
        self._start = start
        self._record: RolloutRecord | None = None
        self._observations: list[Observation] = []
        self._commands: list[OperatorCommand] = []
        self._paused = start.paused
        self._at_us, self._window = start.at_us, start.window
        self._note = "rehearsing the way back"
        self._result: RolloutResult | None = None

    @workflow.run
    async def run(self, start: RolloutStart) -> RolloutResult:
        await (self._find() if start.resume else self._begin())
        while self._result is None:
            await self._report()
            await workflow.wait_condition(self._has_news)
            await self._look()
            if self._should_renew():
                workflow.continue_as_new(
                    replace(start, resume=True, paused=self._paused, at_us=self._at_us, window=self._window)
                )
        self._show()
        return self._result

    @workflow.signal(name=SIGNAL_OBSERVE)
    def observe(self, observation: Observation) -> None:
        """Event time has moved on."""
        self._observations.append(observation)

    @workflow.signal(name=SIGNAL_COMMAND)
    def command(self, command: OperatorCommand) -> None:
        """A person asks for something."""
        self._commands.append(command)

    @workflow.query(name=QUERY_STATE)
    def state(self) -> RolloutRecord | None:
        """The record it wrote last."""
        return self._record

    def _has_news(self) -> bool:
        return bool(self._observations or self._commands)

    def _should_renew(self) -> bool:
        idle = self._result is None and not self._has_news()
        return idle and workflow.info().is_continue_as_new_suggested()

    async def _begin(self) -> None:
        """Rehearse, then let the candidate score along."""
        start = self._start
        request = RehearsalRequest(project=start.project, model=start.model, version=start.version)
        rehearsal: Rehearsal = await call_long(REHEARSE_ROLLBACK, request, Rehearsal, summary=start.version)
        if rehearsal.refusal:
            self._end(RolloutOutcome.REFUSED, f"the way back is not open: {rehearsal.refusal}")
            return
        kind = "override" if start.override else "shadow"
        await self._write(kind, rehearsal.epoch, start.reason, by=start.by, evidence={"plan": plan(start.policy)})

    async def _find(self) -> None:
        """Go on from the record of an earlier run."""
        self._follow(await self._read())
        if self._result is None:
            self._note = f"goes on in {self._in_force().stage}"

    async def _look(self) -> None:
        """Act upon everything that came in since the last look."""
        observations, commands = self._observations, self._commands
        self._observations, self._commands = [], []
        for observation in observations:
            self._at_us, self._window = max(self._at_us, observation.at_us), observation.window
        record = await self._read()
        if self._follow(record):
            self._note += await align_registry(self._in_force())
            return
        for command in commands:
            await self._obey(command)
        evidence = next((seen.evidence for seen in reversed(observations) if seen.evidence is not None), None)
        if self._result is None and observations:
            step = next_step(self._in_force(), evidence, self._start.policy, now_us=self._at_us, paused=self._paused)
            await self._take(step, by="controller")

    async def _obey(self, command: OperatorCommand) -> None:
        if self._result is not None:
            return
        self._at_us = max(self._at_us, command.at_us)
        reason = f"{command.by}: {command.reason or command.action}"
        if command.action in ("pause", "resume"):
            self._paused = command.action == "pause"
            self._note = f"{command.action}d by {reason}"
        elif command.action == "promote":
            stage, share = successor(self._in_force(), self._start.policy)
            step = Step(action=Action.PROMOTE, stage=stage, share=share, reason=reason, evidence={"by": command.by})
            await self._take(step, by=command.by)
        elif command.action == "rollback":
            back = Step(
                action=Action.ROLLBACK, stage=Stage.STEADY, share=0.0, reason=reason, evidence={"by": command.by}
            )
            await self._take(back, by=command.by)

    async def _take(self, step: Step, *, by: str) -> None:
        """Carry a verdict out."""
        self._note = step.reason
        if step.action in (Action.HOLD, Action.EXTEND):
            self._note = f"{step.action}: {step.reason}"
            return
        kinds = {Stage.CANARY: "canary", Stage.PROBATION: "promote", Stage.STEADY: "resolve"}
        kind = "rollback" if step.action is Action.ROLLBACK else kinds[step.stage]
        record = self._in_force()
        if not await self._write(kind, record.epoch, step.reason, by=by, share=step.share, evidence=step.evidence):
            return
        if kind in ("rollback", "resolve"):
            ended = RolloutOutcome.ROLLED_BACK if kind == "rollback" else RolloutOutcome.RESOLVED
            self._end(ended, step.reason)

    async def _write(
        self, kind: str, epoch: int, reason: str, *, by: str, evidence: dict[str, object], share: float = 0.0
    ) -> bool:
        """Write the record; False when somebody else had written before, whom we follow then."""
        start = self._start
        write = RolloutWrite(
            model=start.model,
            kind=kind,
            expected_epoch=epoch,
            version=start.version,
            share=share,
            rollout_id=start.rollout_id,
            reason=reason,
            by=by,
            at_us=self._at_us,
            evidence={**evidence, "workflow": workflow.info().workflow_id},
        )
        changed = await change_record(write)
        if not changed.written or changed.record is None:
            self._follow(changed.record)
            return False
        self._record = changed.record
        self._note = f"{reason}{changed.note}"
        workflow.upsert_search_attributes([_STAGE.value_set(str(self._record.stage))])
        return True

    async def _read(self) -> RolloutRecord | None:
        request = ModelRequest(project=self._start.project, model=self._start.model)
        outcome: WriteOutcome = await call_quick(READ_ROLLOUT, request, WriteOutcome)
        return outcome.record

    def _follow(self, record: RolloutRecord | None) -> bool:
        """Take the record in force as it is; True when it is no longer ours and this rollout has ended."""
        if record is not None:
            self._record = record
        if record is not None and record.rollout_id == self._start.rollout_id:
            return False
        who = f"{record.written_by} wrote epoch {record.epoch}: {record.reason}" if record else "the record is gone"
        resolved = record is not None and record.champion == self._start.version
        self._end(RolloutOutcome.RESOLVED if resolved else RolloutOutcome.ROLLED_BACK, who)
        return True

    def _end(self, outcome: RolloutOutcome, reason: str) -> None:
        self._note = reason
        self._result = RolloutResult(outcome=outcome, reason=reason, at_us=self._at_us, record=self._record)

    def _in_force(self) -> RolloutRecord:
        assert self._record is not None, "a rollout acts only upon a record it has read or written"
        return self._record

    async def _report(self) -> None:
        """Tell the controller how far we are; it may be gone, the rollout goes on."""
        self._show()
        parent = workflow.info().parent
        if parent is None:
            return
        progress = RolloutProgress(
            rollout_id=self._start.rollout_id, window=self._window, record=self._in_force(), note=self._note
        )
        try:
            await workflow.get_external_workflow_handle(parent.workflow_id).signal(SIGNAL_PROGRESS, progress)
        except FailureError:
            workflow.logger.warning("controller is gone", extra={"workflow_id": parent.workflow_id})

    def _show(self) -> None:
        record, start = self._record, self._start
        where = f"{record.stage}, {record.share:.0%} of units" if record else "not begun"
        workflow.set_current_details(
            f"**{start.model} {start.version}**: {where}{', paused' if self._paused else ''}\n\n"
            f"- why: {start.reason} ({start.by})\n- now: {self._note}\n- window {self._window}"
        )
