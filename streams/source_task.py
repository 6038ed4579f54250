"""One source topic: decode, refuse, decide on lateness, log, forward. Stateless but for what its commit holds.

messages ─► decode ─► late? ─► segment buffer ─► Parquet ┐
              │          │                               ├─ flush: acknowledged, written, then committed
              │          └──► keyed logs ───────────────►┘
              └─► dead letters
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headrace.contracts.streams import FLUSH_HEADER, WATERMARK_HEADER
from headrace.kafka_sender import Sender
from streams.dead_letters import DeadLetter, DeadLetters
from streams.decode import Decoder
from streams.fetch import MessageBatch
from streams.keyed_log import KeyedBatch, SourceMark, encode_batches
from streams.lateness import EVENT, NO_TIME_US, NOTHING, TICK, mark_late
from streams.message_check import Refused, check_time_bounds
from streams.routes import Route, no_rows
from streams.segment_buffer import SegmentBuffer, SourceRows
from streams.source_commit import SourceCommit

__all__ = ["SourceTask"]

I64 = NDArray[np.int64]


class SourceTask:
    """Processes every partition of one topic of events or labels.

    Args:
        topic: its name.
        decoder: makes columns of its messages.
        time: field of the event time; None for labels, whose arrival counts instead.
        lateness_us: how far behind its partition's newest event one may come; labels are never late.
        future_us: how far ahead of its arrival a tick may be.
        routes: keyed logs that want the rows, with the topic and number of partitions of each.
        buffer: on the way to the offline log.
        sender: producer to keyed logs.
        dead_letters: where refused messages go.
        starts: where to begin, for each partition.
    """

    def __init__(
        self,
        *,
        topic: str,
        decoder: Decoder,
        time: str | None,
        lateness_us: int,
        future_us: int,
        routes: Sequence[tuple[Route, str, int]],
        buffer: SegmentBuffer,
        sender: Sender,
        dead_letters: DeadLetters,
        starts: Sequence[SourceCommit],
    ) -> None:
        self.topic = topic
        self._decoder = decoder
        self._time = time
        self._lateness_us = lateness_us
        self._future_us = future_us
        self._routes = list(routes)
        self._buffer = buffer
        self._sender = sender
        self._dead_letters = dead_letters
        self._begun = {start.partition: start.offset for start in starts}
        self._state = {start.partition: start for start in starts}
        self._newest_us = np.array([self._state[number].newest_us for number in sorted(self._state)], dtype=np.int64)
        self._announced_us = {number: start.newest_us for number, start in self._state.items()}
        self._idle: set[int] = set()
        self._held: set[int] = set()
        self._durable = [replace(start, dead=dict(start.dead)) for start in starts]
        buffer.restart(self._begun)

    @property
    def wants_flush(self) -> bool:
        """Whether a producer asked for everything so far to be made durable."""
        return bool(self._held)

    @property
    def buffered_rows(self) -> int:
        """Rows that are not in the offline log yet."""
        return self._buffer.rows

    @property
    def commits(self) -> list[SourceCommit]:
        """Where each partition is."""
        return list(self._state.values())

    @property
    def durable(self) -> list[SourceCommit]:
        """Where each partition was at the last commit."""
        return self._durable

    def process(self, batch: MessageBatch) -> None:
        """Take in messages; they are durable after the next flush."""
        kinds = np.full(len(batch), NOTHING, dtype=np.uint8)
        times_us = np.full(len(batch), NO_TIME_US, dtype=np.int64)
        refused: list[tuple[int, str, str]] = []
        values, filled = batch.values.filled()
        if len(filled) < len(batch):
            self._read_ticks(batch, kinds, times_us, refused)
        decoded = self._decoder.decode(values, batch.arrivals_us[filled])
        refused.extend((int(filled[refusal.row]), refusal.reason, refusal.detail) for refusal in decoded.refused)
        # Nearly always every message is used; slices copy nothing.
        accepted = slice(None) if len(decoded.rows) == len(batch) else filled[decoded.rows]
        kinds[accepted] = EVENT
        times_us[accepted] = batch.arrivals_us[accepted] if self._time is None else decoded.columns[self._time]
        late = np.empty(len(batch), dtype=np.bool_)
        mark_late(kinds, batch.partitions, times_us, self._lateness_us, self._newest_us, late)
        rows = SourceRows(
            columns=decoded.columns,
            nulls=decoded.nulls,
            times_us=times_us[accepted],
            partitions=batch.partitions[accepted],
            offsets=batch.offsets[accepted],
            arrivals_us=batch.arrivals_us[accepted],
            late=late[accepted],
        )
        refused.extend((int(row), "late", self._late_detail(batch, int(row), times_us)) for row in np.flatnonzero(late))
        self._refuse(batch, refused)
        self._account(batch, rows)
        self._buffer.add(rows)
        self._forward(rows.where(~rows.late) if rows.late.any() else rows, np.unique(batch.partitions).tolist())

    def set_idle(self, partitions: Iterable[int], *, idle: bool) -> None:
        """Tell the keyed logs that partitions have become idle, or are no longer."""
        changed = sorted(set(partitions))
        if idle:
            self._idle.update(changed)
        else:
            self._idle.difference_update(changed)
        if changed:
            self.announce(changed)

    def announce(self, partitions: Iterable[int] | None = None) -> None:
        """Send marks of these partitions (all when not given) without rows."""
        self._forward(no_rows(self._decoder.fields), sorted(self._state if partitions is None else partitions))

    def write_segments(self) -> list[SourceCommit]:
        """Make everything durable that was processed; gives what may be committed then.

        Raises:
            UnavailableError: a keyed batch or dead letter was not acknowledged; nothing may be committed.
        """
        self._sender.flush()
        moved = [state for state in self._state.values() if state.offset > self._begun[state.partition]]
        self._buffer.write({state.partition: (self._begun[state.partition], state.offset) for state in moved})
        return moved

    def committed(self) -> None:
        """The commits of :meth:`write_segments` are stored: say what was held back until then."""
        self._begun = {number: state.offset for number, state in self._state.items()}
        self._durable = [replace(state, dead=dict(state.dead)) for state in self._state.values()]
        held, self._held = self._held, set()
        if held:
            self.announce(held)

    def _read_ticks(
        self, batch: MessageBatch, kinds: NDArray[np.uint8], times_us: I64, refused: list[tuple[int, str, str]]
    ) -> None:
        """Messages with an empty value: ticks, or nothing anybody can use."""
        for row in np.flatnonzero(batch.values.sizes == 0).tolist():
            headers = batch.headers.get(row, {})
            text = headers.get(WATERMARK_HEADER)
            if text is None:
                refused.append((row, "malformed_json", "the message is empty"))
                continue
            try:
                tick_us = _tick_us(text)
                check_time_bounds(tick_us, int(batch.arrivals_us[row]), 0, self._future_us)
            except Refused as refusal:
                refused.append((row, refusal.reason, f"{WATERMARK_HEADER}: {refusal.detail}"))
                continue
            kinds[row], times_us[row] = TICK, tick_us
            if FLUSH_HEADER in headers:
                self._held.add(int(batch.partitions[row]))

    def _late_detail(self, batch: MessageBatch, row: int, times_us: I64) -> str:
        newest_us = int(self._newest_us[batch.partitions[row]])
        behind_s = (newest_us - int(times_us[row])) / 1e6
        return f"at least {self._lateness_us / 1e6:g} s late: {behind_s:g} s behind its partition's newest event"

    def _refuse(self, batch: MessageBatch, refused: list[tuple[int, str, str]]) -> None:
        for row, reason, detail in sorted(refused):
            partition = int(batch.partitions[row])
            self._dead_letters.send(
                DeadLetter(
                    topic=self.topic,
                    partition=partition,
                    offset=int(batch.offsets[row]),
                    reason=reason,
                    detail=detail,
                    key=batch.key(row),
                    value=batch.value(row),
                )
            )
        for (partition, reason), count in Counter((int(batch.partitions[row]), why) for row, why, _ in refused).items():
            dead = self._state[partition].dead
            dead[reason] = dead.get(reason, 0) + count

    def _account(self, batch: MessageBatch, rows: SourceRows) -> None:
        accepted = np.bincount(rows.partitions, minlength=len(self._newest_us))
        ends = np.zeros(len(self._newest_us), dtype=np.int64)
        np.maximum.at(ends, batch.partitions, batch.offsets + 1)
        for number, state in self._state.items():
            state.offset = max(state.offset, int(ends[number]))
            state.rows += int(accepted[number])
            state.newest_us = int(self._newest_us[number])

    def _forward(self, rows: SourceRows, partitions: Iterable[int]) -> None:
        marks = tuple(self._mark(number) for number in partitions)
        for route, topic, count in self._routes:
            route.split(rows, marks, count, _Emitter(self._sender, topic))
        self._sender.poll()

    def _mark(self, partition: int) -> SourceMark:
        state = self._state[partition]
        if partition not in self._held:
            # A tick that asks for a flush is told on only when the flush is done.
            self._announced_us[partition] = state.newest_us
        return SourceMark(
            partition=partition,
            offset=state.offset - 1,
            newest_us=self._announced_us[partition],
            idle=partition in self._idle,
        )


class _Emitter:
    """Sends batches to the partitions of one keyed log."""

    def __init__(self, sender: Sender, topic: str) -> None:
        self._sender = sender
        self._topic = topic

    def __call__(self, partition: int, batch: KeyedBatch) -> None:
        for message in encode_batches(batch):
            self._sender.send(self._topic, message, partition=partition)


def _tick_us(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise Refused("bad_time", f"{text[:40]!r} is no whole number of microseconds")
    return int(text)
