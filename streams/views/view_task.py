"""One view on one partition of its keyed log: apply, evaluate, write online, log, snapshot.

Everything it writes carries the offset of the newest keyed message it reflects. On a restart the snapshot says from
where to read again; log segments beyond it are removed and written anew, rows in Redis are replaced only by newer ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from feature_store.plan import NULL, ViewPlan
from feature_store.rows import RowBatch
from feature_store.state.view_state import BEGINNING_US, ViewState
from headrace.clock import format_us
from headrace.contracts.streams import ViewProgress
from headrace.errors import IntegrityError
from headrace.spec.streams import LabelledStream
from streams.logs.feature_buffer import FeatureBuffer
from streams.logs.keyed_log import EVENTS, VALUE, KeyedBatch
from streams.snapshots.snapshot_chain import SnapshotChain
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_store import SnapshotStore
from streams.views.source_marks import SourceMarks

__all__ = ["OnlineRows", "TooLate", "ViewTask"]

I64 = NDArray[np.int64]


class OnlineRows(Protocol):
    """Where the newest row of each key goes; streams.views.online_thread.OnlineThread is one."""

    def write(self, plan: ViewPlan, partition: int, rows: RowBatch, *, version: int, watermark_us: int) -> None:
        """Replace rows that are not newer; may return before that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TooLate:
    """An event in time for its source partition, and older than what the view still knows."""

    topic: str
    partition: int
    offset: int
    detail: str


