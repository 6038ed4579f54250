"""Reading feature rows online: many entities and views in one round trip, mapped by name.

    requests ──► bytes of HMGET commands ──► Redis ──► our fields of each row ──► ViewRow by view name

The blocking and the asyncio reader share everything but the wire. Many entities are read fastest as columns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis
from numpy.typing import ArrayLike

from feature_store.online.lookup_columns import ColumnsAsked, ReplyReader
from feature_store.online.lookup_wire import LookupRequest, LookupWire
from feature_store.online.redis_online import address_of, connect, translate
from feature_store.online.redis_pipe import RedisPipe
from feature_store.online.reply_parser import UNFINISHED, reply_parser
from feature_store.online.view_rows import EXPIRED, NOT_FOUND, PRESENT, STALE, ViewColumns, ViewRow
from feature_store.own_event import OwnEvent
from headrace.errors import IntegrityError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project

__all__ = [
    "EXPIRED",
    "NOT_FOUND",
    "PRESENT",
    "STALE",
    "AsyncOnlineReader",
    "LookupRequest",
    "OnlineReader",
    "OwnEvent",
    "ViewColumns",
    "ViewRow",
]

_TIMEOUT_S = 5.0
_RECEIVE_BYTES = 1 << 16
T = TypeVar("T")


class OnlineReader:
    """Blocking reads of a project's views. One per thread."""

    def __init__(self, redis_url: str, project: Project) -> None:
        self._address = address_of(redis_url)
        self._wire = LookupWire(project)
        self._pool = connect(redis_url).connection_pool
        self._connection: Any = None
        self._parser: Any = None

    def read(self, requests: Sequence[LookupRequest]) -> list[dict[str, ViewRow]]:
        """One mapping of view name to row per request, in order; one round trip.

        Raises:
            RejectedError: a view is unknown, an entity is missing or has the wrong type, an own event is incomplete.
            UnavailableError: Redis did not answer.
            IntegrityError: what is stored is no feature row.
        """
        commands = self._wire.encode(requests)
        replies = self._repeated(lambda: self._round_trip(b"".join(commands), len(commands)))
        return self._wire.decode(requests, _checked(replies, self._address))

    def read_columns(
        self,
        views: Sequence[FeatureView],
        entities: Mapping[str, ArrayLike],
        *,
        at_us: int | ArrayLike | None = None,
    ) -> dict[str, ViewColumns]:
        """Rows of n entities, or combinations of entities, as columns by view name; one round trip.

        Args:
            views: whose features are asked for.
            entities: entity name -> (n,) keys.
            at_us: instant, or (n,) instants, to evaluate at; None: values as stored.

        Raises:
            RejectedError: a view is unknown; keys are missing, of the wrong type or not equally many.
            UnavailableError: Redis did not answer.
            IntegrityError: what is stored is no feature row.
        """
        asked = ColumnsAsked(self._wire, views, entities, at_us)
        replies = self._repeated(lambda: self._exchange(asked))
        return asked.answer([(reply.data, reply.spans) for reply in replies])

    def close(self) -> None:
        self._pool.disconnect()

    def _repeated(self, exchange: Callable[[], T]) -> T:
        """What it gives; a second time where the kept connection has been closed since, for a read can be repeated.

        Raises:
            UnavailableError: Redis did not answer then, either.
        """
        try:
            try:
                return exchange()
            except (redis.ConnectionError, redis.TimeoutError, OSError):
                return exchange()
        except (redis.RedisError, OSError) as error:
            raise translate(error, self._address) from error

    def _exchange(self, asked: ColumnsAsked) -> list[ReplyReader]:
        connection, socket = self._connected()
        readers, rest = asked.readers(), b""
        try:
            socket.sendall(asked.commands)
            for reader in readers:
                whole = reader.begin(rest)
                while not whole:
                    size = socket.recv_into(reader.room)
                    if not size:
                        raise redis.ConnectionError("the server closed the connection")
                    whole = reader.took(size)
                rest = reader.rest()
        except IntegrityError:
            connection.disconnect()
            self._explain(asked)
            raise
        except BaseException:
            connection.disconnect()  # or a later read would take the replies of this one
            raise
        return readers

    def _explain(self, asked: ColumnsAsked) -> None:
        """Raise what the server says of these commands, read one by one."""
        for reply in _checked(self._round_trip(asked.commands, asked.replies), self._address):
            if not isinstance(reply, list):
                raise IntegrityError(f"Redis at {self._address} replied {reply!r:.80}", hint="see `headrace status`")

    def _round_trip(self, commands: bytes, number: int) -> list[Any]:
        connection, socket = self._connected()
        parser = self._parser
        replies: list[Any] = []
        try:
            socket.sendall(commands)
            while len(replies) < number:
                reply = parser.gets()
                if reply is not UNFINISHED:
                    replies.append(reply)
                elif data := socket.recv(_RECEIVE_BYTES):
                    parser.feed(data)
                else:
                    raise redis.ConnectionError("the server closed the connection")
        except BaseException:
            connection.disconnect()  # or a later read would take the replies of this one
            raise
        return replies

    def _connected(self) -> tuple[Any, Any]:
        """The connection and its socket, which is ours once redis-py has done what an address may ask for."""
        connection = self._connection
        if connection is None:
            connection = self._connection = self._pool.get_connection()
        if connection._sock is None or self._parser is None:
            connection.connect()
            self._parser = reply_parser()
        return connection, connection._sock


class AsyncOnlineReader:
    """Reads of a project's views on one event loop: what is asked in one turn of it goes out together."""

    def __init__(self, redis_url: str, project: Project) -> None:
        self._wire = LookupWire(project)
        self._pipe = RedisPipe(redis_url, timeout_s=_TIMEOUT_S)

    async def read(self, requests: Sequence[LookupRequest]) -> list[dict[str, ViewRow]]:
        """As :meth:`OnlineReader.read`."""
        return self._wire.decode(requests, await self._pipe.replies(self._wire.encode(requests)))

    async def close(self) -> None:
        self._pipe.close()


def _checked(replies: list[Any], address: str) -> list[Any]:
    for reply in replies:
        if isinstance(reply, redis.RedisError):
            raise translate(reply, address) from reply
    return replies
