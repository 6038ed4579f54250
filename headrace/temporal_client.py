"""Speaking to the controller workflow of a model: connect, signal, ask. The only place that makes Temporal clients.

A signal starts the controller when it does not run, so no sender needs to know whether it is the first.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode

from headrace.config import Settings
from headrace.contracts.control import (
    CONTROL_QUEUE,
    CONTROLLER_WORKFLOW,
    QUERY_STATE,
    SIGNAL_COMMAND,
    SIGNAL_OBSERVE,
    ControllerStart,
    ControllerState,
    Observation,
    OperatorCommand,
    controller_id,
)
from headrace.errors import HeadraceError, UnavailableError

__all__ = ["ask", "connect", "controller_state", "send_command", "send_observation", "translate", "workflow_url"]

T = TypeVar("T")

_LEAVE_S = 0.1
"""The client's native threads are still leaving Python when their answer is here; a process that ends in that moment
aborts (temporalio 1.35, one command in five)."""


def ask(settings: Settings, question: Callable[[Client], Awaitable[T]]) -> T:
    """Connect, ask one thing and leave: for commands, which end right afterwards.

    Raises:
        UnavailableError: the server does not answer.
    """

    async def once() -> T:
        try:
            return await question(await connect(settings))
        finally:
            await asyncio.sleep(_LEAVE_S)

    return asyncio.run(once())


async def connect(settings: Settings) -> Client:
    """A client of the configured server.

    Raises:
        UnavailableError: it does not answer.
    """
    try:
        return await Client.connect(
            settings.temporal.address, namespace=settings.temporal.namespace, runtime=_quiet_runtime()
        )
    except RuntimeError as error:
        raise UnavailableError(
            f"Temporal at {settings.temporal.address} does not answer",
            hint="start the embedded stack with `headrace up`, or set temporal.address to a running server",
        ) from error
    except RPCError as error:
        raise translate(error, settings) from error


async def send_observation(client: Client, start: ControllerStart, observation: Observation) -> None:
    """Tell a model's controller what monitors saw; starts the controller when it does not run.

    Raises:
        UnavailableError: the server did not take it.
    """
    await _signal(client, start, SIGNAL_OBSERVE, observation)


async def send_command(client: Client, start: ControllerStart, command: OperatorCommand) -> None:
    """Tell a model's controller what a person asks for; starts the controller when it does not run.

    Raises:
        UnavailableError: the server did not take it.
    """
    await _signal(client, start, SIGNAL_COMMAND, command)


async def controller_state(client: Client, model: str) -> ControllerState | None:
    """What the controller of a model says about itself; None when it never ran.

    Raises:
        UnavailableError: the server or the worker does not answer.
    """
    handle = client.get_workflow_handle(controller_id(model))
    try:
        state: ControllerState = await handle.query(QUERY_STATE, result_type=ControllerState)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise UnavailableError(
            f"the controller of model {model!r} does not answer: {error.message}",
            hint="a worker must be running: `headrace run worker`",
        ) from error
    return state


def workflow_url(settings: Settings, workflow_id: str) -> str:
    """Address of a workflow's page in Temporal's UI."""
    escaped = workflow_id.replace("/", "%2F")
    return f"{settings.temporal.ui_url}/namespaces/{settings.temporal.namespace}/workflows/{escaped}"


def translate(error: RPCError, settings: Settings) -> HeadraceError:
    """One of ours for an error of the client library."""
    return UnavailableError(f"Temporal at {settings.temporal.address}: {error.status.name}: {error.message}")


@cache
def _quiet_runtime() -> Runtime:
    """The process's one runtime; without this its native part prints every retry to stderr, in colour."""
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(TelemetryFilter("ERROR", "ERROR"))))


async def _signal(client: Client, start: ControllerStart, name: str, message: Any) -> None:
    try:
        await client.start_workflow(
            CONTROLLER_WORKFLOW,
            start,
            id=controller_id(start.model),
            task_queue=CONTROL_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            start_signal=name,
            start_signal_args=[message],
            static_summary=f"Keeps model {start.model} right",
        )
    except RPCError as error:
        raise UnavailableError(
            f"Temporal did not take a signal for model {start.model!r}: {error.message}",
            hint="check the server with `headrace status`",
        ) from error
