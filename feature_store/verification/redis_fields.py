"""Named fields of stored hashes, of many keys in one round trip; each hash at one moment."""

from collections.abc import Sequence
from typing import Any

import redis

from feature_store.online.online_layout import entity_key
from feature_store.online.redis_online import address_of, connect, translate

__all__ = ["FieldReader"]


class FieldReader:
    """Reads the online store of one project.

    Args:
        redis_url: where it is.
        project: Feast's project name.
    """

    def __init__(self, redis_url: str, project: str) -> None:
        self._client = connect(redis_url)
        self._address = address_of(redis_url)
        self._project = project

    def read(self, entity: str, keys: Sequence[int | str], fields: Sequence[bytes]) -> list[list[bytes | None]]:
        """Content of the fields of each key, in order; None where there is none.

        Raises:
            UnavailableError: Redis did not answer.
            IntegrityError: a key holds something that is no hash.
        """
        pipeline: Any = self._client.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(entity_key(entity, key, self._project), list(fields))
        try:
            found: list[list[bytes | None]] = pipeline.execute()
        except redis.RedisError as error:
            raise translate(error, self._address) from error
        return found

    def close(self) -> None:
        self._client.close()
