"""Which endpoint answers a request: by the path, then by the method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httptools

from serving.http.connection import Exchange
from serving.http.endpoint import Endpoint
from serving.http.reply import Reply, error_body

__all__ = ["HttpRoute", "HttpRouter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRoute:
    """One path and method."""

    method: str
    """``GET`` answers HEAD as well."""
    path: str
    """A last part in braces, such as ``{model}``, stands for any."""
    endpoint: Endpoint


class HttpRouter:
    """Answers what no route takes by itself: 404, or 405 with the methods that are taken."""

    def __init__(self, routes: Sequence[HttpRoute]) -> None:
        self._hint = ", ".join(f"{route.method} {route.path}" for route in routes)
        self._routes = routes
        # The usual request is found by the very bytes of its target.
        self._plain = {
            (route.method.encode(), route.path.encode()): route.endpoint for route in routes if "{" not in route.path
        }

    def handle(self, exchange: Exchange, url: bytes, body: bytes | None) -> None:
        """As :class:`serving.http.connection.RequestHandler`."""
        endpoint = self._plain.get((exchange.method, url))
        if endpoint is not None:
            endpoint.begin(exchange, {}, body)
        else:
            self._search(exchange, url, body)

    def _search(self, exchange: Exchange, url: bytes, body: bytes | None) -> None:
        try:
            path = unquote(httptools.parse_url(url).path or b"", errors="strict")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            self._refuse(exchange, 400, "the target of this request is no path")
            return
        taken: list[str] = []
        for route in self._routes:
            found = _match(route.path, path)
            if found is None:
                continue
            if exchange.method == route.method.encode() or (exchange.method == b"HEAD" and route.method == "GET"):
                route.endpoint.begin(exchange, found, body)
                return
            taken.append(route.method)
        if taken:
            self._refuse(exchange, 405, "Method Not Allowed", allow=", ".join(taken))
        else:
            self._refuse(exchange, 404, "Not Found")

    def _refuse(self, exchange: Exchange, status: int, message: str, *, allow: str = "") -> None:
        headers = {b"allow": allow.encode()} if allow else {}
        exchange.answer(Reply(content=error_body(message, self._hint), status=status, headers=headers))


def _match(pattern: str, path: str) -> Mapping[str, str] | None:
    """Parameters of the path; None when it is another."""
    before, brace, name = pattern.partition("{")
    if not brace:
        return {} if path == pattern else None
    rest = path.removeprefix(before)
    return {name.rstrip("}"): rest} if path.startswith(before) and rest and "/" not in rest else None
