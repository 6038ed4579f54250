"""Runs the HTTP application: a bound socket, uvloop, a clean end on SIGTERM."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable

import uvloop

from headrace.config import Settings
from headrace.errors import ConfigError
from headrace.spec.project import Project
from serving.app import App
from serving.http.connection import HttpConnection
from serving.http.known_heads import KnownHeads
from serving.parts import assemble

__all__ = ["answer_requests", "bind", "serve"]

DRAIN_S = 10
"""Longest wait for open requests at the end."""
SILENT_S = 60
"""A connection with nothing to answer, or whose request does not come to its end, is closed after so long."""
_TICK_S = 5
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
    app = App(assemble(settings, project, name=address, source="http"))

    def ready() -> None:
        gc.collect()
        gc.freeze()  # what is loaded stays: a full collection over it would stop answers for 100 ms
        print(f"serving {project.name} at http://{address}", flush=True, file=sys.stdout)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await answer_requests(app, listener, ready=ready, stop=stop)

    uvloop.run(run())
    return 0


async def answer_requests(
    app: App, listener: socket.socket, *, ready: Callable[[], None], stop: asyncio.Event, drain_s: float = DRAIN_S
) -> None:
    """Start the application, answer until ``stop``, finish open requests, stop the application.

    Args:
        app: what answers.
        listener: a listening socket.
        ready: called once requests are answered.
        stop: set from the same event loop.
        drain_s: longest wait for open requests.
    """
    loop = asyncio.get_running_loop()
    connections: set[HttpConnection] = set()
    heads = KnownHeads()

    def connected() -> HttpConnection:
        return HttpConnection(app.router, connections, max_body_bytes=app.max_body_bytes, heads=heads)

    try:
        await app.start()
        server = await loop.create_server(connected, sock=listener, backlog=_BACKLOG)
        watch = loop.create_task(_watch(connections))
        ready()
        await stop.wait()
        watch.cancel()
        server.close()
        await _drain(connections, drain_s)
    finally:
        await app.stop()


async def _watch(connections: set[HttpConnection]) -> None:
    while True:
        await asyncio.sleep(_TICK_S)
        for connection in tuple(connections):
            connection.tick(SILENT_S // _TICK_S)


async def _drain(connections: set[HttpConnection], drain_s: float) -> None:
    for connection in tuple(connections):
        connection.end()
    waited = 0.0
    while connections and waited < drain_s:
        await asyncio.sleep(0.01)
        waited += 0.01
    for connection in tuple(connections):
        connection.abort()


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
