"""A small HTTP server that speaks the documented interface of Confluent's schema registry."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from headrace.errors import RejectedError
from streams.schemas.schema_registry_file import FileSchemaRegistry

__all__ = ["RegistryServer", "serve_registry"]


@dataclass
class RegistryServer:
    """What the server knows and how it behaves; tests change it while it runs."""

    url: str
    schemas: FileSchemaRegistry
    others: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Path -> answer, for what the files cannot hold: references, other kinds of schemas."""
    failing: int = 0
    """Status of every answer while it is not 0."""
    credentials: str = ""
    """``user:password`` asked for."""
    requests: list[str] = field(default_factory=list)


@contextmanager
def serve_registry(folder: Path) -> Iterator[RegistryServer]:
    """A running server with its schemas in a folder."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self._is_allowed():
                return
            path = self.path.partition("?")[0]
            found = re.fullmatch(r"/schemas/ids/(\d+)", path)
            if path in state.others:
                self._answer(200, state.others[path])
            elif found is None:
                self._answer(404, {"error_code": 404, "message": "HTTP 404 Not Found"})
            elif (schema := state.schemas.schema(int(found[1]))) is None:
                self._answer(404, {"error_code": 40403, "message": "Schema not found"})
            else:
                self._answer(200, {"schema": schema.text})

        def do_POST(self) -> None:
            if not self._is_allowed():
                return
            found = re.fullmatch(r"/subjects/([^/]+)/versions", self.path.partition("?")[0])
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert found is not None
            assert body.get("schemaType", "AVRO") == "AVRO"
            try:
                self._answer(200, {"id": state.schemas.register(found[1], body["schema"])})
            except RejectedError as error:
                kind = 409 if "cannot be read" in str(error) else 422
                self._answer(kind, {"error_code": kind, "message": str(error)})

        def _is_allowed(self) -> bool:
            state.requests.append(f"{self.command} {self.path}")
            wanted = f"Basic {base64.b64encode(state.credentials.encode()).decode()}"
            if state.failing:
                self._answer(state.failing, {"error_code": 50001, "message": "broken on purpose"})
            elif state.credentials and self.headers.get("Authorization") != wanted:
                self._answer(401, {"error_code": 401, "message": "Unauthorized"})
            else:
                return True
            return False

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_words: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = RegistryServer(f"http://127.0.0.1:{server.server_port}", FileSchemaRegistry(folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
