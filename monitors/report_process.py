"""Runs the confirming report in a child process, bounded in time; a report that fails never holds a page back."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from headrace.config import Settings
from headrace.contracts.monitoring import Incident
from headrace.logging import get_logger

__all__ = ["report_path", "run_report"]

TIMEOUT_S = 90.0
"""Evidently needs 4 s for 10,000 rows of 20 columns on a free core; a busy machine gets twenty times that."""
_log = get_logger(__name__)


def report_path(settings: Settings, incident: Incident) -> Path:
    """Where the report of an incident stands."""
    return settings.incidents_dir / f"{incident.dedup_key}-{incident.opened_us}" / "report.html"


async def run_report(
    reference: Path, current: Path, out: Path, *, threshold: float, timeout_s: float = TIMEOUT_S
) -> bool:
    """Make a report unless it is there; whether it is there now."""
    if out.exists():
        return True
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "monitors.report",
        f"--reference={reference}",
        f"--current={current}",
        f"--out={out}",
        f"--threshold={threshold}",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, errors = await asyncio.wait_for(child.communicate(), timeout_s)
    except TimeoutError:
        _log.warning("report given up", out=out, after_s=timeout_s)
        return False
    finally:
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    if child.returncode != 0:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        _log.warning("report failed", out=out, code=child.returncode, reason="".join(last))
    return out.exists()
