"""Where activities meet Temporal: names, translated errors, and signs of life.

====================================  =========================================
raised by an activity                 what Temporal does
====================================  =========================================
HeadraceError, ``retryable``          tries again
HeadraceError otherwise               fails the activity at once
OSError                               tries again (a disk, a file lock)
any other exception                   fails at once: a defect, repeating it shows nothing new
cancellation, worker shutdown         as Temporal has it
====================================  =========================================
"""

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, FailureError

from headrace.errors import HeadraceError

__all__ = ["Activities", "activity_named", "alive"]

Method = TypeVar("Method", bound=Callable[..., Any])

_BEAT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Activities:
    """Bound activity methods by the queue they run on."""

    control: Sequence[Callable[..., Any]]
    training: Sequence[Callable[..., Any]]


def activity_named(name: str) -> Callable[[Method], Method]:
    """An activity of that name whose errors carry whether trying again is right."""

    def wrap(method: Method) -> Method:
        @functools.wraps(method)
        def run(*args: Any) -> Any:
            try:
                return method(*args)
            except (FailureError, OSError):
                raise
            except HeadraceError as error:
                kind = type(error).__name__
                raise ApplicationError(str(error), type=kind, non_retryable=not error.retryable) from error
            except Exception as error:
                sentence = f"{type(error).__name__}: {error}"
                raise ApplicationError(sentence, type=type(error).__name__, non_retryable=True) from error

        return activity.defn(name=name)(run)  # type: ignore[return-value]  # defn returns what it is given

    return wrap


@contextmanager
def alive() -> Iterator[None]:
    """Heartbeat in the background while the block runs, for work that has no steps of its own to report."""
    done = threading.Event()
    context = contextvars.copy_context()  # an activity knows itself by context

    def beat() -> None:
        while not done.wait(_BEAT_S):
            context.run(activity.heartbeat)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
