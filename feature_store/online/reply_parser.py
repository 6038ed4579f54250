"""The protocol of Redis as objects, errors among them: for sockets that are read without redis-py."""

from typing import Any

import hiredis
import redis

__all__ = ["UNFINISHED", "reply_parser"]

UNFINISHED = object()
"""What ``gets`` gives while a reply is not whole."""


def reply_parser() -> Any:
    """A parser for one connection: ``feed`` it bytes, then ``gets`` gives reply after reply."""
    return hiredis.Reader(
        notEnoughData=UNFINISHED, replyError=_reply_error, protocolError=redis.exceptions.InvalidResponse
    )


def _reply_error(text: str) -> redis.RedisError:
    if text.startswith(("NOAUTH", "WRONGPASS")):
        return redis.AuthenticationError(text)
    if text.startswith("NOPERM"):
        return redis.exceptions.NoPermissionError(text)
    return redis.ResponseError(text)
