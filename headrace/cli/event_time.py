"""The event time a project's stream has reached, for commands that must not bring in the wall clock of a replay."""

import redis

from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.redis_keys import sources_key
from headrace.contracts.streams import SourceProgress
from headrace.errors import UnavailableError
from headrace.spec.project import Project

__all__ = ["event_time_us"]


def event_time_us(settings: Settings, project: Project) -> int:
    """Newest event time of the project's streams in microseconds; 0 when no stream has run.

    Raises:
        UnavailableError: Redis does not answer.
    """
    topics = {stream.name for stream in project.streams}
    client = redis.Redis.from_url(settings.redis.url)
    try:
        rows: dict[bytes, bytes] = client.hgetall(sources_key(project.name))  # type: ignore[assignment]  # synchronous
    except redis.RedisError as error:
        raise UnavailableError(
            f"Redis does not answer: {error}", hint="start the embedded stack with `headrace up`, or set redis.url"
        ) from error
    finally:
        client.close()
    reports = [decode(row, SourceProgress) for row in rows.values()]
    return max((report.newest_us for report in reports if report.topic in topics), default=0)
