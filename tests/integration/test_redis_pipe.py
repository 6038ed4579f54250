"""Redis on one event loop: a real server, and servers that stall or hang up."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from feature_store.online.redis_pipe import RedisPipe
from headrace.config import Settings
from headrace.errors import IntegrityError, RejectedError, UnavailableError

TIMEOUT_S = 0.4
PING = b"*1\r\n$4\r\nPING\r\n"


def command(*words: str) -> bytes:
    """As Redis reads it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode()) for word in words)


def with_pipe(url: str, use: Callable[[RedisPipe], Awaitable[Any]], *, timeout_s: float = 10.0) -> Any:
    async def run() -> Any:
        pipe = RedisPipe(url, timeout_s=timeout_s)
        try:
            return await use(pipe)
        finally:
            pipe.close()

    return asyncio.run(run())


def test_many_questions_at_once_each_get_their_own_replies(stack: Settings) -> None:
    async def ask(pipe: RedisPipe) -> list[Any]:
        questions = [[command("ECHO", f"{n}.{part}") for part in range(n % 4)] for n in range(300)]
        return await asyncio.gather(*(pipe.replies(question) for question in questions if question))

    found = with_pipe(stack.redis.url, ask)

    assert found == [[f"{n}.{part}".encode() for part in range(n % 4)] for n in range(300) if n % 4]


def test_long_replies_are_put_together(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    key, value = fresh_name("long"), bytes(3_000_000)
    redis.Redis.from_url(stack.redis.url).set(key, value)

    async def ask(pipe: RedisPipe) -> list[Any]:
        return await asyncio.gather(*(pipe.replies([command("GET", key), PING]) for _ in range(3)))

    assert with_pipe(stack.redis.url, ask) == [[value, b"PONG"]] * 3


def test_an_error_is_of_its_question_alone(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    key = fresh_name("text")
    redis.Redis.from_url(stack.redis.url).set(key, "x")

    async def ask(pipe: RedisPipe) -> list[Any]:
        bad = pipe.replies([PING, command("HMGET", key, "a")])
        return await asyncio.gather(
            bad, pipe.replies([PING]), pipe.replies([command("NONSENSE")]), return_exceptions=True
        )

    wrong, right, unknown = with_pipe(stack.redis.url, ask)
    assert isinstance(wrong, IntegrityError)
    assert right == [b"PONG"]
    assert isinstance(unknown, UnavailableError)


def test_a_connection_the_server_closed_is_opened_again(stack: Settings) -> None:
    server = redis.Redis.from_url(stack.redis.url)

    async def ask(pipe: RedisPipe) -> Any:
        ((own,),) = await asyncio.gather(pipe.replies([command("CLIENT", "ID")]))
        server.client_kill_filter(_id=str(own))
        return own, await pipe.replies([command("CLIENT", "ID")])

    before, (after,) = with_pipe(stack.redis.url, ask)
    assert before != after


def test_a_cancelled_question_leaves_the_others_alone(stack: Settings) -> None:
    async def ask(pipe: RedisPipe) -> Any:
        first = asyncio.create_task(pipe.replies([command("ECHO", "1")]))
        second = asyncio.create_task(pipe.replies([command("ECHO", "2")]))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert with_pipe(stack.redis.url, ask) == [b"2"]


class Fake:
    """A server of which a test says what it does with each connection."""

    def __init__(self, *acts: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._acts = list(acts)
        self.connections = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return f"redis://:secret@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        act = self._acts[min(self.connections, len(self._acts) - 1)]
        self.connections += 1
        try:
            await act(reader, writer)
        finally:
            writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, and leave at the first question."""
    await _greet(reader, writer)


async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, and never answer."""
    await _greet(reader, writer)
    await reader.read()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greet, and answer every ping."""
    seen = await _greet(reader, writer)
    while seen:
        writer.write(b"+PONG\r\n" * seen.count(b"PING"))
        seen = await reader.read(65536)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Say OK to whatever is sent before the first PING; returns that."""
    while True:
        data = await reader.read(65536)
        if b"PING" in data or not data:
            return data
        writer.write(b"+OK\r\n" * data.count(b"*"))


def test_a_question_lost_with_its_connection_is_asked_once_more() -> None:
    async def run() -> Any:
        async with Fake(hang_up, serve) as url:
            pipe = RedisPipe(url, timeout_s=10)
            found = await asyncio.gather(*(pipe.replies([PING]) for _ in range(3)))
            pipe.close()
            return found

    assert asyncio.run(run()) == [[b"PONG"]] * 3


def test_a_server_that_always_hangs_up_is_unavailable() -> None:
    async def run() -> None:
        async with Fake(hang_up) as url:
            pipe = RedisPipe(url, timeout_s=10)
            with pytest.raises(UnavailableError, match="closed the connection"):
                await pipe.replies([PING])
            pipe.close()

    asyncio.run(run())


def test_a_server_that_stalls_is_unavailable_and_left_for_a_new_connection() -> None:
    async def run() -> Any:
        async with Fake(stall, serve) as url:
            pipe = RedisPipe(url, timeout_s=TIMEOUT_S)
            with pytest.raises(UnavailableError, match="did not answer"):
                await pipe.replies([PING])
            found = await pipe.replies([PING])
            pipe.close()
            return found

    assert asyncio.run(run()) == [b"PONG"]


def test_a_server_that_is_away_is_unavailable_until_it_is_back() -> None:
    async def run() -> Any:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            pipe = RedisPipe(f"redis://:secret@127.0.0.1:{port}/0", timeout_s=10)
            with pytest.raises(UnavailableError) as failed:
                await pipe.replies([PING])
        assert "secret" not in str(failed.value)
        fake = Fake(serve)
        server = await asyncio.start_server(fake._connected, "127.0.0.1", port)
        found = await pipe.replies([PING])
        pipe.close()
        server.close()
        return found

    assert asyncio.run(run()) == [b"PONG"]


def test_what_is_open_when_it_is_closed_fails() -> None:
    async def run() -> None:
        async with Fake(stall) as url:
            pipe = RedisPipe(url, timeout_s=10)
            waiting = asyncio.create_task(pipe.replies([PING]))
            await asyncio.sleep(0)
            pipe.close()
            with pytest.raises(UnavailableError, match="closed"):
                await waiting
            with pytest.raises(UnavailableError, match="closed"):
                await pipe.replies([PING])

    asyncio.run(run())


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(RejectedError, match=r"redis\.url"):
        RedisPipe("http://nowhere", timeout_s=1)
