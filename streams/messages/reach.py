"""How far each worker has read: what keeps several workers in step with arrival time as one keeps its own partitions.

    mine       ■■■■■■■■■│□□□□        goes on to the slowest of the others' partitions, plus the slack
    theirs     ■■■■■■│               said in Redis, once its messages stand in the keyed logs
    nobody's   ■■■■│                 stands at what was said last, until somebody owns it

Redis away: everybody stands at what was heard last.
"""

import threading
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import redis

from feature_store.online.redis_online import connect
from headrace.contracts.redis_keys import reach_key
from streams.messages.message_runs import Place

__all__ = ["Reach", "ReachBoard", "foreign_limit_us", "newer"]

_EXCHANGE_S = 0.05
_REPEAT_S = 1.0
"""Said again this often though nothing changed: Redis may have lost it, or a worker that was fenced overwritten it."""
_NOWHERE_US = -(2**63)


class Reach(msgspec.Struct, frozen=True, array_like=True):
    """How far one source partition has been forwarded."""

    epoch: int
    """Of the owner that says so."""
    floor_us: int
    """Every message that arrived before stands in the keyed logs."""
    at_end: bool
    """Whether that was all there is."""
    end_offset: int
    """Offset after the newest message read."""


def newer(known: Mapping[Place, Reach], said: Mapping[Place, Reach]) -> dict[Place, Reach]:
    """What was said, but for what former owners say.

    >>> old, new = Reach(7, 500, False, 9), Reach(8, 100, False, 3)
    >>> newer({("t", 0): new}, {("t", 0): old})[("t", 0)].floor_us
    100
    """
    found = dict(known)
    for place, reach in said.items():
        if place not in found or reach.epoch >= found[place].epoch:
            found[place] = reach
    return found


def foreign_limit_us(
    foreign: Collection[Place], said: Mapping[Place, Reach], grown: Mapping[Place, int], slack_us: int
) -> int:
    """Arrival up to which own messages may pass, for the partitions of others.

    Args:
        foreign: partitions that are not this worker's.
        said: how far they are.
        grown: offsets after their last messages, where the broker was asked.
        slack_us: arrival by which one partition may be ahead of another.

    >>> said = {("t", 0): Reach(1, 1_000, False, 5), ("t", 1): Reach(1, 10, True, 5)}
    >>> foreign_limit_us([("t", 0), ("t", 1)], said, {}, 50)
    1050
    >>> foreign_limit_us([("t", 0), ("t", 1)], said, {("t", 1): 6}, 50)
    60
    """
    limit_us = 2**63 - 1
    for place in foreign:
        reach = said.get(place)
        if reach is None:
            return _NOWHERE_US
        if not (reach.at_end and reach.end_offset >= grown.get(place, 0)):
            limit_us = min(limit_us, max(reach.floor_us, _NOWHERE_US) + slack_us)
    return limit_us


class ReachBoard:
    """Says how far this worker is and hears how far the others are, in a thread of its own.

    Args:
        redis_url: where it is said.
        project: whose stream.
    """

    def __init__(self, redis_url: str, project: str) -> None:
        self._redis = connect(redis_url)
        self._key = reach_key(project)
        self._wake = threading.Event()
        self._closed = False
        self._own: dict[str, bytes] = {}
        self._listening = False
        self.said: Mapping[Place, Reach] = {}
        """What the newest owner of each partition said last."""
        self._thread = threading.Thread(target=self._work, name="reach", daemon=True)
        self._thread.start()

    def say(self, own: Mapping[Place, Reach]) -> None:
        """Publish how far these partitions are, soon."""
        self._own = {_name(place): msgspec.json.encode(reach) for place, reach in own.items()}
        self._wake.set()

    def listen(self, *, wanted: bool) -> None:
        """Whether to hear how far others are."""
        if wanted and not self._listening:
            self._wake.set()
        self._listening = wanted

    def look(self) -> None:
        """Hear soon how far others are."""
        self._wake.set()

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._thread.join()
        self._redis.close()

    def _work(self) -> None:
        sent: dict[str, bytes] = {}
        sent_s = 0.0
        while not self._closed:
            self._wake.wait(_EXCHANGE_S if self._listening else _REPEAT_S)
            self._wake.clear()
            own, now_s = self._own, time.monotonic()
            is_due = bool(own) and (own != sent or now_s - sent_s >= _REPEAT_S)
            try:
                pipeline: Any = self._redis.pipeline(transaction=False)
                if is_due:
                    pipeline.hset(self._key, mapping=own)
                if self._listening:
                    pipeline.hgetall(self._key)
                answers = pipeline.execute() if len(pipeline) else []
            except redis.RedisError:
                continue  # everybody stands at what was heard last
            if is_due:
                sent, sent_s = own, now_s
            if answers and isinstance(answers[-1], dict):
                self.said = newer(self.said, _decoded(answers[-1]))


def _name(place: Place) -> str:
    return f"{place[0]}:{place[1]}"


def _decoded(rows: Mapping[bytes, bytes]) -> dict[Place, Reach]:
    found = {}
    for name, row in rows.items():
        topic, _, number = name.decode().rpartition(":")
        try:
            found[topic, int(number)] = msgspec.json.decode(row, type=Reach)
        except (msgspec.MsgspecError, ValueError):
            continue  # of another version: its owner counts as one that has said nothing
    return found
