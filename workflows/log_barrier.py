"""Wait until the offline log holds what Kafka held when asked: the rows of a training set must not depend on luck."""

import time

import redis

from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.redis_keys import sources_key
from headrace.contracts.streams import SourceProgress
from headrace.errors import UnavailableError
from headrace.kafka_clients import end_offsets

__all__ = ["wait_until_durable"]

_LOOK_S = 0.05


def wait_until_durable(settings: Settings, project: str, topics: list[str], *, timeout_s: float) -> None:
    """Return when every message now in the topics is in the offline log; topics that do not exist hold nothing.

    Args:
        settings: where Kafka and Redis are.
        project: name of the project whose stream writes the log.
        topics: event and label topics.
        timeout_s: longest wait; the stream makes its log durable every ``stream.snapshot_every_s``.

    Raises:
        UnavailableError: the stream is behind, or a server does not answer.
    """
    ends = {place: end for place, end in end_offsets(settings, topics).items() if end}
    deadline = time.monotonic() + timeout_s
    store = redis.Redis.from_url(settings.redis.url)
    try:
        while behind := _behind(store, project, ends):
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the offline log is behind after {timeout_s:g} s: {behind}",
                    hint="a stream worker must be running: `headrace run stream`",
                )
            time.sleep(_LOOK_S)
    except redis.RedisError as error:
        raise UnavailableError(f"Redis does not answer: {error}", hint="check redis.url") from error
    finally:
        store.close()


def _behind(store: redis.Redis, project: str, ends: dict[tuple[str, int], int]) -> str:
    """What is missing, in words; empty when nothing is."""
    if not ends:
        return ""
    rows: dict[bytes, bytes] = store.hgetall(sources_key(project))  # type: ignore[assignment]  # a synchronous client
    reports = [decode(row, SourceProgress) for row in rows.values()]
    stored = {(report.topic, report.partition): report.offset for report in reports}
    for place, end in ends.items():
        if stored.get(place, 0) < end:
            return f"{place[0]}:{place[1]} is durable up to {stored.get(place, 0)} of {end}"
    return ""
