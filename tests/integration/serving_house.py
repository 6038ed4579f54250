"""A served project on the session's stack: artifacts, events applied as the stream applies them, a real HTTP server."""

import asyncio
import http.client
import json
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import uvloop

from feature_store.online.redis_online import OnlineWriter, connect
from feature_store.plan import compile_view, to_steps
from feature_store.state.view_state import ViewState
from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.redis_keys import serving_key
from headrace.contracts.rollout import RolloutChange, RolloutRecord
from headrace.contracts.topics import DEPLOYMENTS, PREDICTIONS
from headrace.kafka_clients import end_offsets, read_topic
from headrace.rollout_store import RolloutStore
from headrace.spec.formats import Format
from headrace.spec.project import Project
from serving.app import App
from serving.parts import assemble
from serving.server import answer_requests, bind
from tests.unit.serving.artifacts import write_version
from tests.unit.serving.cards import NOON_US, cards_project, record

__all__ = ["Asker", "House", "payment"]


def payment(number: int, *, card: int = 1, shop: int = 2, at_us: int = NOON_US, amount: float = 10.0) -> dict[str, Any]:
    """An event as a producer writes it."""
    return {"payment": number, "at": at_us, "card": card, "shop": shop, "amount": amount}


class House:
    """One project's surroundings."""

    def __init__(self, stack: Settings, home: Path, name: str, *, form: Format | None = None) -> None:
        self.settings = replace(stack, home=home)
        self.project: Project = cards_project(name, form=form)
        self.model = self.project.models[0]
        self.store = RolloutStore(stack.redis.url)
        self._views = [ViewState(compile_view(view)) for view in self.project.views]
        self._version = 0
        topics = (PREDICTIONS.name, DEPLOYMENTS.name)
        self._ends = end_offsets(self.settings, topics)
        """Where the shared topics ended when this house was made."""

    def publish(self, version: str, **weights: float) -> None:
        """Put a model version where servers look."""
        write_version(self.settings.models_dir, self.model, version, **weights)

    def roll_out(self, **changes: Any) -> RolloutRecord:
        """Put a record in force; as :func:`tests.unit.serving.cards.record`."""
        written = record(**changes)
        written = replace(written, model=self.model.name)
        change = RolloutChange(record=written, kind="champion", evidence={}, wall_us=0)
        assert self.store.write(change)
        return written

    def logged(self) -> list[PredictionRecord]:
        """Predictions of this model in the log, in order within a routing unit."""
        found = [decode(value, PredictionRecord) for value in self._read(PREDICTIONS.name)]
        return [record for record in found if record.model == self.model.name]

    def announced(self) -> list[RolloutChange]:
        """Changes of this model's record on the deployments topic."""
        found = [decode(value, RolloutChange) for value in self._read(DEPLOYMENTS.name)]
        return [change for change in found if change.record.model == self.model.name]

    def told(self) -> dict[bytes, bytes]:
        """What servers say they have loaded."""
        return dict(connect(self.settings.redis.url).hgetall(serving_key(self.model.name)))  # type: ignore[arg-type]  # not awaitable here

    def _read(self, topic: str) -> list[bytes]:
        start = {number: end for (name, number), end in self._ends.items() if name == topic}
        return [message.value() for message in read_topic(self.settings, topic, start=start)]

    def apply(self, *events: dict[str, Any]) -> None:
        """Apply events to both views and write their rows, as a view task does."""
        self._version += 1
        with OnlineWriter(self.settings.redis.url, self.project.name) as writer:
            for state in self._views:
                columns = [
                    np.full(len(events), -(2**63))
                    if column.is_label
                    else to_steps(np.array([float(event[column.column]) for event in events]), column.scale)
                    for column in state.plan.inputs
                ]
                state.apply(
                    np.array([event[state.plan.view.entity] for event in events]),
                    np.array([event["at"] for event in events]),
                    np.array([event["payment"] for event in events]),
                    np.array(columns, np.int64).reshape(len(columns), len(events)),
                )
                state.advance(max(event["at"] for event in events))
                rows = state.drain(log=False).latest
                writer.write(state.plan, rows, version=self._version, watermark_us=state.watermark_us)

    @contextmanager
    def serving(self, settings: Settings | None = None) -> Iterator["Asker"]:
        """A server of this project on a free port."""
        listener = bind("127.0.0.1", 0)
        port = listener.getsockname()[1]
        parts = assemble(settings or self.settings, self.project, name=f"127.0.0.1:{port}", source="http")
        started, stopping = threading.Event(), asyncio.Event()
        loop = uvloop.new_event_loop()

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(answer_requests(App(parts), listener, ready=started.set, stop=stopping))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert started.wait(30)
        try:
            yield Asker(port)
        finally:
            loop.call_soon_threadsafe(stopping.set)
            thread.join(30)


@dataclass
class Asker:
    """A client with one connection."""

    port: int
    connection: http.client.HTTPConnection | None = None

    def __call__(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and decoded answer; ``body`` may be bytes."""
        if self.connection is not None and self._is_closed(self.connection):
            self.connection.close()
            self.connection = None
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            self.connection.request(method, path, data, {"content-type": "application/json"})
            response = self.connection.getresponse()
            content = response.read()
        except (http.client.HTTPException, OSError):
            self.connection.close()
            self.connection = None
            raise
        if response.will_close:
            self.connection = None
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(content) if is_json and content else content

    def pipelined(self, path: str, bodies: Sequence[Any]) -> list[tuple[int, Any]]:
        """Status and decoded answer of requests that are sent at once, on a connection of their own."""
        encoded = [json.dumps(body).encode() for body in bodies]
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: ".encode()
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as wire, wire.makefile("rb") as answers:
            wire.sendall(b"".join(b"%b%d\r\n\r\n%b" % (head, len(body), body) for body in encoded))
            return [_read_answer(answers) for _ in encoded]

    def predict(self, model: str, event: dict[str, Any]) -> dict[str, Any]:
        """The answer to one event, which must not fail."""
        status, answer = self("POST", f"/predict/{model}", {"event": event})
        assert status == 200, answer
        return dict(answer)

    @staticmethod
    def _is_closed(connection: http.client.HTTPConnection) -> bool:
        """Whether the server has ended it since the last answer, as it does when nothing was asked for a while."""
        # Between answers there is nothing to read but the end.
        return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])

    def another(self) -> "Asker":
        """A client of its own."""
        return Asker(self.port)


def _read_answer(answers: BinaryIO) -> tuple[int, Any]:
    status, size = int(answers.readline().split()[1]), 0
    while line := answers.readline().strip():
        name, _, value = line.partition(b":")
        size = int(value) if name == b"content-length" else size
    return status, json.loads(answers.read(size))
