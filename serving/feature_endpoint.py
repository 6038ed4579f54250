"""``POST /get-online-features``: the bytes of a request to the bytes of its answer, with one read of the store."""

from collections.abc import Callable, Mapping
from typing import Any

from feature_store.online.redis_pipe import RedisPipe
from headrace.errors import HeadraceError
from serving.feast_payload import FeastPayload
from serving.http_endpoint import Ending

__all__ = ["FeatureEndpoint"]


class FeatureEndpoint:
    """Reads rows as they are stored.

    Args:
        payload: the requests of one project.
        pipe: the online store; requests that come together are asked together.
    """

    def __init__(self, payload: FeastPayload, pipe: RedisPipe) -> None:
        self._payload, self._pipe = payload, pipe

    def start(self, _path: Mapping[str, str], body: bytes, end: Callable[[Ending], None]) -> None:
        """Begin one answer; ``end`` gets it, or the error."""
        query = self._payload.read(body)

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

        self._pipe.ask(query.commands(), done)
