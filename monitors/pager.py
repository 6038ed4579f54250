"""A pager of one's own: a small local receiver that keeps and prints what PagerDuty, Alertmanager or a hook would get.

    with Pager(Path("pager.jsonl")) as pager, pager.as_settings():
        ...  # processes started here page this receiver

Speaks the Events API v2 (``/v2/enqueue``), Alertmanager's v2 (``/api/v2/alerts``) and plain hooks (any other path).
"""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

__all__ = ["Pager"]

PAGERDUTY_PATH = "/v2/enqueue"
ALERTMANAGER_PATH = "/api/v2/alerts"
_MAX_BYTES = 1_048_576
_KEY = "demo-routing-key"


class Pager:
    """Listens on loopback while the ``with`` block lasts.

    Args:
        file: each message is appended as one line of JSON: ``{"path": ..., "body": ...}``.
        show: told a line for people about each message.
        status: answer of the next requests; a test sets it to an error.
    """

    def __init__(
        self, file: Path | None = None, *, show: Callable[[str], None] | None = None, status: int = HTTPStatus.ACCEPTED
    ) -> None:
        self._file, self._show = file, show
        self.status = status
        self.messages: list[dict[str, Any]] = []
        """Messages accepted, oldest first."""
        self.refused: list[dict[str, Any]] = []
        """Messages answered with an error."""
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="pager", daemon=True)

    @property
    def address(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def pagerduty_url(self) -> str:
        return f"{self.address}{PAGERDUTY_PATH}"

    @contextlib.contextmanager
    def as_settings(self) -> Iterator[None]:
        """Make this the PagerDuty of processes started in the block, through their environment."""
        given = {
            "HEADRACE_PAGER_PAGERDUTY_URL": self.pagerduty_url,
            "HEADRACE_PAGER_PAGERDUTY_KEY": _KEY,
        }
        os.environ.update(given)
        try:
            yield
        finally:
            for name in given:
                os.environ.pop(name, None)

    def take(self, path: str, body: Any) -> int:
        """Keep one message; returns the status to answer with."""
        message = {"path": path, "body": body}
        with self._lock:
            if self.status >= HTTPStatus.BAD_REQUEST:
                self.refused.append(message)
                return int(self.status)
            self.messages.append(message)
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(message) + "\n")
        if self._show is not None:
            self._show(describe(message))
        return int(self.status)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def describe(message: dict[str, Any]) -> str:
    """One line about a message, whatever its form.

    >>> describe({"path": "/v2/enqueue", "body": {"event_action": "resolve", "dedup_key": "a"}})
    'pager: resolve a'
    """
    body = message["body"]
    if isinstance(body, list):
        body = body[0] if body else {}
    action = body.get("event_action") or body.get("action") or "alert"
    summary = (body.get("payload") or body.get("annotations") or body).get("summary", "")
    return f"pager: {action} {summary or body.get('dedup_key', '')}".strip()


def _handler(pager: Pager) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= _MAX_BYTES:
                self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
                return
            try:
                body = json.loads(self.rfile.read(length))
            except ValueError:
                self._answer(HTTPStatus.BAD_REQUEST)
                return
            self._answer(pager.take(self.path, body))

        def _answer(self, status: int) -> None:
            data = json.dumps({"status": "success" if status < HTTPStatus.BAD_REQUEST else "error"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Pages are shown by the pager, not by its web server."""

    return Handler
