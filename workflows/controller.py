"""The ModelController workflow: one per model, for as long as the model lives.

    observations ─┐                       ┌─► Retrain (child) ─► accepted ─► (approval) ─► Rollout (child) ─┐
                  ├─► fold in, decide ────┤        └─ rejected: rest, longer each time                      │
    commands ─────┘        ▲              └─► nothing due: wait                                             │
                           └──────────── resolved or rolled back: rest ◄──── observations forwarded ────────┘

One thing at a time is in flight. Causes that arrive meanwhile add up to one pending request.
"""

from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import ActivityError, ChildWorkflowError

with workflow.unsafe.imports_passed_through():
    from headrace.contracts.control import (
        CONTROLLER_WORKFLOW,
        QUERY_STATE,
        RETRAIN_WORKFLOW,
        SIGNAL_COMMAND,
        SIGNAL_OBSERVE,
        ControllerState,
        Observation,
        OperatorCommand,
        retrain_id,
    )
    from headrace.contracts.rollout import Stage
    from workflows import memory as minds
    from workflows.activity_calls import call_quick
    from workflows.activity_messages import DESCRIBE_MODEL, ModelBrief, ModelRequest, RolloutWrite
    from workflows.controller_view import Flight, details, phase, state
    from workflows.decisions import RetrainDecision, Wait, decide_retrain
    from workflows.memory import Candidate, ControllerMemory, ControllerRun, told
    from workflows.messages import SIGNAL_PROGRESS, RetrainResult, RetrainStart, RolloutProgress, RolloutStart
    from workflows.record_changes import change_record
    from workflows.rollout_child import RolloutChild

_MODEL = SearchAttributeKey.for_keyword("ModelName")
_STAGE = SearchAttributeKey.for_keyword("Stage")
_REASON = SearchAttributeKey.for_keyword("Reason")

_QUIET = timedelta(seconds=0.2)
"""An alert storm is over when nothing came for so long (wall clock) ..."""
_STORM_LOOKS = 10
"""... and is cut off after so many arrivals."""
_STEERING = ("promote", "rollback", "pause", "resume")
"""Commands a rollout takes."""


