"""Wait until something is true: the only way tests wait."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02


def eventually(probe: Callable[[], T], *, timeout_s: float = 30.0, what: str = "") -> T:
    """Call ``probe`` until it returns something truthy without raising AssertionError; return that.

    Raises:
        AssertionError: it did not happen in ``timeout_s`` seconds; carries the last outcome.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    last: object = None
    while True:
        try:
            outcome = probe()
        except AssertionError as error:
            last = error
        else:
            if outcome:
                return outcome
            last = outcome
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout_s:g} s: {what or probe!r}; last: {last!r}")
        pause.wait(_PAUSE_S)
