"""Whether the online store still holds what it was given.

A store that was emptied has lost every row; one that was killed may have lost the last second of writes (the default of
append-only files). The stream's state has the rows of all keys with live windows, so they are written again, by whoever
owns their partition:

    marker absent, or of another run of the server  ──►  every row again  ──►  marker of this run
"""

from collections.abc import Collection, Iterable
from typing import Any

import redis

from feature_store.online.redis_online import address_of, connect, translate
from headrace.contracts.redis_keys import rows_key
from headrace.logging import get_logger
from streams.messages.message_runs import Place

__all__ = ["LOOK_EVERY_S", "OnlineGuard"]

LOOK_EVERY_S = 2.0
_LOG = get_logger(__name__)


class OnlineGuard:
    """Watches the rows of partitions; its methods run behind the rows they are about, in one thread, but for heal."""

    def __init__(self, redis_url: str, project: str) -> None:
        self._redis = connect(redis_url)
        self._address = address_of(redis_url)
        self._key = rows_key(project)
        self._healing: frozenset[Place] = frozenset()
        self._lost: frozenset[Place] = frozenset()

    def look(self, places: Collection[Place]) -> None:
        """Compare the markers of partitions with the server.

        Raises:
            UnavailableError: Redis does not answer.
        """
        asked = sorted(set(places) - self._healing)
        if not asked:
            return
        markers, run = self._ask(asked)
        lost = [place for place, marker in zip(asked, markers, strict=True) if marker != run]
        if lost:
            restarted = any(markers)
            why = "the store restarted" if restarted else "it has no marker"
            _LOG.warning("rows are written online again", partitions=len(lost), why=why)
            self._lost = frozenset(lost)

    def heal(self, places: Collection[Place]) -> frozenset[Place]:
        """Those of these partitions of which every row is to be written again now; :meth:`mark` follows the rows."""
        # What has moved meanwhile is its new owner's to look at.
        lost, self._lost = self._lost & frozenset(places), frozenset()
        self._healing = (self._healing & frozenset(places)) | lost
        return lost

    def mark(self, places: Iterable[Place]) -> None:
        """Everything written so far of these partitions lies in this run of the server.

        Raises:
            UnavailableError: Redis does not answer.
        """
        marked = frozenset(places)
        try:
            run = self._ask([])[1]
            if marked:
                self._redis.hset(self._key, mapping={_name(place): run for place in marked})
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        self._healing -= marked

    def close(self) -> None:
        self._redis.close()

    def _ask(self, places: list[Place]) -> tuple[list[str], str]:
        """The markers, empty where there is none, and the run of the server."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        if places:
            pipeline.hmget(self._key, [_name(place) for place in places])
        pipeline.info("server")
        try:
            *found, server = pipeline.execute()
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        markers = found[0] if found else []
        return [(marker or b"").decode() for marker in markers], str(server.get("run_id", "without a name"))


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]}"