@workflow.defn(name=CONTROLLER_WORKFLOW)
class ModelController:
    @workflow.init
    def __init__(self, start: ControllerRun) -> None:
        self._start = start
        self._memory = start.memory or ControllerMemory()
        self._brief: ModelBrief | None = None
        self._observations: list[Observation] = []
        self._commands: list[OperatorCommand] = []
        self._reports: list[RolloutProgress] = []
        self._retraining: workflow.ChildWorkflowHandle[object, RetrainResult] | None = None
        self._rollout: RolloutChild | None = None
        self._waits_for = Wait.NOTHING
        self._shown_phase = ""
        self._shown_links: dict[str, str] = {}

    @workflow.run
    async def run(self, start: ControllerRun) -> None:
        workflow.upsert_search_attributes([_MODEL.value_set(start.model)])
        await self._learn()
        while True:
            self._settle()
            self._show()
            if self._may_renew():
                workflow.continue_as_new(replace(start, memory=self._memory))
            await workflow.wait_condition(self._has_news)
            await self._act()

    @workflow.signal(name=SIGNAL_OBSERVE)
    def observe(self, observation: Observation) -> None:
        """Event time has moved on, and this is what monitors see."""
        self._observations.append(observation)

    @workflow.signal(name=SIGNAL_COMMAND)
    def command(self, command: OperatorCommand) -> None:
        """A person asks for something."""
        self._commands.append(command)

    @workflow.signal(name=SIGNAL_PROGRESS)
    def progress(self, progress: RolloutProgress) -> None:
        """The rollout has acted upon a window and waits for more."""
        self._reports.append(progress)

    @workflow.query(name=QUERY_STATE)
    def state(self) -> ControllerState:
        """Where everything stands."""
        links = {**(self._brief.links if self._brief else {}), **self._memory.links}
        return state(self._start.model, self._memory, self._flight(), links)

    def _has_news(self) -> bool:
        return bool(self._observations or self._commands or self._reports or self._has_ended())

    def _has_ended(self) -> bool:
        retrained = self._retraining is not None and self._retraining.done()
        return retrained or (self._rollout is not None and self._rollout.is_done)

    async def _act(self) -> None:
        """Take all news in, oldest kind first, then see whether a retraining is due."""
        for progress in self._reports:
            if self._rollout is not None and self._rollout.hear(progress):
                self._memory = minds.rollout_moved(self._memory, progress)
        self._reports.clear()
        if self._rollout is not None and self._rollout.is_done:
            await self._conclude_rollout(self._rollout)
        if self._retraining is not None and self._retraining.done():
            await self._conclude_retraining(self._retraining)
        while self._commands:
            await self._obey(self._commands.pop(0))
        await self._notice()
        self._expire_candidate()
        await self._consider()

    # -- observations

    async def _notice(self) -> None:
        """Fold the waiting observations in; a rollout gets the newest one and the newest evidence."""
        waiting, self._observations = self._observations, []
        fresh = []
        for observation in waiting:
            if minds.is_news(self._memory, observation):
                self._memory = minds.noticed(self._memory, observation)
                fresh.append(observation)
        tripped = any(observation.tripped for observation in waiting)
        if self._rollout is not None and (fresh or tripped):
            evidence = next((seen.evidence for seen in reversed(fresh) if seen.evidence is not None), None)
            await self._rollout.tell(SIGNAL_OBSERVE, replace((fresh or waiting)[-1], evidence=evidence))
        elif tripped or (fresh and self._is_trial_unwatched()):
            await self._learn()

    async def _outlast_storm(self) -> None:
        """Let causes of one moment become one run."""
        for _ in range(_STORM_LOOKS):
            try:
                await workflow.wait_condition(lambda: bool(self._observations), timeout=_QUIET)
            except TimeoutError:
                return
            await self._notice()

    # -- retraining

    def _decision(self) -> RetrainDecision:
        brief = self._known()
        looked_at = minds.situation(self._memory, busy=self._is_busy(), label_delay_us=brief.label_delay_us)
        return decide_retrain(looked_at, brief.retrain)

    async def _consider(self) -> None:
        """Start a retraining when one is due and nothing speaks against it."""
        if self._decision().start:
            await self._outlast_storm()
            await self._learn()
        decision = self._decision()
        self._waits_for = decision.waits_for
        if decision.start:
            await self._retrain(decision.reason)

    async def _retrain(self, reason: str) -> None:
        self._memory = minds.retrain_started(self._memory, reason)
        record = self._memory.record
        start = RetrainStart(
            project=self._start.project,
            model=self._start.model,
            number=self._memory.retrains,
            at_us=self._memory.at_us,
            reason=reason,
            champion=record.champion if record is not None else "",
        )
        self._retraining = await workflow.start_child_workflow(
            RETRAIN_WORKFLOW,
            start,
            id=retrain_id(start.model, start.number),
            result_type=RetrainResult,
            static_summary=f"{start.model}: {reason}"[:200],
            search_attributes=self._attributes(reason),
            memo={"reason": reason, **self._known().links},
        )

    async def _conclude_retraining(self, child: workflow.ChildWorkflowHandle[object, RetrainResult]) -> None:
        self._retraining = None
        policy = self._known().retrain
        try:
            result = await child
        except ChildWorkflowError as error:
            self._memory = minds.retrain_failed(self._memory, _root_message(error), policy)
            return
        self._memory = minds.retrain_ended(self._memory, result, policy)
        if not result.version:
            return
        await self._learn()
        record = self._memory.record
        if record is not None and record.champion == result.version:
            self._tell(f"{result.version} went into service")
        elif policy.approval:
            waiting = Candidate(version=result.version, reason=result.reason, at_us=self._memory.at_us)
            self._memory = replace(self._memory, candidate=waiting)
        else:
            await self._roll_out(result.version, result.reason, by="controller")

    def _expire_candidate(self) -> None:
        """Nobody decided in time: declined."""
        candidate, policy = self._memory.candidate, self._known().rollout
        if candidate is not None and self._memory.at_us - candidate.at_us >= policy.deadline_us:
            self._memory = replace(self._memory, candidate=None)
            self._tell(f"{candidate.version} was not approved within {policy.deadline}: declined")

    # -- rollouts

    async def _roll_out(self, version: str, reason: str, *, by: str, override: bool = False) -> None:
        record = self._memory.record
        if record is None or record.champion == version or self._rollout is not None:
            why = "there is no champion" if record is None else "it is the champion"
            self._tell(f"no rollout of {version}: {why if self._rollout is None else 'another one is in flight'}")
            return
        self._memory = minds.rollout_started(self._memory, version, reason)
        # The epoch makes the id unique for ever, even for a version that is tried twice.
        await self._launch(f"{version}-e{record.epoch}", version, reason, by=by, override=override)

    async def _adopt_rollout(self) -> None:
        """Go on with a rollout that lost its controller, or never had one: the record says everything about it."""
        record = self._memory.record
        if self._rollout is not None or record is None or record.stage is Stage.STEADY:
            return
        trial = record.champion if record.stage is Stage.PROBATION else record.challenger
        self._tell(f"found {record.stage} of {trial}, going on")
        self._memory = replace(self._memory, at_us=max(self._memory.at_us, record.at_us))
        await self._launch(record.rollout_id, trial or "", record.reason, by=record.written_by, resume=True)

    async def _launch(
        self, rollout_id: str, version: str, reason: str, *, by: str, override: bool = False, resume: bool = False
    ) -> None:
        self._rollout = RolloutChild(
            RolloutStart(
                project=self._start.project,
                model=self._start.model,
                version=version,
                rollout_id=rollout_id,
                at_us=self._memory.at_us,
                window=self._memory.window,
                reason=reason,
                by=by,
                policy=self._known().rollout,
                override=override,
                resume=resume,
            )
        )
        await self._rollout.launch(self._attributes(reason), {"reason": reason, **self._known().links})

    async def _conclude_rollout(self, child: RolloutChild) -> None:
        self._rollout = None
        try:
            result = await child.result()
        except ChildWorkflowError as error:  # taken up again with the next observation
            self._tell(f"rollout failed: {_root_message(error)}")
            return
        policy = self._known().retrain
        self._memory = minds.rollout_ended(self._memory, result, policy, override=child.start.override)
        await self._learn()

    # -- people

    async def _obey(self, command: OperatorCommand) -> None:
        asked = f"{command.by}: {command.reason or command.action}"
        self._memory = minds.commanded(self._memory, command, wall_us=int(workflow.now().timestamp() * 1_000_000))
        candidate = self._memory.candidate
        if command.action == "retrain":
            self._memory = replace(self._memory, manual=asked)
        elif command.action in _STEERING and self._rollout is not None:
            await self._rollout.tell(SIGNAL_COMMAND, command)
        elif command.action == "rollback":
            await self._roll_back(command, asked)
        elif command.action == "approve" and candidate is not None:
            self._tell(f"{candidate.version} approved, {asked}")
            await self._roll_out(candidate.version, f"{candidate.reason}; approved by {command.by}", by=command.by)
        elif command.action == "decline" and candidate is not None:
            self._memory = replace(self._memory, candidate=None)
            self._tell(f"{candidate.version} declined, {asked}")
        elif command.action == "override" and not self._is_busy():
            await self._learn()
            await self._roll_out(command.version, asked, by=command.by, override=True)
        else:
            self._tell(f"refused {command.action}, {asked}: not possible while {phase(self._memory, self._flight())}")

    async def _roll_back(self, command: OperatorCommand, asked: str) -> None:
        """Back to the version before the champion, with no rollout in flight."""
        await self._learn()
        record = self._memory.record
        write = RolloutWrite(
            model=self._start.model,
            kind="rollback",
            expected_epoch=record.epoch if record is not None else 0,
            reason=asked,
            by=command.by,
            at_us=self._memory.at_us,
            evidence={"by": command.by, "workflow": workflow.info().workflow_id},
        )
        try:
            changed = await change_record(write)
        except ActivityError as error:
            self._tell(f"refused rollback, {asked}: {_root_message(error)}")
            return
        self._memory = minds.record_read(self._memory, changed.record)
        if changed.record is not None and changed.written:
            self._memory = replace(self._memory, rollbacks=self._memory.rollbacks + 1)
            self._tell(f"rolled back to {changed.record.champion}, {asked}{changed.note}")
        else:
            self._tell(f"refused rollback, {asked}: the record had changed meanwhile")

    # -- what it knows and shows

    async def _learn(self) -> None:
        """Read the definitions and the record in force; definitions that broke meanwhile stay as they were."""
        request = ModelRequest(project=self._start.project, model=self._start.model)
        try:
            self._brief = await call_quick(DESCRIBE_MODEL, request, ModelBrief)
        except ActivityError as error:
            if self._brief is None:
                raise
            self._tell(f"definitions cannot be read, the old ones stay: {_root_message(error)}")
            return
        if self._known().links != self._shown_links:
            self._shown_links = self._known().links
            workflow.upsert_memo(self._shown_links)
        self._memory = minds.record_read(self._memory, self._known().record)
        await self._adopt_rollout()

    def _known(self) -> ModelBrief:
        assert self._brief is not None, "read before anything is decided"
        return self._brief

    def _is_busy(self) -> bool:
        in_flight = (self._retraining, self._rollout, self._memory.candidate)
        return any(child is not None for child in in_flight) or self._is_trial_unwatched()

    def _is_trial_unwatched(self) -> bool:
        record = self._memory.record
        return self._rollout is None and record is not None and record.stage is not Stage.STEADY

    def _flight(self) -> Flight:
        return Flight(
            retraining=self._retraining is not None, rolling_out=self._rollout is not None, waits_for=self._waits_for
        )

    def _settle(self) -> None:
        """Note the window up to which only event time or a person can change anything."""
        if self._retraining is not None or self._has_news():
            return
        window = self._memory.window if self._rollout is None else self._rollout.settled_window
        if window is not None:
            self._memory = replace(self._memory, settled_window=window)

    def _may_renew(self) -> bool:
        quiet = self._retraining is None and self._rollout is None and not self._has_news()
        return quiet and workflow.info().is_continue_as_new_suggested()

    def _tell(self, sentence: str) -> None:
        self._memory = told(self._memory, sentence)

    def _attributes(self, reason: str) -> TypedSearchAttributes:
        return TypedSearchAttributes(
            [SearchAttributePair(_MODEL, self._start.model), SearchAttributePair(_REASON, reason[:200])]
        )

    def _show(self) -> None:
        """Keep Temporal's page of this workflow readable."""
        now = phase(self._memory, self._flight())
        if now != self._shown_phase:
            self._shown_phase = now
            workflow.upsert_search_attributes([_STAGE.value_set(now)])
        workflow.set_current_details(details(self.state()))


def _root_message(error: BaseException) -> str:
    """The sentence at the bottom of a chain of failures."""
    while error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "message", "") or str(error)
