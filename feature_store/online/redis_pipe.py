"""Redis for one event loop: commands asked for in one turn leave in one write, replies come back in order.

    turn of the loop     ask  ask  ask ──► one write ──► Redis ──► one read ──► done  done  done

A question costs no task and no future, so that many small ones cost little more than their bytes.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import redis
import redis.asyncio

from feature_store.online.redis_online import address_of, translate
from feature_store.online.reply_parser import UNFINISHED, reply_parser
from headrace.errors import HeadraceError, RejectedError, UnavailableError

__all__ = ["Done", "RedisPipe"]

Done = Callable[[list[Any] | HeadraceError], None]
"""Takes the replies to the commands of one question, or why there are none."""
_LOOKS = 8
"""How many times within a question's time it is looked whether the time is over."""


class RedisPipe(asyncio.Protocol):
    """One connection, made when it is needed and again when it is lost. Only reads: a lost question is asked twice.

    Args:
        redis_url: the online store, with its credentials.
        timeout_s: longest wait for an answer, connecting included.

    Raises:
        RejectedError: the address cannot be used.
    """

    def __init__(self, redis_url: str, *, timeout_s: float) -> None:
        self._address = address_of(redis_url)
        self._timeout_s = timeout_s
        try:
            self._pool: Any = redis.asyncio.ConnectionPool.from_url(redis_url, socket_connect_timeout=timeout_s)
        except ValueError as error:
            raise RejectedError(f"redis.url cannot be used: {error}", hint="write redis://host:port/0") from error
        self._connection: Any = None
        self._transport: asyncio.WriteTransport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._unsent: deque[_Question] = deque()
        self._sent: deque[_Question] = deque()
        self._parser = reply_parser()
        self._is_flush_due = False
        self._watch: asyncio.TimerHandle | None = None
        self._is_closed = False

    def ask(self, commands: bytes, wanted: int, done: Done) -> None:
        """Send complete commands at the end of this turn; ``done`` is called once, later, and must not fail.

        Args:
            commands: one behind another.
            wanted: how many replies there will be.
            done: gets them, or why there are none.
        """
        loop = asyncio.get_running_loop()
        self._unsent.append(_Question(commands, wanted, done, loop.time() + self._timeout_s))
        if not self._is_flush_due:
            self._is_flush_due = True
            loop.call_soon(self.flush)

    async def replies(self, commands: Sequence[bytes]) -> list[Any]:
        """The replies to complete commands.

        Raises:
            UnavailableError: Redis did not answer in time, or does not serve.
            RejectedError: it refuses us.
            IntegrityError: a key holds something that is no hash.
        """
        waiter: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def done(replies: list[Any] | HeadraceError) -> None:
            if waiter.done():
                return
            if isinstance(replies, HeadraceError):
                waiter.set_exception(replies)
            else:
                waiter.set_result(replies)

        self.ask(b"".join(commands), len(commands), done)
        return await waiter

    def close(self) -> None:
        """Answer what is open with a failure and close the connection."""
        self._is_closed = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._watch is not None:
            self._watch.cancel()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._fail([*self._sent, *self._unsent], UnavailableError("the connection to the online store was closed"))

    def data_received(self, data: bytes) -> None:
        """Replies, or pieces of them."""
        self._parser.feed(data)
        read, sent = self._parser.gets, self._sent
        while sent:
            question = sent[0]
            replies = question.replies
            while len(replies) < question.wanted:
                reply = read()
                if reply is UNFINISHED:
                    return
                replies.append(reply)
            sent.popleft()
            failure = next((reply for reply in replies if isinstance(reply, redis.RedisError)), None)
            question.done(replies if failure is None else translate(failure, self._address))

    def connection_lost(self, exc: Exception | None) -> None:
        """A kept connection may be closed at any time; what was under way is asked once more."""
        self._transport, self._connection = None, None
        lost, self._sent = self._sent, deque()
        again = [question for question in lost if not question.was_lost]
        for question in again:
            question.was_lost, question.replies = True, []
        self._unsent.extendleft(reversed(again))
        self._fail(
            [question for question in lost if question not in again],
            UnavailableError(
                f"Redis at {self._address} does not serve: {exc or 'it closed the connection'}",
                hint="see `headrace status`",
            ),
        )
        if not self._is_closed:
            self.flush()

    def flush(self) -> None:
        """Send now what was asked; for whoever knows that nothing more is asked in this turn."""
        self._is_flush_due = False
        if not self._unsent:
            return
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._timeout_s / _LOOKS, self._look)
        if self._is_closed:
            self._fail(list(self._unsent), UnavailableError("the connection to the online store was closed"))
        elif self._transport is not None:
            self._transport.write(b"".join([question.data for question in self._unsent]))
            self._sent.extend(self._unsent)
            self._unsent.clear()
        elif self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        """Let redis-py do what an address may ask for, from TLS to passwords; then the socket is ours."""
        connection = self._pool.make_connection()
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()
            transport = connection._writer.transport
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._fail(list(self._unsent), self._reason(error))
            return
        finally:
            self._connecting = None
        self._connection, self._transport, self._parser = connection, transport, reply_parser()
        transport.set_protocol(self)
        self.flush()

    def _reason(self, error: Exception) -> HeadraceError:
        if isinstance(error, redis.RedisError):
            return translate(error, self._address)
        return UnavailableError(f"Redis at {self._address} does not serve: {error!r}", hint="see `headrace status`")

    def _look(self) -> None:
        """End what waits too long. Replies to it may still come, so the connection ends with it."""
        loop = asyncio.get_running_loop()
        self._watch = None
        now = loop.time()
        late = [question for question in (*self._sent, *self._unsent) if question.until <= now]
        if late:
            stuck, self._transport = self._transport, None
            self._fail(late, UnavailableError(f"the online store did not answer in {self._timeout_s:g} s"))
            if stuck is not None:
                stuck.abort()
        if self._sent or self._unsent:
            self._watch = loop.call_later(self._timeout_s / _LOOKS, self._look)

    def _fail(self, questions: list["_Question"], failure: HeadraceError) -> None:
        ended = set(questions)
        self._sent = deque(question for question in self._sent if question not in ended)
        self._unsent = deque(question for question in self._unsent if question not in ended)
        for question in questions:
            question.done(failure)


class _Question:
    __slots__ = ("data", "done", "replies", "until", "wanted", "was_lost")

    def __init__(self, data: bytes, wanted: int, done: Done, until: float) -> None:
        self.data, self.wanted, self.done, self.until = data, wanted, done, until
        self.replies: list[Any] = []
        self.was_lost = False
