"""Which endpoint answers a request: by the path, then by the method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

import httptools

from serving.http.connection import Begin
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

    def find(self, method: bytes, url: bytes) -> Begin:
        """As :class:`serving.http.connection.RequestHandler`."""
        endpoint = self._plain.get((method, url))
        return self._search(method, url) if endpoint is None else endpoint.begin

    def _search(self, method: bytes, url: bytes) -> Begin:
        try:
            path = unquote(httptools.parse_url(url).path or b"", errors="strict")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            return self._refusal(400, "the target of this request is no path")
        taken: list[str] = []
        for route in self._routes:
            found = _match(route.path, path)
            if found is None:
                continue
            if method == route.method.encode() or (method == b"HEAD" and route.method == "GET"):
                return partial(route.endpoint.begin, path=found)
            taken.append(route.method)
        if taken:
            return self._refusal(405, "Method Not Allowed", allow=", ".join(taken))
        return self._refusal(404, "Not Found")

    def _refusal(self, status: int, message: str, *, allow: str = "") -> Begin:
        headers = {b"allow": allow.encode()} if allow else {}
        reply = Reply(content=error_body(message, self._hint), status=status, headers=headers)
        return lambda exchange, _body: exchange.answer(reply)


def _match(pattern: str, path: str) -> Mapping[str, str] | None:
    """Parameters of the path; None when it is another."""
    before, brace, name = pattern.partition("{")
    if not brace:
        return {} if path == pattern else None
    rest = path.removeprefix(before)
    return {name.rstrip("}"): rest} if path.startswith(before) and rest and "/" not in rest else None
