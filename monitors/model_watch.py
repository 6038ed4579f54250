"""One model in a running monitor: its statistics, how far its event time has come, and when a window may close."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.topics import DEPLOYMENTS, PREDICTIONS
from headrace.spec.model import Model
from monitors.event_time import EventTime
from monitors.model_monitor import ModelMonitor, Outlook, WindowOutcome
from monitors.stillness import Stillness
from monitors.ticks import TickBoard

__all__ = ["IDLE_S", "QUIET_S", "Due", "ModelWatch", "Surroundings"]

IDLE_S = 3.0
"""A partition read to its end that brought nothing for so long does not hold event time back any more."""
QUIET_S = 0.5
"""Without a scorer: predictions for events before a tick are not expected after so much silence of the whole log."""
LIVE_WITHIN_US = 600_000_000
"""Events predicted within ten minutes of their time are live; then the wall clock moves time in a lull."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a watch asks about the topics around it."""

    partitions: Mapping[str, int]
    """Topic -> number of partitions."""
    is_at_end: Callable[[int], bool]
    """Whether a partition of the prediction log is read to its end."""
    is_scored: Callable[[str, Mapping[int, int]], bool | None]
    """Whether the predictions for everything before these offsets are logged; None when no scorer is at work."""
    now_us: Callable[[], int]
    """Wall clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Windows can be closed."""

    reached_us: int
    """Event time."""
    read_first: tuple[str, ...]
    """Topics to be read to their present end before."""


class ModelWatch:
    """Feeds one ModelMonitor from a partitioned log.

    Args:
        model: what is watched.
        outlook: references, thresholds, rollout records.
        around: the topics.
        ticks: filled by the reader.
    """

    def __init__(self, model: Model, outlook: Outlook, around: Surroundings, ticks: TickBoard) -> None:
        self.model = model
        self.monitor = ModelMonitor(model, outlook)
        self._around, self._ticks = around, ticks
        self._partitions = range(around.partitions[PREDICTIONS.name])
        # A quarter of a window is the most that closing waits for stragglers.
        self._disorder_us = min(model.events.lateness_us, model.monitors.window_us // 4)
        self.time = EventTime(self._partitions, disorder_us=self._disorder_us)
        self._stillness = Stillness()
        self._is_live = False

    def add_prediction(self, record: PredictionRecord, partition: int) -> None:
        """A record of this model."""
        self.monitor.add_prediction(record)
        self.time.observe(partition, record.event_us)
        self._stillness.stir(partition)
        self._is_live = abs(record.at_us - record.event_us) < LIVE_WITHIN_US

    def add_label(self, event_id: int, value: int) -> None:
        """An outcome of this model's stream."""
        self.monitor.add_label(event_id, value)

    def due(self) -> Due | None:
        """What event time has reached, when that closes a window; None otherwise."""
        idle = {partition for partition in self._partitions if self._has_rested(partition, IDLE_S)}
        self.time.advance(idle=idle)
        ticked_us = self._ticked_us()
        if ticked_us is not None:
            self.time.reach(ticked_us)
        if self._is_live and len(idle) == len(self._partitions):
            self.time.reach(self._around.now_us() - self._disorder_us)
        reached_us = self.time.watermark_us
        if reached_us is None or not self.monitor.windows.may_close(reached_us):
            return None
        topics = [self.model.label.name, DEPLOYMENTS.name]
        # Only when every partition has shown by its own records that it is past the window, nothing can be left in it.
        if idle or ticked_us is not None:
            topics.append(PREDICTIONS.name)
        return Due(reached_us=reached_us, read_first=tuple(topics))

    def close_next(self, reached_us: int) -> WindowOutcome | None:
        """Close the oldest window that ended by ``reached_us``; None when none is left."""
        end_us = self.monitor.next_end_us(reached_us)
        return None if end_us is None else self.monitor.close(end_us)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Plain values and arrays for a snapshot."""
        plain, arrays = self.monitor.state()
        return {**plain, "time": self.time.state()}, arrays

    def restore(self, plain: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up where a snapshot was made."""
        self.monitor.restore(plain, arrays)
        self.time.restore(plain["time"])

    def _ticked_us(self) -> int | None:
        """Event time up to which events, labels and predictions are all published, as ticks say; None if unknown."""
        events, labels = self.model.events.name, self.model.label.name
        front = self._ticks.front(events, self._around.partitions[events])
        if front is None or (self.time.watermark_us is not None and front.until_us <= self.time.watermark_us):
            return None
        if self._ticks.has_any(labels):
            known = self._ticks.front(labels, self._around.partitions[labels])
            if known is None or known.until_us < front.until_us:
                return None
        is_scored = self._around.is_scored(events, front.offsets)
        if is_scored is None:
            is_scored = all(self._has_rested(partition, QUIET_S) for partition in self._partitions)
        return front.until_us if is_scored else None

    def _has_rested(self, partition: int, seconds: float) -> bool:
        return self._around.is_at_end(partition) and self._stillness.lasts_s(partition) > seconds
