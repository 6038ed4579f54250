"""Tells in Redis what this process has loaded, so that workflows can wait until servers follow."""

import json
import threading
from typing import Any

import redis

from feature_store.online.redis_online import connect
from headrace.clock import Clock
from headrace.contracts.redis_keys import serving_key
from headrace.logging import get_logger
from serving.record_follower import Loaded

__all__ = ["BEAT_S", "ServingBeat"]

BEAT_S = 1.0
"""A process whose beat is several of these old is gone."""
_FORGOTTEN_US = 600_000_000
"""Age at which the line of a process that was killed is cleared away; clocks of machines differ by less."""
_log = get_logger(__name__)


class ServingBeat:
    """Writes one hash field per model on every swap and every second; takes it back at the end.

    Args:
        redis_url: where to.
        name: ``host:port`` of a server, ``stream:<host>:<pid>`` of a scorer.
        clock: wall clock.
    """

    def __init__(self, redis_url: str, name: str, clock: Clock) -> None:
        self._redis, self._name, self._clock = connect(redis_url), name, clock
        self._loaded: dict[str, Loaded] = {}
        self._wake, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="serving-beat", daemon=True)
        self._thread.start()

    def changed(self, loaded: Loaded) -> None:
        """Another record answers; told at once, by the thread of this object."""
        self._loaded = {**self._loaded, loaded.record.model: loaded}
        self._wake.set()

    def close(self) -> None:
        """Take this process off the list."""
        self._stop.set()
        self._wake.set()
        self._thread.join()
        try:
            for model in self._loaded:
                self._redis.hdel(serving_key(model), self._name)
        except redis.RedisError as error:
            _log.debug("serving field not removed; its beat stops", reason=error)
        self._redis.close()

    def _run(self) -> None:
        told, cleared = True, set[str]()
        while not self._stop.is_set():
            self._wake.wait(BEAT_S)
            self._wake.clear()
            try:
                for model, loaded in self._loaded.items():
                    self._redis.hset(serving_key(model), self._name, self._line(loaded))
                    if model not in cleared:
                        self._clear(model)
                        cleared.add(model)
            except redis.RedisError as error:
                if told:
                    _log.warning("Redis is not told what is loaded", reason=error)
                told = False
            else:
                told = True

    def _clear(self, model: str) -> None:
        lines: Any = self._redis.hgetall(serving_key(model))
        oldest_us = self._clock.now_us() - _FORGOTTEN_US
        gone = [name for name, line in lines.items() if json.loads(line)["beat_us"] < oldest_us]
        if gone:
            self._redis.hdel(serving_key(model), *gone)

    def _line(self, loaded: Loaded) -> str:
        return json.dumps(
            {"epoch": loaded.record.epoch, "versions": sorted(loaded.versions), "beat_us": self._clock.now_us()}
        )
