"""One connection: requests however they are cut, answers in their order, everything bounded."""

import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.http.connection import Begin, Exchange, HttpConnection
from serving.http.known_heads import KnownHead, KnownHeads
from serving.http.reply import Reply
from serving.http.routes import HttpRoute, HttpRouter

LIMIT = 20


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.sent, self.is_open, self.is_reading = b"", True, True

    def write(self, data: bytes) -> None:
        assert self.is_open
        self.sent += data

    def close(self) -> None:
        self.is_open = False

    abort = close

    def is_closing(self) -> bool:
        return not self.is_open

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Server:
    """What requests are answered by: by hand, unless ``at_once``."""

    def __init__(self, *, at_once: bool = False, heads: KnownHeads | None = None) -> None:
        self.asked: list[tuple[Exchange, bytes, bytes | None]] = []
        self.heads = heads or KnownHeads()
        self._at_once = at_once

    def find(self, _method: bytes, url: bytes) -> Begin:
        def begin(exchange: Exchange, body: bytes | None) -> None:
            self.asked.append((exchange, url, body))
            if self._at_once:
                exchange.answer(Reply(content=url))

        return begin


class Client:
    """A connection without a socket."""

    def __init__(self, server: Server | None = None, limit: int = LIMIT) -> None:
        self.server = server or Server()
        self.asked = self.server.asked
        self.wire: Any = Wire()
        self.connections: set[HttpConnection] = set()
        self.connection = HttpConnection(self.server, self.connections, max_body_bytes=limit, heads=self.server.heads)
        self.connection.connection_made(self.wire)

    def send(self, data: bytes) -> bytes:
        """What comes back at once."""
        before = len(self.wire.sent)
        self.connection.data_received(data)
        sent: bytes = self.wire.sent[before:]
        return sent


