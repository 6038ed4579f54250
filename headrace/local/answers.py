"""Waiting at start until every server answers, or saying which one does not and why."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.local.addresses import settings_of
from headrace.local.layout import Layout
from headrace.local.ports import read_ports
from headrace.local.probes import PROBES
from headrace.local.service import Phase, phase_of, read_services

__all__ = ["wait_for_answers"]

_PAUSE_S = 0.05
_START_WITHIN_S = 120.0
"""Slow disks and busy machines; on a free machine the stack answers after 4 s."""


def wait_for_answers(layout: Layout, progress: Callable[[str, str], None]) -> None:
    """Wait until every wanted server answers.

    Args:
        layout: of the stack.
        progress: told the name of a server and a sentence, from several threads.

    Raises:
        UnavailableError: one does not answer; carries the last line of its log.
    """
    names = [service.name for service in read_services(layout) if service.wanted]
    wait = _Wait(layout, settings_of(layout.home, read_ports(layout)), progress)
    with ThreadPoolExecutor(len(names)) as threads:
        waits = [threads.submit(wait.until_answered, name) for name in names]
        try:
            for each in waits:
                each.result()
        finally:
            wait.is_over.set()


@dataclass(frozen=True, slots=True)
class _Wait:
    layout: Layout
    settings: Settings
    progress: Callable[[str, str], None]
    is_over: threading.Event = field(default_factory=threading.Event)
    began_s: float = field(default_factory=time.monotonic)

    def until_answered(self, name: str) -> None:
        self.progress(name, "starting")
        while not self.is_over.is_set():
            try:
                address = PROBES[name](self.settings)
            except UnavailableError as error:
                is_late = time.monotonic() - self.began_s > _START_WITHIN_S
                if is_late or phase_of(self.layout, name) is Phase.FAILING:
                    raise self.did_not_start(name, error) from error
            else:
                self.progress(name, f"answers at {address} after {time.monotonic() - self.began_s:.1f} s")
                return
            self.is_over.wait(_PAUSE_S)

    def did_not_start(self, name: str, error: UnavailableError) -> UnavailableError:
        log = self.layout.log_file(name)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
        said = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        return UnavailableError(
            f"{name} does not start: {error.args[0]}; its log ends with: {said}",
            hint=f"read {log}, and run `headrace doctor`",
        )
