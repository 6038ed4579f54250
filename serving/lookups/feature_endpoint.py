"""``POST /get-online-features``: the bytes of a request to the bytes of its answer, with one read of the store.

Requests that come in one turn of the event loop are asked together, and those that differ in their keys alone are
taken apart and answered together too: under load that is most of them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feature_store.kernels import I64
from feature_store.online.redis_pipe import RedisPipe
from headrace.errors import HeadraceError, IntegrityError
from serving.http.endpoint import Ending
from serving.lookups.feast_payload import FeastPayload
from serving.lookups.prepared_requests import PreparedRequest, PreparedRequests

__all__ = ["FeatureEndpoint"]

_FEW = 2
"""So many requests are read one by one: setting out for the kernels costs more."""

_Asked = tuple[bytes, Callable[[Ending], None]]
"""A body, and what gets its answer or the error."""


class FeatureEndpoint:
    """Reads rows as they are stored.

    Args:
        payload: the requests of one project.
        pipe: the online store; requests that come together are asked together.
    """

    def __init__(self, payload: FeastPayload, pipe: RedisPipe) -> None:
        self._payload, self._pipe = payload, pipe
        self._prepared = PreparedRequests(payload)
        self._gathered: list[_Asked] = []

    def warm_up(self) -> None:
        """Load what answers, before the first request."""
        self._prepared.warm_up()

    def start(self, _path: Mapping[str, str], body: bytes, end: Callable[[Ending], None]) -> None:
        """Begin one answer; ``end`` gets it, or the error."""
        self._gathered.append((body, end))
        if len(self._gathered) == 1:
            asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        """Ask for everything that came in this turn."""
        single, self._gathered = self._gathered, []
        if len(single) > _FEW:
            alike, others = self._prepared.sort([body for body, _ in single])
            for known, numbers, keys in alike:
                self._ask_together(known, keys, [single[number] for number in numbers])
            single = [single[number] for number in others]
        for each in single:
            self._ask_one(each)
        self._pipe.flush()

    def _ask_one(self, asked: _Asked) -> None:
        body, end = asked
        try:
            query = self._payload.read(body)
            commands = query.commands()
        except Exception as error:
            end(error)
            return

        def done(replies: list[Any] | HeadraceError) -> None:
            if isinstance(replies, HeadraceError):
                end(replies)
                return
            try:
                content = query.answer(replies)
            except Exception as error:
                end(error)
            else:
                end(content)

        self._pipe.ask(b"".join(commands), len(commands), done)

    def _ask_together(self, known: PreparedRequest, keys: I64, asked: list[_Asked]) -> None:
        def done(replies: list[Any] | HeadraceError) -> None:
            contents: Sequence[bytes | Exception] | None = None
            if isinstance(replies, list):
                try:
                    contents = known.answer(keys, replies)
                except Exception as error:
                    contents = [error] * len(asked)
            elif not isinstance(replies, IntegrityError):
                contents = [replies] * len(asked)
            if contents is None:
                for each in asked:  # something is wrong or unusual with one of them; it must not be with the others
                    self._ask_one(each)
                return
            for (_, end), content in zip(asked, contents, strict=True):
                end(content)

        self._pipe.ask(known.commands(keys), known.replies(len(asked)), done)
