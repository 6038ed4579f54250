"""One HTTP/1.1 connection: bytes in, requests out, answers back in the order of the requests.

Requests may follow each other without waiting (pipelining); each has a place in the line of answers. Every size is
bounded: the head of a request, its body, and the requests one connection may have open.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import httptools

from serving.http.known_heads import KnownHead, KnownHeads
from serving.http.reply import Reply, error_body, json_to_wire, to_wire

__all__ = ["Begin", "Exchange", "HttpConnection", "RequestHandler"]

_MAX_HEAD_BYTES = 65_536
_FORGOTTEN_BYTES = 64 * 1024 * 1024
"""Most that is read of a body that is too large; then the connection is cut."""
_MOST_OPEN = 64
"""Requests of one connection that may wait for their answers before no more is read."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


Begin = Callable[["Exchange", bytes | None], None]
"""Answers one request; must not fail, and calls ``exchange.answer`` once, now or later. The body is None when it was
larger than allowed."""


class RequestHandler(Protocol):
    """What requests are answered by."""

    def find(self, method: bytes, url: bytes) -> Begin:
        """The same for the same method and target."""


class Exchange:
    """One request, and its place in the line of answers."""

    __slots__ = ("_connection", "began", "data", "keep_alive", "method")

    def __init__(self, connection: "HttpConnection", method: bytes, *, keep_alive: bool = True) -> None:
        self._connection = connection
        self.method = method
        self.keep_alive = keep_alive
        self.began = 0.0
        """When, by ``time.perf_counter``: for who answers it."""
        self.data: bytes | None = None
        """The answer, once it is known."""

    def answer_json(self, content: bytes) -> None:
        """As ``answer``, of the usual answer: JSON, status 200."""
        self.data = json_to_wire(content, keep_alive=self.keep_alive)
        self._connection.send_answers()

    def answer(self, reply: Reply) -> None:
        """Send it when all before it are sent."""
        self.data = to_wire(reply, keep_alive=self.keep_alive, with_content=self.method != b"HEAD")
        self._connection.send_answers()


