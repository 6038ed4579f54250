"""Taking a subject out of Redis: its own hashes, rows of others that are no more, and what the server keeps on disk."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from feature_store.online.online_layout import entity_key, feature_field, row_field, state_field, timestamp_field
from feature_store.online.redis_online import address_of, connect, translate
from headrace.errors import UnavailableError
from headrace.spec.features import FeatureView

__all__ = ["OnlineEraser"]

_LOOK_S = 0.05
_REWRITE_S = 120.0


class OnlineEraser:
    """Removes keys and rows of one project.

    Args:
        redis_url: where the rows are.
        project: Feast's project name.

    Raises:
        UnavailableError: from every method, when Redis does not answer.
    """

    def __init__(self, redis_url: str, project: str) -> None:
        self._client: Any = connect(redis_url)
        self._address = address_of(redis_url)
        self._project = project

    def check(self) -> None:
        """Raise when Redis does not answer."""
        self._ask(self._client.ping)

    def erase_keys(self, entity: str, keys: Sequence[int | str], *, dry_run: bool) -> int:
        """Remove every view's row of these keys; gives how many keys there were."""
        names = [entity_key(entity, key, self._project) for key in keys]
        return sum(int(self._ask(self._client.exists if dry_run else self._client.delete, name)) for name in names)

    def erase_rows(self, view: FeatureView, keys: NDArray[np.generic]) -> int:
        """Remove one view's row of these keys; gives how many rows there were."""
        ours = row_field(view.name)
        fields = [
            ours,
            state_field(view.name),
            timestamp_field(view.name),
            *(feature_field(view.name, name) for name in view.feature_names),
        ]
        removed = 0
        for key in keys.tolist():
            name = entity_key(view.entity, key, self._project)
            removed += int(self._ask(self._client.hexists, name, ours))
            self._ask(self._client.hdel, name, *fields)
        return removed

    def rewrite_disk(self) -> str:
        """Have the server write its append-only file anew, without what is gone; says in words how that went."""
        try:
            told = self._client.config_get("appendonly")
        except redis.RedisError:
            return "the server does not tell what it keeps on disk: ask its operator to rewrite it"
        if (told.get("appendonly") or told.get(b"appendonly")) not in ("yes", b"yes"):
            return "the server keeps no append-only file; snapshots it has written stay until the next one"
        self._ask(self._client.bgrewriteaof)
        deadline = time.monotonic() + _REWRITE_S
        while True:
            state = self._ask(self._client.info, "persistence")
            if not state["aof_rewrite_in_progress"] and not state["aof_rewrite_scheduled"]:
                return "the append-only file is written anew"
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"Redis at {self._address} did not write its append-only file anew in {_REWRITE_S:g} s",
                    hint="wait until it has (INFO persistence) and run the command again",
                )
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """Leave."""
        self._client.close()

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except redis.RedisError as error:
            raise translate(error, self._address) from error
