"""Writing feature rows to Redis: in Feast's layout, many a command, never an older row over a newer one."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import redis

from feature_store.online.online_encoder import Chunk, RowEncoder
from feature_store.plan import ViewPlan
from feature_store.rows import RowBatch
from headrace.errors import HeadraceError, IntegrityError, RejectedError, UnavailableError

__all__ = ["OnlineWriter", "RowWrite", "address_of", "connect", "translate"]

_TIMEOUT_S = 10.0
_IN_FLIGHT = 16
"""Commands sent ahead of their replies: the server works while the next one is encoded, and a turn's few rows of every
view and partition cost one round trip."""

# KEYS: hash keys. ARGV: version, definition, number of fields, their names (ours first), then their values by row. A
# row is replaced by an equal or newer version, or when it is of another definition. Bytes of our field:
# feature_store/online/online_layout.py. Versions are below 2^53, so Lua's numbers hold them.
_GUARDED_WRITE = """
local version, definition, width = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local ours, at, written, args = ARGV[4], 3 + width, 0, {}
for field = 1, width do args[2 * field] = ARGV[3 + field] end
for row = 1, #KEYS do
  local stored = redis.call('HGET', KEYS[row], ours)
  if not stored or string.sub(stored, 9, 16) ~= definition or struct.unpack('<i8', stored, 17) <= version then
    args[1] = KEYS[row]
    for field = 1, width do args[2 * field + 1] = ARGV[at + field] end
    redis.call('HSET', unpack(args, 1, 2 * width + 1))
    written = written + 1
  end
  at = at + width
end
return written
"""
_SCRIPT = _GUARDED_WRITE.encode()
_COMMAND = b"$7\r\nEVALSHA\r\n$40\r\n%s\r\n" % hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class RowWrite:
    """Rows of one view that reflect the same offset."""

    plan: ViewPlan
    rows: RowBatch
    """At most one row per key."""
    version: int
    """Offset in the keyed log these rows reflect; below 2**53."""
    watermark_us: int
    """Event time they are refreshed to."""


class OnlineWriter:
    """Writes rows of a project's views. One per thread.

    A call that failed may be repeated: rows it had written are simply written again.
    """

    def __init__(self, redis_url: str, project_name: str) -> None:
        self._address = address_of(redis_url)
        self._project = project_name
        self._pool = connect(redis_url).connection_pool
        self._encoders: dict[tuple[str, str], RowEncoder] = {}

    def write(self, plan: ViewPlan, rows: RowBatch, *, version: int, watermark_us: int) -> int:
        """:meth:`write_all` of one; how many rows were replaced."""
        return self.write_all([RowWrite(plan, rows, version, watermark_us)])[0]

    def write_all(self, writes: Sequence[RowWrite]) -> list[int]:
        """Replace each row whose stored version is not newer, all fields of it at once.

        Returns:
            Of each how many rows were replaced; the others are newer in Redis.

        Raises:
            UnavailableError: Redis did not answer, or is loading, full or read-only.
            IntegrityError: a key holds something that is no feature row.
        """
        if not any(len(write.rows) for write in writes):
            return [0] * len(writes)
        try:
            connection: Any = self._pool.get_connection()
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        try:
            try:
                return self._send(connection, writes)
            except redis.exceptions.NoScriptError:
                self._load_script(connection)
                return self._send(connection, writes)
        except redis.RedisError as error:
            connection.disconnect()
            raise translate(error, self._address) from error
        except BaseException:
            connection.disconnect()  # replies not yet read would be taken for those of the next call
            raise
        finally:
            self._pool.release(connection)

    def close(self) -> None:
        self._pool.disconnect()

    def __enter__(self) -> "OnlineWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, connection: Any, writes: Sequence[RowWrite]) -> list[int]:
        written = [0] * len(writes)
        waiting: deque[int] = deque()
        failures: list[redis.ResponseError] = []

        def take_reply() -> None:
            place, reply = waiting.popleft(), _reply(connection)
            if isinstance(reply, redis.ResponseError):
                failures.append(reply)
            else:
                written[place] += reply

        for place, chunk in self._chunks(writes):
            connection.send_packed_command([chunk.data], check_health=False)
            waiting.append(place)
            if len(waiting) > _IN_FLIGHT:
                take_reply()
            if failures:
                break
        while waiting:
            take_reply()
        if failures:
            raise failures[0]
        return written

    def _chunks(self, writes: Sequence[RowWrite]) -> Iterator[tuple[int, Chunk]]:
        for place, write in enumerate(writes):
            if not len(write.rows):
                continue
            plan, version = write.plan, write.version
            name = (plan.view.name, plan.version)
            encoder = self._encoders.get(name) or self._encoders.setdefault(name, RowEncoder(plan, self._project))
            arguments = [str(version).encode(), encoder.definition.to_bytes(8, "little")]
            for chunk in encoder.chunks(
                write.rows, _COMMAND, arguments, version=version, watermark_us=write.watermark_us
            ):
                yield place, chunk

    def _load_script(self, connection: Any) -> None:
        connection.send_command("SCRIPT", "LOAD", _SCRIPT)
        connection.read_response()


def connect(redis_url: str) -> redis.Redis:
    """A client of the online store; nothing is sent yet."""
    try:
        return redis.Redis.from_url(
            redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, socket_keepalive=True
        )
    except ValueError as error:
        raise RejectedError(f"redis.url cannot be used: {error}", hint="write redis://host:port/0") from error


def translate(error: redis.RedisError | OSError, address: str) -> HeadraceError:
    """Redis' error as ours: a wrong type under a key is damage, anything else may pass."""
    if isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE"):
        return IntegrityError(
            f"a key of the online store at {address} is no hash: {error}",
            hint="something else writes into this Redis; give headrace a database of its own",
        )
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return RejectedError(f"Redis at {address} refuses: {error}", hint="correct the user and password in redis.url")
    return UnavailableError(f"Redis at {address} does not serve: {error}", hint="see `headrace status`")


def _reply(connection: Any) -> int | redis.ResponseError:
    try:
        return int(connection.read_response())
    except redis.ResponseError as error:
        return error


def address_of(redis_url: str) -> str:
    """Host and port: the address without credentials."""
    parts = urlsplit(redis_url)
    return f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
