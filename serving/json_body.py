"""JSON that strangers send."""

from typing import Any

import msgspec

from serving.request_error import RequestError

__all__ = ["read_json"]


def read_json(body: bytes) -> Any:
    """Decode a body.

    Raises:
        RequestError: it is no JSON.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError("", f"the body is no JSON: {error}") from None
    except RecursionError:
        raise RequestError("", "the body is nested too deep") from None
