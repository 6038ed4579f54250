"""The benchmark's client counts whole answers, and says when a server goes wrong."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headrace.bench.http_load import run_load
from headrace.errors import UnavailableError

REQUESTS = [b"POST /%d HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}" % number for number in range(3)]


@contextmanager
def server(status: int, size: int) -> Iterator[tuple[int, list[str]]]:
    """Port of a server that answers every request alike, and the paths it was asked for."""
    asked: list[str] = []

    class Same(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(2)
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(size))
            self.end_headers()
            self.wfile.write(b"x" * size)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Same)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    try:
        yield running.server_address[1], asked
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


@pytest.mark.parametrize("size", [0, 5, 200_000])
def test_every_answer_is_counted(size: int) -> None:
    with server(200, size) as (port, asked):
        load = run_load(port, REQUESTS, connections=2, seconds=0.05)

    assert set(asked) == {"/0", "/1", "/2"}
    assert 0 < len(load.latencies_s) < len(asked), "those of the warming up do not count"
    assert load.percentile_ms(0.5) > 0
    assert load.per_second > 0


def test_an_error_ends_the_measurement() -> None:
    with server(500, 5) as (port, _), pytest.raises(UnavailableError, match="measured server"):
        run_load(port, REQUESTS, connections=2, seconds=0.05)