@dataclass(slots=True)
class _Waiting:
    """Rows of one kind taken and not yet applied."""

    batches: list[KeyedBatch]
    masks: list[NDArray[np.bool_]]

    def column(self, pick: Callable[[KeyedBatch], NDArray[Any]]) -> NDArray[Any]:
        pairs = zip(self.batches, self.masks, strict=True)
        parts = [pick(batch) if mask.all() else pick(batch)[mask] for batch, mask in pairs]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class ViewTask:
    """State of one partition of one view.

    Args:
        plan: the view.
        partition: of the keyed log.
        snapshots: where its snapshots lie.
        log_dir: folder of its partition in the offline feature log.
        online: where rows go.
        now_us: wall clock.
        epoch: of the ownership of the partition, see streams.ownership.claims.
    """

    def __init__(
        self,
        plan: ViewPlan,
        partition: int,
        *,
        snapshots: SnapshotStore,
        log_dir: Path,
        online: OnlineRows,
        now_us: Callable[[], int],
        epoch: int = 0,
    ) -> None:
        self.plan = plan
        self.partition = partition
        self._snapshots = SnapshotChain(snapshots, plan.version, epoch)
        self._online = online
        self._now_us = now_us
        source = plan.view.source
        labels = source.labels.name if isinstance(source, LabelledStream) else None
        self._marks = SourceMarks(plan.view.events.name, labels)
        self._state = ViewState(plan)
        self._buffer = FeatureBuffer(plan, log_dir)
        self._created_us = 0
        self._logged = -1
        self._saved = -1
        self._offset = -1
        self._reached_us: int | None = None
        """Farthest watermark of any message so far: the same at an offset however the messages were read in turns."""
        self._events = _Waiting([], [])
        self._labels = _Waiting([], [])

    @property
    def offset(self) -> int:
        """Newest message taken in; -1 for none."""
        return self._offset

    @property
    def unsaved(self) -> int:
        """Messages since the last snapshot."""
        return self._offset - self._saved

    @property
    def buffered_rows(self) -> int:
        """Rows that are not in the offline log yet."""
        return self._buffer.rows

    def restore(self) -> int:
        """Go back to the newest snapshot; gives the first offset to read.

        Raises:
            IntegrityError: snapshot and log do not belong together.
            FencedError: the partition has a newer owner.
        """
        snapshot = self._snapshots.restore()
        if snapshot is not None:
            self._state = ViewState.restore(self.plan, dict(snapshot.state))
            self._marks.restore(snapshot.marks)
            self._created_us = snapshot.facts["created_us"]
            self._offset = self._logged = self._saved = snapshot.offset
            self._reached_us = None if self._state.watermark_us == BEGINNING_US else self._state.watermark_us
        self._buffer.restart(self._offset + 1, self._snapshots.tenures)
        return self._offset + 1

    def take(self, offset: int, batch: KeyedBatch) -> None:
        """Queue a message for the next step."""
        self._offset = offset
        if not self._marks.wants(batch.topic):
            return
        if len(batch):
            mask = self._marks.fresh(batch)
            if mask.any():
                waiting = self._events if batch.kind == EVENTS else self._labels
                waiting.batches.append(batch)
                waiting.masks.append(mask)
        self._marks.update(batch)
        reached_us = self._marks.watermark_us()
        if reached_us is not None:
            # A source that restarted says less than it had said; event time does not go back with it.
            self._reached_us = reached_us if self._reached_us is None else max(self._reached_us, reached_us)

    def step(self, *, log: bool = True) -> list[TooLate]:
        """Apply what was taken, and write every row that changed.

        Args:
            log: also collect the changes for the offline log.

        Raises:
            StoppedWaitingError: the online store was away when the worker was told to stop.
        """
        too_late = self._apply_events()
        watermark_us = self._reached_us
        self._apply_labels(watermark_us)
        if watermark_us is not None:
            self._state.advance(watermark_us)
        drained = self._state.drain(log=log)
        if len(drained.latest):
            version = max(self._offset, 0)
            watermark_us = self._state.watermark_us
            self._online.write(self.plan, self.partition, drained.latest, version=version, watermark_us=watermark_us)
        if drained.log is not None and len(drained.log):
            self._created_us = max(self._created_us + 1, self._now_us())
            self._buffer.add(drained.log, created_us=self._created_us, version=self._offset)
        return too_late

    def write_again(self) -> None:
        """Let the next step write the row of every key online, changed or not."""
        self._state.touch_all()

    def take_log(self) -> Callable[[], None]:
        """Hand over the collected changes; gives what makes them durable."""
        parts, first, last = self._buffer.take(), self._logged + 1, self._offset
        self._logged = max(self._logged, last)
        return lambda: self._buffer.write(parts, first, last)

    def take_save(self) -> Callable[[], None]:
        """Copy what changed of the state; gives what makes it durable: log first, so that a restart finds no hole.

        Rows given to the online store before must be written before it is called.
        """
        write_log = self.take_log()
        whole = self._snapshots.is_broken
        snapshot = Snapshot(
            offset=self._offset,
            definition=self.plan.version,
            facts={"created_us": self._created_us},
            state=self._state.take_changes(),
            marks={name: array.copy() for name, array in self._marks.arrays().items()},
        )
        if whole:
            state = {**self._state.snapshot(), "slots": self._state.slots_held()}
            snapshot = replace(snapshot, state=state)
        self._saved = self._offset

        def save() -> None:
            write_log()
            self._snapshots.write(snapshot, whole=whole)

        return save

    def progress(self) -> ViewProgress:
        """How far it is."""
        return ViewProgress(
            view=self.plan.view.name,
            partition=self.partition,
            keyed_offset=self._offset,
            watermark_us=self._state.watermark_us,
            sources=self._marks.applied(),
            rows=self._state.events,
            at_us=self._now_us(),
            duplicates=self._state.duplicates,
            too_late=self._state.too_late,
        )

    def _apply_events(self) -> list[TooLate]:
        if not self._events.batches:
            return []
        waiting, self._events = self._events, _Waiting([], [])
        times_us = waiting.column(lambda batch: batch.times_us)
        inputs = np.empty((len(self.plan.inputs), len(times_us)), dtype=np.int64)
        for row, entry in enumerate(self.plan.inputs):
            inputs[row] = NULL if entry.is_label else waiting.column(_input(entry.name))
        keys, ids = waiting.column(lambda batch: batch.keys), waiting.column(lambda batch: batch.ids)
        applied = self._state.apply(keys, times_us, ids, inputs)
        if not len(applied.too_late):
            return []
        sources, offsets = waiting.column(lambda batch: batch.sources), waiting.column(lambda batch: batch.offsets)
        return [self._too_late(int(sources[row]), int(offsets[row]), int(times_us[row])) for row in applied.too_late]

    def _apply_labels(self, watermark_us: int | None) -> None:
        if not self._labels.batches:
            return
        waiting, self._labels = self._labels, _Waiting([], [])
        ids, values = waiting.column(lambda batch: batch.ids), waiting.column(lambda batch: batch.columns[VALUE])
        arrived_us = self._marks.labels_us()
        if watermark_us is not None:
            # Labels stamped years after their events must not wait, and fill memory, for years.
            arrived_us = min(arrived_us, watermark_us + self.plan.retention_us)
        self._state.label(ids, values, arrived_us=arrived_us)

    def _too_late(self, partition: int, offset: int, time_us: int) -> TooLate:
        now = format_us(self._state.watermark_us)
        return TooLate(
            topic=self.plan.view.events.name,
            partition=partition,
            offset=offset,
            detail=f"view {self.plan.view.name!r} is at {now} and has forgotten {format_us(time_us)}",
        )


def _input(name: str) -> Callable[[KeyedBatch], I64]:
    def pick(batch: KeyedBatch) -> I64:
        column = batch.columns.get(name)
        if column is None:
            raise IntegrityError(
                f"the keyed log of {batch.topic!r} has no column {name!r}; it was written before the view asked for it",
                hint="give the changed project a name of its own; its stream is then read from the beginning",
            )
        return column

    return pick