class HttpConnection(asyncio.Protocol):
    """Reads requests for ``handler``.

    Args:
        handler: answers them.
        connections: where the open connections of a server are kept; this one adds and removes itself.
        max_body_bytes: larger bodies are never held in memory.
        heads: known to the server; of those no parser is asked.
    """

    __slots__ = (
        "_body", "_connections", "_done", "_handler", "_head_bytes", "_heads", "_idle_ticks", "_is_blocked",
        "_is_ending", "_is_full", "_is_in_body", "_is_inside", "_is_last", "_is_plain", "_line", "_max_body",
        "_parser", "_size", "_transport", "_url",
    )  # fmt: skip

    def __init__(
        self, handler: RequestHandler, connections: set["HttpConnection"], *, max_body_bytes: int, heads: KnownHeads
    ) -> None:
        self._handler, self._connections, self._max_body = handler, connections, max_body_bytes
        self._heads = heads
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._line: deque[Exchange] = deque()
        self._url, self._size = b"", 0
        self._body = bytearray()
        self._head_bytes, self._idle_ticks = 0, 0
        self._is_in_body = self._is_last = self._is_ending = self._is_full = self._is_blocked = False
        self._is_inside = self._is_plain = False
        """Whether the parser is inside of a request; whether that one asked for nothing but its answer."""
        self._done = 0
        """Requests the parser gave."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._connections.discard(self)
        self._line.clear()
        self._is_last = True

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            return
        is_first = not self._is_inside
        if is_first and not self._is_ending and (found := self._heads.find(data)) is not None:
            head, body = found
            self._idle_ticks = 0
            exchange = Exchange(self, head.method)
            self._line.append(exchange)
            head.begin(exchange, body if head.size <= self._max_body else None)
            if len(self._line) > _MOST_OPEN:
                self._read_on(is_full=True)
            return
        self._head_bytes += len(data)
        done = self._done
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # its request was answered as if it had not asked; what follows is no HTTP
            self._end_after_answers()
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP request: {error}")
            return
        if is_first and self._is_plain and self._done == done + 1 and not self._is_inside and not self._is_last:
            method = self._parser.get_method()
            self._heads.learn(data, KnownHead(method, self._handler.find(method, self._url), self._size))
        if self._head_bytes > _MAX_HEAD_BYTES and not self._is_in_body:
            self._refuse(431, f"the head of the request is larger than {_MAX_HEAD_BYTES} bytes")
        elif len(self._line) > _MOST_OPEN:
            self._read_on(is_full=True)

    def pause_writing(self) -> None:
        """The client does not read; neither do we."""
        self._read_on(is_blocked=True)

    def resume_writing(self) -> None:
        self._read_on(is_blocked=False)

    def on_message_begin(self) -> None:
        self._url, self._body, self._size, self._idle_ticks = b"", bytearray(), 0, 0
        self._is_inside = self._is_plain = True

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 6 and name.lower() == b"expect":
            self._is_plain = False
            if value.lower() == b"100-continue" and not self._line:
                self._transport.write(_CONTINUE)

    def on_headers_complete(self) -> None:
        self._is_in_body = True

    def on_body(self, part: bytes) -> None:
        self._size += len(part)
        # What is too large is read and forgotten: a client that still sends would not see the answer.
        if self._size <= self._max_body:
            self._body += part
        elif self._size > _FORGOTTEN_BYTES and not self._is_last:
            self._begin_answer(None, keep_alive=False)

    def on_message_complete(self) -> None:
        self._is_in_body, self._head_bytes, self._idle_ticks = False, 0, 0
        self._is_inside, self._done = False, self._done + 1
        if not self._is_last:
            body = bytes(self._body) if self._size <= self._max_body else None
            self._begin_answer(body, keep_alive=not self._is_ending and self._parser.should_keep_alive())

    def send_answers(self) -> None:
        """Write what is ready, up to the first request that still waits."""
        line = self._line
        ready, stays = [], True
        while line and (data := line[0].data) is not None:
            ready.append(data)
            stays = line.popleft().keep_alive
            if not stays:
                line.clear()
        if not ready or self._transport.is_closing():
            return
        self._transport.write(ready[0] if len(ready) == 1 else b"".join(ready))
        if not stays or (self._is_last and not line):
            self._transport.close()
        elif self._is_full and len(line) <= _MOST_OPEN:
            self._read_on(is_full=False)

    def end(self) -> None:
        """Answer what is open, then close."""
        self._is_ending = True
        if not self._is_in_body:
            self._end_after_answers()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def tick(self, most: int) -> None:
        """Called in regular steps: close what was silent, with nothing to answer, for ``most`` of them."""
        if not self._line:
            self._idle_ticks += 1
            if self._idle_ticks > most:
                self._transport.abort() if self._is_in_body else self._transport.close()

    def _begin_answer(self, body: bytes | None, *, keep_alive: bool) -> None:
        if not keep_alive or self._parser.get_http_version() == "1.0":
            keep_alive, self._is_last = False, True
        method = self._parser.get_method()
        exchange = Exchange(self, method, keep_alive=keep_alive)
        self._line.append(exchange)
        self._handler.find(method, self._url)(exchange, body)

    def _read_on(self, *, is_full: bool | None = None, is_blocked: bool | None = None) -> None:
        was_still = self._is_full or self._is_blocked
        self._is_full = self._is_full if is_full is None else is_full
        self._is_blocked = self._is_blocked if is_blocked is None else is_blocked
        is_still = self._is_full or self._is_blocked
        if is_still != was_still and not self._transport.is_closing():
            self._transport.pause_reading() if is_still else self._transport.resume_reading()

    def _refuse(self, status: int, message: str) -> None:
        exchange = Exchange(self, b"", keep_alive=False)
        self._is_last = True
        self._line.append(exchange)
        exchange.answer(Reply(content=error_body(message, "send HTTP/1.1"), status=status))

    def _end_after_answers(self) -> None:
        self._is_last = True
        if self._line:
            self._line[-1].keep_alive = False
        else:
            self._transport.close()
