"""Naming and ending processes, tried on real ones."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from headrace.local import process
from tests.eventually import eventually

_WAITS = "import signal; signal.pause()"
_IGNORES_TERM = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
)
_LEAVES_A_CHILD = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', {_WAITS!r}]); print('ready', flush=True); {_WAITS}"
)


@contextmanager
def _started(code: str) -> Iterator[subprocess.Popen[bytes]]:
    popen = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    name = process.name_of(popen.pid)
    assert name is not None
    assert popen.stdout is not None
    try:
        if "ready" in code:
            popen.stdout.readline()
        yield popen
    finally:
        process.stop(name, within_s=0.0)
        popen.wait()
        popen.stdout.close()


def test_a_living_process_has_a_name_and_the_name_is_stable() -> None:
    with _started(_WAITS) as popen:
        assert process.name_of(popen.pid) == process.name_of(popen.pid)
        assert process.name_of(popen.pid) is not None


def test_a_zombie_does_not_live() -> None:
    with _started(_WAITS) as popen:
        popen.kill()  # not waited for yet

        assert eventually(lambda: process.name_of(popen.pid) is None)


def test_a_reused_process_id_is_somebody_else() -> None:
    with _started(_WAITS) as popen:
        name = process.name_of(popen.pid)
        assert name is not None
        earlier_owner = replace(name, started=name.started - 1)

        assert process.is_alive(name)
        assert not process.is_alive(earlier_owner)
        assert process.members(earlier_owner) == []


def test_stopping_somebody_who_had_this_id_before_leaves_the_present_owner_alone() -> None:
    with _started(_WAITS) as popen:
        name = process.name_of(popen.pid)
        assert name is not None

        process.stop(replace(name, started=name.started - 1), within_s=0.0)

        assert process.is_alive(name)


def test_stop_ends_one_that_ignores_sigterm() -> None:
    with _started(_IGNORES_TERM) as popen:
        name = process.name_of(popen.pid)
        assert name is not None

        process.stop(name, within_s=0.1)

        assert not process.is_alive(name)


def test_stop_ends_descendants_whose_parent_died_before() -> None:
    with _started(_LEAVES_A_CHILD) as popen:
        name = process.name_of(popen.pid)
        assert name is not None
        popen.kill()
        popen.wait()
        assert len(process.members(name)) == 1

        process.stop(name, within_s=5.0)

        assert process.members(name) == []