def post(body: bytes, url: bytes = b"/a", headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n%b" % (url, headers, len(body), body)


def statuses(sent: bytes) -> list[int]:
    return [int(part[:3]) for part in sent.split(b"HTTP/1.1 ")[1:]]


@given(cuts=st.lists(st.integers(0, 200)), bodies=st.lists(st.binary(max_size=LIMIT), min_size=1, max_size=4))
def test_requests_are_read_whole_however_they_are_cut(cuts: list[int], bodies: list[bytes]) -> None:
    client = Client()
    data = b"".join(post(body, b"/%d" % number) for number, body in enumerate(bodies))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for low, high in itertools.pairwise(places):
        client.send(data[low:high])

    assert [(url, body) for _, url, body in client.asked] == [(b"/%d" % n, body) for n, body in enumerate(bodies)]


PIECES = st.sampled_from(
    [
        post(b""),
        post(b"ab"),
        post(b"cd"),
        post(b"x" * (LIMIT + 1)),
        post(b"ab", headers=b"expect: 100-continue\r\n"),
        post(b"ab", headers=b"connection: close\r\n"),
        b"GET /g HTTP/1.1\r\n\r\n",
        b"GET /g HTTP/1.0\r\n\r\n",
        b"HEAD /g HTTP/1.1\r\n\r\n",
        b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"\r\n",
        b"POST /a HTTP/1.1\r\nhost: x\r\n",
        b"content-length: 2\r\n\r\nab",
        b"nonsense\r\n\r\n",
    ]
)


@given(rounds=st.lists(st.lists(PIECES, max_size=6), min_size=1, max_size=6))
def test_a_head_that_was_seen_before_means_what_the_parser_says(rounds: list[list[bytes]]) -> None:
    servers = Server(at_once=True), Server(at_once=True, heads=Forgetful())
    for pieces in rounds:
        remembering, forgetful = (Client(server) for server in servers)
        for piece in pieces:
            assert remembering.send(piece) == forgetful.send(piece)
        assert [asked[1:] for asked in remembering.asked] == [asked[1:] for asked in forgetful.asked]
        assert remembering.wire.is_open == forgetful.wire.is_open


class Forgetful(KnownHeads):
    def find(self, data: bytes) -> None:
        """Nothing was seen before."""


def test_heads_are_remembered_for_all_connections_and_only_whole_plain_ones() -> None:
    heads = KnownHeads()
    for data in (
        post(b"ab", headers=b"expect: 100-continue\r\n"),
        b"POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        post(b"ab", headers=b"connection: close\r\n"),
        post(b"ab") + post(b"cd"),
        post(b"ab", headers=b"x: %b\r\n" % (b"y" * 5_000)),
    ):
        Client(Server(heads=heads)).send(data)
        assert heads.find(data) is None
    Client(Server(heads=heads)).send(post(b"ab"))

    head, body = heads.find(post(b"cd")) or pytest.fail("it is not known")
    assert (head.method, head.size, body) == (b"POST", 2, b"cd")
    assert heads.find(post(b"cd") + b"e") is None


def test_heads_that_are_all_different_do_not_fill_the_memory() -> None:
    heads = KnownHeads()
    for number in range(3_000):
        heads.learn(b"GET /%d HTTP/1.1\r\n\r\n" % number, KnownHead(b"GET", lambda _exchange, _body: None, 0))

    assert sum(heads.find(b"GET /%d HTTP/1.1\r\n\r\n" % number) is not None for number in range(3_000)) <= 1_024


@given(order=st.permutations(range(5)))
def test_answers_leave_in_the_order_of_the_requests(order: list[int]) -> None:
    client = Client()
    client.send(b"".join(post(b"", b"/%d" % number) for number in range(5)))
    for number in order:
        client.asked[number][0].answer(Reply(content=b"<%d>" % number))

    assert [part[:1] for part in client.wire.sent.split(b"<")[1:]] == [b"0", b"1", b"2", b"3", b"4"]
    assert client.wire.is_open


@pytest.mark.parametrize("parts", [(b"1" * 21,), (b"1" * 15, b"1" * 15)])
def test_a_body_that_is_too_large_is_read_and_forgotten(parts: tuple[bytes, ...]) -> None:
    client = Client()
    size = sum(map(len, parts))
    client.send(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % size)
    for part in parts:
        client.send(part)
    client.send(post(b"next"))

    assert [body for _, _, body in client.asked] == [None, b"next"]


def test_a_chunked_body_is_bounded_too() -> None:
    client = Client()
    client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n15\r\n" + b"1" * 21 + b"\r\n0\r\n\r\n")

    assert [body for _, _, body in client.asked] == [b"hello", None]


def test_a_body_of_many_chunks_is_whole() -> None:
    client = Client(limit=100_000)
    body = bytes(range(33, 83)) * 2_000

    client.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
    for first in range(0, len(body), 1_000):
        client.send(b"".join(b"1\r\n%c\r\n" % byte for byte in body[first : first + 1_000]))
    client.send(b"0\r\n\r\n")

    assert [found for _, _, found in client.asked] == [body]


def test_an_endless_body_is_cut() -> None:
    client = Client(Server(at_once=True))
    client.send(b"POST / HTTP/1.1\r\ncontent-length: 1000000000000\r\n\r\n")
    block = bytes(1 << 20)
    sent = [client.send(block) for _ in range(70) if client.wire.is_open]

    assert len(sent) == 65
    assert [body for _, _, body in client.asked] == [None]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431),
        (b"GET /" + b"y" * 70_000, 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(data: bytes, status: int) -> None:
    client = Client()

    assert statuses(client.send(data)) == [status]
    assert (client.asked, client.wire.is_open) == ([], False)
    assert client.send(post(b"")) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"],
)
def test_a_client_that_wants_no_more_is_closed_after_its_answer(request_bytes: bytes) -> None:
    client = Client(Server(at_once=True))
    sent = client.send(request_bytes + b"GET /more HTTP/1.1\r\n\r\n")

    assert b"connection: close\r\n" in sent
    assert ([url for _, url, _ in client.asked], client.wire.is_open) == ([b"/"], False)


def test_a_client_that_asks_for_another_protocol_is_answered_in_this_one() -> None:
    client = Client(Server(at_once=True))
    sent = client.send(b"GET /a HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")

    assert statuses(sent) == [200]
    assert not client.wire.is_open


def test_a_client_that_waits_to_be_told_to_send_its_body_is_told() -> None:
    client = Client()

    head = post(b"", headers=b"Expect: 100-continue\r\n").replace(b"length: 0", b"length: 2")
    assert client.send(head) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"{}")
    assert client.asked[0][2] == b"{}"


def test_a_client_with_many_open_requests_waits() -> None:
    client = Client()
    client.send(post(b"") * 65)
    assert not client.wire.is_reading
    client.asked[0][0].answer(Reply(content=b""))
    assert client.wire.is_reading


