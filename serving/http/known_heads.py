"""Heads of requests that were parsed before: a client sends the same one again and again, but for its length."""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["KnownHead", "KnownHeads"]

_MOST = 1_024
_MOST_BYTES = 4_096
"""Of a head; a longer one is parsed each time."""


class KnownHead(NamedTuple):
    """What the parser made of a head whose connection stays open."""

    method: bytes
    begin: Callable[[Any, bytes | None], None]
    """What answers its requests: takes the exchange and the body."""
    size: int
    """Bytes of the body."""


class KnownHeads:
    """Those of one server: what a head means depends on its bytes alone."""

    def __init__(self) -> None:
        self._heads: dict[bytes, KnownHead] = {}

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """The head of exactly one request, and its body; None for anything else, or a head that is new."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._heads.get(data[:end])
        return (known, data[end:]) if known is not None and len(data) == end + known.size else None

    def learn(self, data: bytes, head: KnownHead) -> None:
        """Remember the head of a request that the parser took ``data`` for, the whole and nothing but it.

        Args:
            data: head and body.
            head: as the parser gave it. A body in chunks is shorter than what stands behind its head, and such a head
                is not remembered.
        """
        end = data.find(b"\r\n\r\n") + 4
        if 4 <= end <= _MOST_BYTES and len(data) == end + head.size:
            if len(self._heads) >= _MOST:
                self._heads.clear()
            self._heads[data[:end]] = head
