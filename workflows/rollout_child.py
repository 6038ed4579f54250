"""The rollout in flight, as its controller sees it: started, told, heard, and concluded."""

from temporalio import workflow
from temporalio.common import TypedSearchAttributes
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from headrace.contracts.control import ROLLOUT_WORKFLOW, rollout_workflow_id
from workflows.messages import RolloutProgress, RolloutResult, RolloutStart

__all__ = ["RolloutChild"]


class RolloutChild:
    """A child workflow that was started and has not been concluded."""

    def __init__(self, start: RolloutStart) -> None:
        self.start = start
        self.settled_window: int | None = None
        """Newest window it has acted upon; None before its first report."""
        self._handle: workflow.ChildWorkflowHandle[object, RolloutResult] | None = None

    async def launch(self, attributes: TypedSearchAttributes, memo: dict[str, str]) -> None:
        """Start the workflow, with what Temporal's page shows of it."""
        start = self.start
        while self._handle is None:
            try:
                self._handle = await workflow.start_child_workflow(
                    ROLLOUT_WORKFLOW,
                    start,
                    id=rollout_workflow_id(start.model, start.rollout_id),
                    result_type=RolloutResult,
                    static_summary=f"{start.model} {start.version}: {start.reason}"[:200],
                    search_attributes=attributes,
                    memo=memo,
                )
            except WorkflowAlreadyStartedError:  # the child of a terminated controller, which is still being ended
                await workflow.sleep(1)

    async def tell(self, signal: str, message: object) -> None:
        """Send a signal; one that comes too late is dropped, the result comes next."""
        try:
            await self._running().signal(signal, message)
        except FailureError:
            workflow.logger.info("the rollout ended meanwhile")

    def hear(self, progress: RolloutProgress) -> bool:
        """Take a report; False when it is of another rollout."""
        if progress.rollout_id != self.start.rollout_id:
            return False
        self.settled_window = progress.window
        return True

    @property
    def is_done(self) -> bool:
        return self._handle is not None and self._handle.done()

    async def result(self) -> RolloutResult:
        """Its result, when it is done.

        Raises:
            ChildWorkflowError: it failed.
        """
        return await self._running()

    def _running(self) -> workflow.ChildWorkflowHandle[object, RolloutResult]:
        assert self._handle is not None, "launched before anything else"
        return self._handle