def test_a_client_that_does_not_read_is_not_read() -> None:
    client = Client()
    client.connection.pause_writing()
    client.send(post(b"") * 65)
    client.connection.resume_writing()
    assert not client.wire.is_reading
    client.asked[0][0].answer(Reply(content=b""))
    assert client.wire.is_reading


def test_at_the_end_open_requests_are_answered_and_the_connection_closed() -> None:
    client, idle, slow = Client(), Client(), Client()
    client.send(post(b"1"))
    slow.send(post(b"1234")[:-2])
    for each in (client, idle, slow):
        each.connection.end()
    assert (client.wire.is_open, idle.wire.is_open, slow.wire.is_open) == (True, False, True)

    client.asked[0][0].answer(Reply(content=b"done"))
    slow.send(b"34")
    slow.asked[0][0].answer(Reply(content=b"done"))
    assert (client.wire.is_open, slow.wire.is_open) == (False, False)
    assert statuses(client.wire.sent) == statuses(slow.wire.sent) == [200]


@pytest.mark.parametrize("data", [b"", b"GET / HT", post(b"1234")[:-2]])
def test_a_silent_connection_is_closed_and_one_that_waits_for_us_is_not(data: bytes) -> None:
    client, waiting = Client(), Client()
    client.send(data)
    waiting.send(post(b""))
    for _ in range(4):
        client.connection.tick(3)
        waiting.connection.tick(3)

    assert (client.wire.is_open, waiting.wire.is_open) == (False, True)


def test_nothing_is_sent_to_a_client_that_left() -> None:
    client = Client()
    client.send(post(b""))
    client.wire.close()
    client.connection.connection_lost(None)
    client.asked[0][0].answer(Reply(content=b""))

    assert (client.wire.sent, client.connections) == (b"", set())


class _Route:
    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, exchange: Exchange, _body: bytes | None, path: Mapping[str, str] | None = None) -> None:
        exchange.answer(Reply(content={"route": self.name, "path": path or {}}))


def _ask(method: bytes, target: bytes) -> tuple[int, bytes, Any]:
    """Status, head and content from a router with three routes."""
    routes: list[tuple[str, str]] = [("GET", "/models"), ("GET", "/models/{model}"), ("POST", "/predict/{model}")]
    made: Any = [HttpRoute(method=m, path=p, endpoint=_Route(p)) for m, p in routes]  # type: ignore[arg-type]  # only begin is called
    wire: Any = Wire()
    connection = HttpConnection(HttpRouter(made), set(), max_body_bytes=LIMIT, heads=KnownHeads())
    connection.connection_made(wire)
    connection.data_received(b"%b %b HTTP/1.1\r\n\r\n" % (method, target))
    head, _, content = wire.sent.partition(b"\r\n\r\n")
    return statuses(head)[0], head, msgspec.json.decode(content) if content else None


@pytest.mark.parametrize(
    ("method", "target", "route", "path"),
    [
        (b"GET", b"/models", "/models", {}),
        (b"GET", b"/models?x=1", "/models", {}),
        (b"GET", b"/models/a%20b", "/models/{model}", {"model": "a b"}),
        (b"POST", b"/predict/cards", "/predict/{model}", {"model": "cards"}),
    ],
)
def test_a_request_finds_its_route(method: bytes, target: bytes, route: str, path: dict[str, str]) -> None:
    assert _ask(method, target)[2] == {"route": route, "path": path}


def test_head_has_the_headers_of_get_and_nothing_else() -> None:
    get, head = _ask(b"GET", b"/models"), _ask(b"HEAD", b"/models")

    assert head == (get[0], get[1], None)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        (b"GET", b"/predict/cards", 405),
        (b"HEAD", b"/predict/cards", 405),
        (b"DELETE", b"/models", 405),
        (b"GET", b"/nowhere", 404),
        (b"GET", b"/models/", 404),
        (b"GET", b"/models/a/b", 404),
        (b"GET", b"/models/%ff", 400),
        (b"OPTIONS", b"*", 404),
    ],
)
def test_what_no_route_takes_is_a_clear_refusal(method: bytes, target: bytes, status: int) -> None:
    said, head, _ = _ask(method, target)

    assert said == status
    assert (b"\r\nallow: " in head) == (status == 405)
