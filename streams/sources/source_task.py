"""One source topic: decode, refuse, decide on lateness, log, forward. Stateless but for what its commits hold.

It processes those partitions of the topic that were opened; others may be another worker's.

messages ─► decode ─► late? ─► segment buffer ─► Parquet ┐
              │          │                               ├─ flush: acknowledged, written, then committed
              │          └──► keyed logs ───────────────►┘
              └─► dead letters
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from feature_store.ids import place_ids
from headrace.contracts.streams import ERASED, FLUSH_HEADER, WATERMARK_HEADER
from headrace.kafka_sender import Sender
from streams.formats.decode import BatchDecoder, Refusal
from streams.formats.message_check import Refused, check_time_bounds
from streams.logs.dead_letters import DeadLetter, DeadLetters
from streams.logs.erased_rows import ErasedMessages
from streams.logs.keyed_log import NO_TIME_US, KeyedBatch, SourceMark, encode_batches
from streams.logs.segment_buffer import SegmentBuffer, SourceRows
from streams.messages.fetch import MessageBatch
from streams.messages.message_runs import Place
from streams.sources.lateness import EVENT, TICK, mark_late
from streams.sources.routes import Route, no_rows
from streams.sources.silence import time_in_silence
from streams.sources.source_commit import SourceCommit, copy_of

__all__ = ["SourceTask"]

I64 = NDArray[np.int64]


class SourceTask:
    """Processes the opened partitions of one topic of events or labels.

    Args:
        topic: its name.
        partitions: how many it has, here or elsewhere.
        decoder: makes columns of its messages.
        time: field of the event time; None for labels, whose arrival counts instead.
        place_id: field to make of partition and offset; None where messages carry an id.
        lateness_us: how far behind its partition's newest event one may come; labels are never late.
        future_us: how far ahead of its arrival a tick may be.
        routes: keyed logs that want the rows, with the topic and number of partitions of each.
        buffer: on the way to the offline log.
        sender: producer to keyed logs.
        dead_letters: where refused messages go.
        erased: finds rows of erased subjects, which are counted and go nowhere.
    """

    def __init__(
        self,
        *,
        topic: str,
        partitions: int,
        decoder: BatchDecoder,
        time: str | None,
        place_id: str | None = None,
        lateness_us: int,
        future_us: int,
        routes: Sequence[tuple[Route, str, int]],
        buffer: SegmentBuffer,
        sender: Sender,
        dead_letters: DeadLetters,
        erased: ErasedMessages | None = None,
    ) -> None:
        self.topic = topic
        self.partitions = partitions
        self._decoder = decoder
        self._time = time
        self._place_id = place_id
        self._lateness_us = lateness_us
        self._future_us = future_us
        self._routes = list(routes)
        self._buffer = buffer
        self._sender = sender
        self._dead_letters = dead_letters
        self._erased = erased
        self._begun: dict[int, int] = {}
        """Open partition -> first offset that no segment covers, or is about to."""
        self._state: dict[int, SourceCommit] = {}
        self._newest_us = np.full(partitions, NO_TIME_US, dtype=np.int64)
        self._announced_us: dict[int, int] = {}
        self._idle: set[int] = set()
        self._silent_since_us: dict[int, int] = {}
        """Idle partition of a stream -> wall clock when it was told so."""
        self._held: dict[int, int] = {}
        """Partition -> offset of the newest tick that asked for a flush, until that is committed."""
        self._durable: dict[int, SourceCommit] = {}
        self._forwarded: list[Place] = []
        """Partition of a keyed log for each message sent there."""

    def open(self, starts: Sequence[SourceCommit]) -> None:
        """Begin to process these partitions where they were left.

        Raises:
            ConfigError: their logs hold columns that cannot be read beside those to be written.
        """
        begun = {start.partition: start.offset for start in starts}
        self._buffer.restart(begun, {start.partition: start.tenures for start in starts})
        self._begun |= begun
        for start in starts:
            number = start.partition
            self._state[number], self._durable[number] = start, copy_of(start)
            self._newest_us[number] = self._announced_us[number] = start.newest_us
            self._idle.discard(number)
            self._silent_since_us.pop(number, None)
            self._held.pop(number, None)

    def close(self, partitions: Iterable[int]) -> None:
        """Process these partitions no longer; what was not made durable is somebody else's to do again."""
        gone = set(partitions) & self._state.keys()
        self._buffer.forget(gone)
        self._idle -= gone
        self._silent_since_us = {n: since for n, since in self._silent_since_us.items() if n not in gone}
        for number in gone:
            del self._begun[number], self._state[number], self._durable[number], self._announced_us[number]
            self._held.pop(number, None)

    @property
    def wants_flush(self) -> bool:
        """Whether a producer asked for everything so far to be made durable."""
        return any(offset >= self._begun[number] for number, offset in self._held.items())

    @property
    def has_moved(self) -> bool:
        """Whether anything was processed that was not handed over."""
        return any(state.offset > self._begun[number] for number, state in self._state.items())

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
        return list(self._durable.values())

    def take_forwarded(self) -> list[Place]:
        """Topic and partition of each message to a keyed log since the last call."""
        forwarded, self._forwarded = self._forwarded, []
        return forwarded

    def process(self, batch: MessageBatch) -> None:
        """Take in messages; they are durable after the next flush."""
        refused: list[Refusal] = []
        values, filled = batch.values.filled()
        ticks = self._read_ticks(batch, refused) if len(filled) < len(batch) else []
        decoded = self._decoder.decode(values, batch.arrivals_us[filled])
        refused.extend(replace(refusal, row=int(filled[refusal.row])) for refusal in decoded.refused)
        messages = filled[decoded.rows]
        # Nearly always every message is one event; slices copy nothing.
        is_all = len(messages) == len(batch) and bool((messages == np.arange(len(batch))).all())
        used = slice(None) if is_all else messages
        arrivals_us, partitions = batch.arrivals_us[used], batch.partitions[used]
        times_us = arrivals_us if self._time is None else decoded.columns[self._time].astype(np.int64, copy=False)
        columns, offsets = decoded.columns, batch.offsets[used]
        if self._place_id is not None:
            columns = {**columns, self._place_id: place_ids(partitions, offsets)}
        rows = SourceRows(
            columns=columns,
            nulls=decoded.nulls,
            times_us=times_us,
            partitions=partitions,
            offsets=offsets,
            arrivals_us=arrivals_us,
            late=self._mark_late(batch, messages, partitions, times_us, ticks),
        )
        # Their time has counted: whether others are late is decided as it was before the subject was erased.
        if self._erased is not None and (gone := self._erased.find(rows)).any():
            for number, count in Counter(rows.partitions[gone].tolist()).items():
                self._count(number, ERASED, count)
            rows, messages = rows.where(~gone), messages[~gone]
        refused.extend(self._late(batch, messages, rows))
        self._refuse(batch, refused)
        self._account(batch, rows)
        self._buffer.add(rows)
        self._forward(rows.where(~rows.late) if rows.late.any() else rows, batch.numbers())

    def set_idle(self, partitions: Iterable[int], *, idle: bool) -> None:
        """Tell the keyed logs that partitions have become idle, or are no longer."""
        changed = sorted(set(partitions))
        for number in changed:
            self._silent_since_us.pop(number, None)
        if idle:
            self._idle.update(changed)
        else:
            self._idle.difference_update(changed)
        if changed:
            self.announce(changed)

    def pass_time(self, now_us: int) -> None:
        """Carry the event time of idle partitions on by the wall clock (see silence.py), so that rows still change.

        Lateness is decided by events and ticks alone: it must be the same when the messages are read again.
        """
        if self._time is None:
            return
        moved = []
        for number in sorted(self._idle - self._held.keys()):
            since_us = self._silent_since_us.setdefault(number, now_us)
            reached_us = time_in_silence(self._state[number].newest_us, since_us, now_us)
            if reached_us is not None and reached_us > self._announced_us[number]:
                self._announced_us[number] = reached_us
                moved.append(number)
        if moved:
            self.announce(moved)

    def announce(self, partitions: Iterable[int] | None = None) -> None:
        """Send marks of these partitions (all when not given) without rows."""
        fields = self._decoder.fields if self._place_id is None else (*self._decoder.fields, self._place_id)
        self._forward(no_rows(fields), sorted(self._state if partitions is None else partitions))

    def take_segments(self) -> tuple[list[SourceCommit], Callable[[int], None]]:
        """Hand over everything that was processed; gives what may be committed, each once it is durable.

        The second makes one partition durable. It may run in another thread; nothing may be opened or closed meanwhile.

        Raises:
            UnavailableError: a keyed batch or dead letter was not acknowledged; nothing may be committed.
        """
        self._sender.flush()
        if self._erased is not None:
            self._erased.save()
        moved = [copy_of(state) for state in self._state.values() if state.offset > self._begun[state.partition]]
        write = self._buffer.take({state.partition: (self._begun[state.partition], state.offset) for state in moved})
        self._begun |= {state.partition: state.offset for state in moved}
        return moved, write

    def committed(self, commits: Sequence[SourceCommit]) -> None:
        """These commits of :meth:`take_segments` are stored: say what was held back until then."""
        self._durable |= {commit.partition: commit for commit in commits if commit.partition in self._state}
        ends = {commit.partition: commit.offset for commit in commits}
        held = [number for number, offset in self._held.items() if offset < ends.get(number, 0)]
        for number in held:
            del self._held[number]
        if held:
            self.announce(held)

    def _mark_late(
        self,
        batch: MessageBatch,
        messages: I64,
        partitions: NDArray[np.int32],
        times_us: I64,
        ticks: list[tuple[int, int]],
    ) -> NDArray[np.bool_]:
        """Which events are late, decided event by event in the order of messages, ticks among them."""
        late = np.empty(len(messages), dtype=np.bool_)
        kinds = np.full(len(messages), EVENT, dtype=np.uint8)
        if not ticks:
            mark_late(kinds, partitions, times_us, self._lateness_us, self._newest_us, late)
            return late
        places, at_us = (np.array(column, dtype=np.int64) for column in zip(*ticks, strict=True))
        every = np.concatenate([messages, places])
        order = np.argsort(every, kind="stable")
        kinds = np.concatenate([kinds, np.full(len(ticks), TICK, dtype=np.uint8)])[order]
        merged_us = np.concatenate([times_us, at_us])[order]
        marked = np.empty(len(every), dtype=np.bool_)
        mark_late(kinds, batch.partitions[every[order]], merged_us, self._lateness_us, self._newest_us, marked)
        late[order[kinds == EVENT]] = marked[kinds == EVENT]
        return late

    def _read_ticks(self, batch: MessageBatch, refused: list[Refusal]) -> list[tuple[int, int]]:
        """Messages with an empty value: (row, time) of ticks; others are nothing anybody can use."""
        ticks = []
        for row in np.flatnonzero(batch.values.sizes == 0).tolist():
            headers = batch.headers.get(row, {})
            text = headers.get(WATERMARK_HEADER)
            if text is None:
                refused.append(Refusal(row=row, reason=self._decoder.malformed, detail="the message is empty"))
                continue
            try:
                tick_us = _tick_us(text)
                check_time_bounds(tick_us, int(batch.arrivals_us[row]), 0, self._future_us)
            except Refused as refusal:
                detail = f"{WATERMARK_HEADER}: {refusal.detail}"
                refused.append(Refusal(row=row, reason=refusal.reason, detail=detail))
                continue
            ticks.append((row, tick_us))
            if FLUSH_HEADER in headers:
                self._held[int(batch.partitions[row])] = int(batch.offsets[row])
        return ticks

    def _late(self, batch: MessageBatch, messages: I64, rows: SourceRows) -> list[Refusal]:
        """One refusal for each message with late events, in the words of the latest of them."""
        late = np.flatnonzero(rows.late)
        found, firsts, counts = np.unique(messages[late], return_index=True, return_counts=True)
        refused = []
        for message, first, count in zip(found.tolist(), firsts.tolist(), counts.tolist(), strict=True):
            newest_us = int(self._newest_us[batch.partitions[message]])
            behind_s = (newest_us - int(rows.times_us[late[first : first + count]].min())) / 1e6
            detail = f"at least {self._lateness_us / 1e6:g} s late: {behind_s:g} s behind its partition's newest event"
            refused.append(Refusal(row=message, reason="late", detail=detail, events=count))
        return refused

    def _refuse(self, batch: MessageBatch, refused: list[Refusal]) -> None:
        for refusal in sorted(refused, key=lambda refusal: refusal.row):
            partition = int(batch.partitions[refusal.row])
            self._dead_letters.send(
                DeadLetter(
                    topic=self.topic,
                    partition=partition,
                    offset=int(batch.offsets[refusal.row]),
                    reason=refusal.reason,
                    detail=refusal.detail,
                    key=batch.key(refusal.row),
                    value=batch.value(refusal.row),
                )
            )
            self._count(partition, refusal.reason, refusal.events)

    def _count(self, partition: int, reason: str, events: int) -> None:
        dead = self._state[partition].dead
        dead[reason] = dead.get(reason, 0) + events

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
            route.split(rows, marks, count, _Emitter(self._sender, topic, self._forwarded))
        self._sender.poll()

    def _mark(self, partition: int) -> SourceMark:
        state = self._state[partition]
        if partition not in self._held:
            # A tick that asks for a flush is told on only when the flush is done.
            self._announced_us[partition] = max(self._announced_us[partition], state.newest_us)
        return SourceMark(
            partition=partition,
            offset=state.offset - 1,
            newest_us=self._announced_us[partition],
            idle=partition in self._idle,
            epoch=state.epoch,
        )


class _Emitter:
    """Sends batches to the partitions of one keyed log."""

    def __init__(self, sender: Sender, topic: str, sent: list[Place]) -> None:
        self._sender = sender
        self._topic = topic
        self._sent = sent

    def __call__(self, partition: int, batch: KeyedBatch) -> None:
        for message in encode_batches(batch):
            self._sender.send(self._topic, message, partition=partition)
            self._sent.append((self._topic, partition))


def _tick_us(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise Refused("bad_time", f"{text[:40]!r} is no whole number of microseconds")
    return int(text)
