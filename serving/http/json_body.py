"""JSON that strangers send."""

from typing import Any

import msgspec

from feature_store.json_depth import is_deeper
from serving.http.request_error import RequestError

__all__ = ["check_depth", "read_json"]


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
        RequestError: it is no JSON, or nested deeper than ``max_depth``.
    """
    check_depth(body, max_depth)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("", f"the body is no JSON: {error}") from None
    except RecursionError:  # a bound that was set higher than Python's own
        raise RequestError("", "the body is nested too deep", hint="lower serve.max_json_depth") from None
