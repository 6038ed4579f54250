"""Runs the HTTP application: a bound socket, uvloop, a clean end on SIGTERM."""

import gc
import signal
import socket
import sys

import uvicorn

from headrace.config import Settings
from headrace.errors import ConfigError
from headrace.spec.project import Project
from serving.app import build_app
from serving.parts import assemble

__all__ = ["bind", "serve"]

DRAIN_S = 10
"""Longest wait for open requests at the end."""
_BACKLOG = 2048


def serve(settings: Settings, project: Project, *, host: str, port: int) -> int:
    """Answer until SIGTERM or Ctrl-C; prints the address once requests are answered.

    Args:
        settings: where everything else is.
        project: whose features and models are served.
        host: interface to listen on.
        port: 0 lets the system choose.

    Raises:
        ConfigError: the address cannot be bound.
    """
    listener = bind(host, port)
    address = f"{host}:{listener.getsockname()[1]}"
    app = build_app(assemble(settings, project, name=address, source="http"))
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config, f"serving {project.name} at http://{address}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn drains on these, then raises them again for us
    server.run(sockets=[listener])
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()  # what is loaded stays: a full collection over it would stop answers for 100 ms
            print(self._announcement, flush=True, file=sys.stdout)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 lets the system choose.

    Raises:
        ConfigError: the address cannot be bound.
    """
    try:
        return socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="choose another with --port, or --port 0 for any free one",
        ) from error
