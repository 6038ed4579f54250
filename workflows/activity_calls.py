"""How workflow definitions call activities: by name, with the time and the patience each kind deserves."""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError

__all__ = ["call_long", "call_quick", "call_training", "try_quick"]

_PATIENT = RetryPolicy(initial_interval=timedelta(seconds=0.5), maximum_interval=timedelta(seconds=15))
"""Servers come back; what must not be tried again says so itself (``non_retryable``)."""
_BOUNDED = RetryPolicy(initial_interval=timedelta(seconds=0.5), maximum_attempts=5)


async def call_quick(name: str, message: object, result: type | None, *, summary: str = "") -> Any:
    """A look-up or a small write in Redis, repeated until it works."""
    return await workflow.execute_activity(
        name,
        message,
        result_type=result,
        start_to_close_timeout=timedelta(seconds=10),
        retry_policy=_PATIENT,
        summary=summary or None,
    )


async def try_quick(name: str, message: object, *, summary: str = "") -> bool:
    """A small write the workflow can do without, repeated for a minute; False when it could not be done."""
    try:
        await workflow.execute_activity(
            name,
            message,
            schedule_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=_PATIENT,
            summary=summary or None,
        )
    except ActivityError as error:
        workflow.logger.warning("gave up %s: %s", name, error.cause or error)
        return False
    return True


async def call_long(name: str, message: object, result: type | None, *, summary: str = "") -> Any:
    """Minutes of work that says every few seconds that it lives."""
    return await workflow.execute_activity(
        name,
        message,
        result_type=result,
        start_to_close_timeout=timedelta(hours=1),
        heartbeat_timeout=timedelta(seconds=10),
        retry_policy=_BOUNDED,
        summary=summary or None,
    )


async def call_training(name: str, message: object, result: type, *, queue: str, summary: str = "") -> Any:
    """Hours of work on a device; heartbeats carry its progress, a retry resumes from its checkpoint."""
    return await workflow.execute_activity(
        name,
        message,
        task_queue=queue,
        result_type=result,
        start_to_close_timeout=timedelta(hours=12),
        heartbeat_timeout=timedelta(seconds=15),
        retry_policy=_BOUNDED,
        summary=summary or None,
    )
