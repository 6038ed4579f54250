"""The worker: workflows and light activities on the control queue, training on the gpu queue.

Runs until SIGTERM or SIGINT, then lets what runs finish for a moment. What is cut off is not lost: Temporal hands it
to the next worker, and a training resumes from its checkpoint.
"""

import asyncio
import contextlib
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from headrace.config import Settings
from headrace.contracts.control import CONTROL_QUEUE, GPU_QUEUE
from headrace.errors import ConfigError, UnavailableError
from headrace.logging import get_logger
from headrace.spec.project import Project
from headrace.temporal_client import connect, translate
from workflows.activity_edge import Activities
from workflows.controller import ModelController
from workflows.retrain import Retrain
from workflows.rollout import Rollout

__all__ = ["ensure_search_attributes", "run", "serve"]

WORKFLOWS = (ModelController, Retrain, Rollout)
SEARCH_ATTRIBUTES = ("ModelName", "Stage", "Reason")
CONTROL_THREADS = 8
RETRY_S = 2.0
STICKY_S = 1.5
"""How long the server waits for a worker that may be dead before it asks another; its default is 10 s."""
GRACE_S = 5.0
HEALTH_S = 5.0

_log = get_logger(__name__)


def run(settings: Settings, project: Project) -> int:
    """Work until told to stop; the role ``headrace run worker``."""
    from workflows.wiring import build_activities  # loads Feast, MLflow and the monitors

    _log.info("worker starts", project=project.name, temporal=settings.temporal.address)
    asyncio.run(_run(settings, build_activities(settings)))
    _log.info("worker stopped")
    return 0


async def _run(settings: Settings, activities: Activities) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    client = await _connect(settings, stop)
    if client is not None:
        await serve(client, activities, stop)


async def _connect(settings: Settings, stop: asyncio.Event) -> Client | None:
    """A client, however long the server takes to come; None when told to stop before."""
    while not stop.is_set():
        try:
            client = await connect(settings)
            await ensure_search_attributes(client, settings)
        except UnavailableError as error:
            _log.warning("waiting for Temporal", reason=error.args[0])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_S)
        else:
            return client
    return None


async def serve(client: Client, activities: Activities, stop: asyncio.Event) -> None:
    """Run both workers until ``stop`` is set.

    The gpu queue has one slot: one worker process per device.
    """
    with ThreadPoolExecutor(CONTROL_THREADS, "control") as light, ThreadPoolExecutor(1, "training") as heavy:
        control = Worker(
            client,
            task_queue=CONTROL_QUEUE,
            workflows=WORKFLOWS,
            activities=activities.control,
            activity_executor=light,
            max_concurrent_activities=CONTROL_THREADS,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_S),
            graceful_shutdown_timeout=timedelta(seconds=GRACE_S),
        )
        training = Worker(
            client,
            task_queue=GPU_QUEUE,
            activities=activities.training,
            activity_executor=heavy,
            max_concurrent_activities=1,
            graceful_shutdown_timeout=timedelta(seconds=0),  # hours of work are not waited for
        )
        async with control, training:
            _log.info("worker ready", queues=f"{CONTROL_QUEUE},{GPU_QUEUE}")
            await _until(stop, client)
            _log.info("worker stops")


async def _until(stop: asyncio.Event, client: Client) -> None:
    """Wait for ``stop``; the workers themselves say nothing when the server goes away and comes back."""
    was_there = True
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), HEALTH_S)
            return
        is_there = await _answers(client)
        if is_there is not was_there:
            (_log.info if is_there else _log.warning)("Temporal is back" if is_there else "Temporal does not answer")
        was_there = is_there


async def _answers(client: Client) -> bool:
    try:
        return await client.service_client.check_health(timeout=timedelta(seconds=HEALTH_S))
    except RPCError:
        return False


async def ensure_search_attributes(client: Client, settings: Settings) -> None:
    """Register the attributes our workflows are found by, where the server lacks them.

    Raises:
        UnavailableError: the server does not answer.
        ConfigError: it does not let us.
    """
    namespace = settings.temporal.namespace
    try:
        known = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
        missing = [name for name in SEARCH_ATTRIBUTES if name not in known.custom_attributes]
        if missing:
            kinds = dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=namespace, search_attributes=kinds)
            )
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED):
            raise ConfigError(
                f"Temporal lacks the search attributes {', '.join(SEARCH_ATTRIBUTES)} and refuses to add them",
                hint="let an operator add them as keywords",
            ) from error
        raise translate(error, settings) from error
