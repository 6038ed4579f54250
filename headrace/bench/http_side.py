"""A measured HTTP server: ours, Feast's own, or one that does nothing, on a core of its own.

    python -m headrace.bench.http_side '{"side": "headrace", "home": ..., "port": ..., "cores": [1], "answer": ...}'

It runs until it is ended.
"""

import asyncio
import json
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.bench.workload import make_project
from headrace.config import load_settings

__all__: list[str] = []


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    {"headrace": _headrace, "feast": _feast, "floor": _floor}[task["side"]](task)


def _headrace(task: dict[str, Any]) -> None:
    from headrace.logging import set_up_logging
    from serving.server import serve

    set_up_logging("error")
    serve(load_settings(Path(task["home"])), make_project("bench"), host="127.0.0.1", port=task["port"])


def _feast(task: dict[str, Any]) -> None:
    warnings.simplefilter("ignore")
    from feast.feature_server import start_server

    from feature_store.definitions.feast_registry import FeastRegistry, open_feast

    home = Path(task["home"])
    settings = replace(load_settings(home), home=home / "feast")
    FeastRegistry(settings, make_project("bench")).apply()
    start_server(
        open_feast(settings, "bench"),
        host="127.0.0.1",
        port=task["port"],
        no_access_log=True,
        workers=1,
        worker_connections=1_000,
        max_requests=10
        ** 9,  # its default restarts the worker after a thousand requests, which costs it most of its rate
        max_requests_jitter=0,
        keep_alive_timeout=30,
        registry_ttl_sec=600,
        tls_key_path="",
        tls_cert_path="",
        metrics=False,
    )


def _floor(task: dict[str, Any]) -> None:
    """Answers every request with the same bytes, as long as a real answer, without looking at more than its end."""
    import httptools
    import uvloop

    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (task["answer"], b"x" * task["answer"])

    class Same(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self._transport = transport
            self._parser = httptools.HttpRequestParser(self)

        def data_received(self, data: bytes) -> None:
            self._parser.feed_data(data)

        def on_message_complete(self) -> None:
            self._transport.write(answer)

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Same, "127.0.0.1", task["port"])
        await server.serve_forever()

    uvloop.run(run())


if __name__ == "__main__":
    main()
