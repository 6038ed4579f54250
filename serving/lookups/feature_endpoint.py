"""``POST /get-online-features``: the bytes of a request to the bytes of its answer, with one read of the store.

Requests that come in one turn of the event loop are asked together, and those that differ in their keys alone are
taken apart and answered together too: under load that is most of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from feature_store.kernels import I64
from feature_store.online.redis_pipe import RedisPipe
from headrace.errors import HeadraceError, IntegrityError
from serving.http.connection import Exchange
from serving.http.endpoint import Endpoint
from serving.lookups.feast_payload import FeastPayload
from serving.lookups.prepared_requests import PreparedRequest, PreparedRequests
from serving.metrics import Metrics

__all__ = ["FeatureEndpoint"]

_Asked = tuple[bytes, Exchange]
"""A body, and what gets its answer or the error."""


class FeatureEndpoint(Endpoint):
    """Reads rows as they are stored.

    Args:
        route: its name in metrics.
        payload: the requests of one project.
        pipe: the online store; requests that come together are asked together.
        metrics, max_body_bytes: as of every endpoint.
    """

    def __init__(
        self, route: str, payload: FeastPayload, pipe: RedisPipe, *, metrics: Metrics, max_body_bytes: int
    ) -> None:
        super().__init__(route, metrics=metrics, max_body_bytes=max_body_bytes)
        self._payload, self._pipe = payload, pipe
        self._prepared = PreparedRequests(payload)
        self._gathered: list[_Asked] = []

    def warm_up(self) -> None:
        """Load what answers, before the first request."""
        self._prepared.warm_up()

    def _start(self, exchange: Exchange, _path: Mapping[str, str], body: bytes) -> None:
        self._gathered.append((body, exchange))
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        """Ask for everything that came in this turn."""
        gathered, self._gathered = self._gathered, []
        alike, others = self._prepared.sort([body for body, _ in gathered])
        for known, numbers, keys in alike:
            self._ask_together(known, keys, [gathered[number] for number in numbers])
        for number in others:
            self._ask_one(*gathered[number])
        self._pipe.flush()

    def _ask_one(self, body: bytes, exchange: Exchange) -> None:
        try:
            query = self._payload.read(body)
            commands = query.commands()
        except Exception as error:
            self.end(exchange, error)
            return

        def done(replies: list[Any] | HeadraceError) -> None:
            if isinstance(replies, HeadraceError):
                self.end(exchange, replies)
                return
            try:
                content = query.answer(replies)
            except Exception as error:
                self.end(exchange, error)
            else:
                self.end(exchange, content)

        self._pipe.ask(b"".join(commands), len(commands), done)

    def _ask_together(self, known: PreparedRequest, keys: I64, asked: Sequence[_Asked]) -> None:
        def done(replies: list[Any] | HeadraceError) -> None:
            contents, error = None, None
            if isinstance(replies, list):
                try:
                    contents = known.answer(keys, replies)
                except Exception as failure:
                    error = failure
            elif not isinstance(replies, IntegrityError):
                error = replies
            if contents is not None:
                self.end_all([exchange for _, exchange in asked], contents)
                return
            for body, exchange in asked:
                if error is not None:
                    self.end(exchange, error)
                else:  # something is wrong or unusual with one of them; it must not be with the others
                    self._ask_one(body, exchange)

        self._pipe.ask(known.commands(keys), known.replies(len(asked)), done)
