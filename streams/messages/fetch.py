"""Messages out of Kafka, aligned by arrival, as one batch for each topic."""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import TopicPartition
from numpy.typing import NDArray

from headrace.errors import UnavailableError
from headrace.logging import get_logger
from streams.messages.alignment import Lane, release_limit_us
from streams.messages.message_runs import NO_KEY, NO_VALUE, Headers, MessageReader, MessageRun, Place
from streams.messages.payloads import Payloads
from streams.messages.reach import Reach, foreign_limit_us

__all__ = ["Fetcher", "MessageBatch"]

_FEW = 20
_MORE_S = 0.005
"""With a backlog (at least this part of a full batch) the next messages are worth a moment: they are on their way."""
_LANE_ROWS, _LANE_BYTES = 200_000, 64_000_000
"""A lane in which more than this waits is paused until half of it is gone."""
_BATCH_BYTES = 4_000_000
"""About the most that is given at once, so that its columns stay in the cache: a message may hold a thousand rows."""
_STUCK_S = 5.0
"""After that the broker is asked about the partitions that are behind: that one has ended may not have been said."""
_LOG = get_logger(__name__)

Ends = Callable[[Collection[Place]], Mapping[Place, int]]
"""Asks the broker for the offset after the last message of partitions; raises UnavailableError."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MessageBatch:
    """Messages of one topic, by partition and offset."""

    topic: str
    values: Payloads
    keys: Payloads
    missing: NDArray[np.uint8]
    """(n,) as in MessageRun."""
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    arrivals_us: NDArray[np.int64]
    headers: dict[int, Headers]
    """Row -> headers, of messages with an empty value only."""

    def __len__(self) -> int:
        return len(self.offsets)

    def numbers(self) -> list[int]:
        """The partitions that messages are of, each once."""
        return np.flatnonzero(np.bincount(self.partitions)).tolist()

    def value(self, row: int) -> bytes | None:
        """Value of one message."""
        return None if self.missing[row] & NO_VALUE else self.values[row]

    def key(self, row: int) -> bytes | None:
        """Key of one message."""
        return None if self.missing[row] & NO_KEY else self.keys[row]


class Fetcher:
    """Reads partitions that are added and removed by hand.

    Args:
        consumer: pauses and resumes.
        reader: takes the messages out of that consumer.
        ends: asks the broker how far partitions go.
        slack_us: arrival by which one partition may be ahead of another.
        foreign_slack_us: the same against partitions of other workers; ``slack_us`` when absent.
    """

    def __init__(
        self,
        consumer: Any,
        reader: MessageReader,
        *,
        ends: Ends,
        slack_us: int,
        foreign_slack_us: int | None = None,
    ) -> None:
        self._consumer = consumer
        self._reader = reader
        self._ends = ends
        self._slack_us = slack_us
        self._foreign_slack_us = slack_us if foreign_slack_us is None else foreign_slack_us
        self._foreign: frozenset[Place] = frozenset()
        self._said: Mapping[Place, Reach] = {}
        self._grown: dict[Place, int] = {}
        """Ends of partitions of others, where the broker was asked."""
        self._lanes: dict[Place, Lane] = {}
        self._paused: set[Place] = set()
        self.has_backlog = False
        """Whether the last fetch read or gave so much that there is likely more at once."""
        self.holds_messages = False
        """Whether messages wait here for partitions that are behind."""
        self.is_held_back = False
        """Whether they do and the last fetch gave none."""
        self._starved_s: float | None = None
        """Since when nothing has come from the broker although messages wait here."""
        self._is_in_the_dark = False
        """Whether the broker did not answer when it was last asked for ends."""

    def add(self, starts: Mapping[Place, int]) -> None:
        """Read these partitions, too: (topic, number) -> first offset."""
        # In order: so are the messages of a batch.
        self._lanes = dict(sorted({**self._lanes, **{place: Lane(first) for place, first in starts.items()}}.items()))
        self._reader.add(starts)

    def remove(self, places: Collection[Place]) -> None:
        """Read these partitions no longer; what was fetched of them is forgotten."""
        gone = [place for place in places if self._lanes.pop(place, None) is not None]
        self._paused.difference_update(gone)
        if gone:
            self._reader.remove(gone)

    def stand_by(self, foreign: frozenset[Place], said: Mapping[Place, Reach]) -> None:
        """Keep in step with partitions of others, which are as far as they said."""
        self._foreign, self._said = foreign, said

    def reaches(self, epochs: Mapping[Place, int]) -> dict[Place, Reach]:
        """How far own partitions are; all that was given is to stand in the keyed logs."""
        return {
            place: Reach(epochs[place], lane.floor_us, lane.at_end and not len(lane), lane.end_offset)
            for place, lane in self._lanes.items()
        }

    def close(self) -> None:
        """Let go of the consumer, which may be closed only then."""
        self._reader.close()

    def is_at_end(self, topic: str, partition: int) -> bool:
        """Whether everything in the partition has been fetched and released."""
        lane = self._lanes[topic, partition]
        return lane.at_end and not len(lane)

    def _all_at_end(self) -> bool:
        return bool(self._lanes) and all(lane.at_end for lane in self._lanes.values())

    def ask_ends(self, places: Collection[tuple[str, int]]) -> None:
        """Ask the broker whether these partitions, read to their ends, have grown since.

        Raises:
            UnavailableError: it does not answer; nothing has changed then.
        """
        for place, end in self._ends(places).items():
            if place in self._lanes:
                self._lanes[place].at_end = end <= self._lanes[place].end_offset
            else:
                self._grown[place] = end

    def fetch(self, max_rows: int, wait_s: float) -> list[MessageBatch]:
        """What may be processed now; waits for a first message only.

        Args:
            max_rows: most messages to read, and about the most to give.
            wait_s: longest wait when nothing is there.
        """
        waiting = sum(map(len, self._lanes.values()))
        fetched = self._read(0.0 if waiting else wait_s)
        while fetched and fetched < max_rows:
            count = self._read(0)
            if not count and fetched * _FEW > max_rows and not self._all_at_end():
                count = self._read(_MORE_S)
            if not count:
                break
            fetched += count
        if fetched or not waiting:
            self._starved_s = None
        elif self._starved_s is None:
            self._starved_s = time.monotonic()
        batches = self._release(max_rows) if self._knows_ends() else []
        rows, size = sum(map(len, batches)), sum(batch.values.size for batch in batches)
        self.has_backlog = (fetched + rows) * _FEW > max_rows or size * _FEW > _BATCH_BYTES
        self.holds_messages = any(map(len, self._lanes.values()))
        self.is_held_back = self.holds_messages and not rows
        if waiting and not batches and not fetched:
            self._read(min(wait_s, 0.005))  # held back by a partition whose messages are on their way
        return batches

    def _read(self, wait_s: float) -> int:
        """Move messages into their lanes; how many there were, ends of partitions included."""
        fetched = 0
        for run in self._reader.read(self._reader.at_once, wait_s):
            place = (run.topic, run.partition)
            lane = self._lanes.get(place)
            if lane is None:
                continue  # it was removed while its messages were on their way
            lane.add(run)
            fetched += len(run) + run.at_end
            if place not in self._paused and (len(lane) > _LANE_ROWS or lane.bytes > _LANE_BYTES):
                self._paused.add(place)
                self._consumer.pause([TopicPartition(*place)])
        return fetched

    def _knows_ends(self) -> bool:
        """Whether it is certain which partitions are at their ends; everything waits until it is.

        Messages of a partition that had been read to its end may lie at the broker and not here; other partitions
        must not run ahead of them. So the broker is asked before arrival time moves on by more than the slack. Live
        this asks nothing: arrival time moves in small steps.
        """
        ended = [place for place, lane in self._lanes.items() if lane.at_end]
        ended += [place for place in self._foreign if place in self._said and self._said[place].at_end]
        newest_us = max((lane.newest_us for lane in self._lanes.values() if len(lane)), default=-(2**63))
        released_us = max((lane.released_us for lane in self._lanes.values()), default=newest_us)
        if not ended or newest_us <= released_us + self._slack_us:
            return True
        try:
            self.ask_ends(ended)
        except UnavailableError as error:
            if not self._is_in_the_dark:
                _LOG.warning("waiting for the broker to say where partitions end", why=error.args[0])
            self._is_in_the_dark = True
            return False
        self._is_in_the_dark = False
        return True

    def _release(self, max_rows: int) -> list[MessageBatch]:
        now_s = time.monotonic()
        if self._starved_s is not None and now_s - self._starved_s > _STUCK_S:
            self._starved_s = now_s
            # While it does not answer all wait: labels that lie there must not be found behind their events.
            if behind := [place for place, lane in self._lanes.items() if not lane.at_end]:
                with contextlib.suppress(UnavailableError):
                    self.ask_ends(behind)
        foreign_us = foreign_limit_us(self._foreign, self._said, self._grown, self._foreign_slack_us)
        limit_us = release_limit_us(
            self._lanes.values(), self._slack_us, max_rows, max_bytes=_BATCH_BYTES, at_most_us=foreign_us
        )
        taken: dict[str, list[MessageRun]] = {}
        for place, lane in self._lanes.items():
            if runs := lane.release(limit_us):
                taken.setdefault(place[0], []).extend(runs)
            if place in self._paused and len(lane) < _LANE_ROWS // 2 and lane.bytes < _LANE_BYTES // 2:
                self._paused.discard(place)
                self._consumer.resume([TopicPartition(*place)])
        return [_batch(topic, runs) for topic, runs in taken.items()]


def _batch(topic: str, runs: list[MessageRun]) -> MessageBatch:
    headers: dict[int, Headers] = {}
    before = 0
    for run in runs:
        if run.headers:
            rows = np.flatnonzero(run.values.sizes == 0)
            for row, offset in zip(rows.tolist(), run.offsets[rows].tolist(), strict=True):
                headers[before + row] = run.headers[offset]
        before += len(run)
    numbers = np.array([run.partition for run in runs], dtype=np.int32)
    return MessageBatch(
        topic=topic,
        values=Payloads.joined([run.values for run in runs]),
        keys=Payloads.joined([run.keys for run in runs]),
        missing=np.concatenate([run.missing for run in runs]),
        partitions=np.repeat(numbers, [len(run) for run in runs]),
        offsets=np.concatenate([run.offsets for run in runs]),
        arrivals_us=np.concatenate([run.arrivals_us for run in runs]),
        headers=headers,
    )
