"""Whether the online store still holds what it was given.

A store that was emptied has lost every row; one that was killed may have lost the last second of writes (the default of
append-only files). The stream's state has the rows of all keys with live windows, so they are written again:

    marker absent, or of another run of the server  ──►  every row again  ──►  marker of this run
"""

from typing import Any

import redis

from feature_store.redis_online import address_of, connect, translate
from headrace.contracts.redis_keys import rows_key
from headrace.logging import get_logger

__all__ = ["LOOK_EVERY_S", "OnlineGuard"]

LOOK_EVERY_S = 2.0
_LOG = get_logger(__name__)


class OnlineGuard:
    """Watches the rows of one project; its methods run behind the rows they are about, in one thread."""

    def __init__(self, redis_url: str, project: str) -> None:
        self._redis = connect(redis_url)
        self._address = address_of(redis_url)
        self._key = rows_key(project)
        self._healing = False
        self.has_lost = False
        """Whether rows must be written again; set by :meth:`look`, taken back by :meth:`heal`."""

    def look(self) -> None:
        """Compare the marker with the server.

        Raises:
            UnavailableError: Redis does not answer.
        """
        if self._healing:
            return
        marker, run = self._ask()
        if marker != run:
            _LOG.warning("rows are written online again", why="the store restarted" if marker else "it has no marker")
            self.has_lost = True

    def heal(self) -> None:
        """Every row is about to be written again; :meth:`mark` follows them."""
        self.has_lost, self._healing = False, True

    def mark(self) -> None:
        """Everything written so far lies in this run of the server.

        Raises:
            UnavailableError: Redis does not answer.
        """
        try:
            self._redis.set(self._key, self._ask()[1])
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        self._healing = False

    def close(self) -> None:
        self._redis.close()

    def _ask(self) -> tuple[str, str]:
        """The marker, empty when there is none, and the run of the server."""
        pipeline: Any = self._redis.pipeline(transaction=False)
        pipeline.get(self._key)
        pipeline.info("server")
        try:
            marker, server = pipeline.execute()
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        return (marker or b"").decode(), str(server.get("run_id", "without a name"))
