"""JSON that strangers send."""

import json
import re
from typing import Any, NoReturn

import msgspec

from feature_store.json_depth import is_deeper
from serving.http.request_error import RequestError

__all__ = ["check_depth", "count_members", "read_json"]

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_SHOWN = 80
"""Most characters of a name that are repeated in an answer."""


def check_depth(body: bytes, max_depth: int) -> None:
    """Refuse what is nested deeper than ``max_depth``.

    Raises:
        RequestError: it is.
    """
    if is_deeper(body, max_depth):
        raise RequestError(
            "", f"the body is nested more than {max_depth} deep", hint="the server's serve.max_json_depth is the bound"
        )


def read_json(body: bytes, *, max_depth: int) -> Any:
    """Decode a body.

    Raises:
        RequestError: it is no JSON, an object in it has a field twice, or it is nested deeper than ``max_depth``.
    """
    check_depth(body, max_depth)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        half = b"\\u" in body and _has_half_pair(body)
        reason = "a text holds half a surrogate pair" if half else str(error)
        raise RequestError("", f"the body is no JSON: {reason}") from None
    except RecursionError:  # a bound that was set higher than Python's own
        raise RequestError("", "the body is nested too deep", hint="lower serve.max_json_depth") from None
    # The decoder keeps the last of two fields of one name, so there are fewer than were written.
    if count_members(body) != _members_of(value):
        _refuse_twice(body)
    return value


def count_members(body: bytes) -> int:
    """How many fields the objects of valid JSON have, as written: each has one colon outside of texts.

    >>> count_members(b'{"a:b": {"c": ":", "c": "\\\\":"}}')
    3
    """
    plain = _ESCAPED.sub(b"", body) if b"\\" in body else body
    return b"".join(plain.split(b'"')[::2]).count(b":")


def _members_of(value: Any) -> int:
    """How many fields objects have, without recursing."""
    count, waiting = 0, [value]
    while waiting:
        found = waiting.pop()
        if type(found) is dict:
            count += len(found)
            waiting.extend(found.values())
        elif type(found) is list:
            waiting.extend(found)
    return count


def _refuse_twice(body: bytes) -> NoReturn:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise RequestError(name[:_SHOWN], "stands there twice", hint="give every field once")
            seen.add(name)

    # Numbers stay texts: Python converts none of more than 4300 digits.
    json.loads(body, object_pairs_hook=check, parse_int=str, parse_float=str)
    raise AssertionError("one object has a field twice")


def _has_half_pair(body: bytes) -> bool:
    """Whether Python reads it, which keeps half a pair where UTF-8 cannot."""
    try:
        found = json.loads(body, parse_int=str, parse_float=str)
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return False
