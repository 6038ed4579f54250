"""The source partitions of this worker: fetched in step, processed, flushed, kept from idling, moved to others."""

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaException, TopicPartition

from headrace.config import Settings
from headrace.contracts.streams import SourceProgress
from headrace.errors import UnavailableError
from headrace.kafka_clients import admin_client, consumer, latest_offsets
from headrace.kafka_sender import Sender
from headrace.logging import get_logger
from headrace.spec.project import Project
from streams.messages.confluent_reader import ConfluentReader
from streams.messages.fetch import Fetcher
from streams.messages.librdkafka import find_librdkafka
from streams.messages.message_runs import MessageReader, Place
from streams.messages.native_reader import NativeReader
from streams.messages.reach import ReachBoard
from streams.ownership.membership import Change, ChangeKind, Membership
from streams.sources.idleness import IdleWatch
from streams.sources.segment_writing import SegmentWriting
from streams.sources.silence import TELL_EVERY_S
from streams.sources.source_commit import SourceCommit
from streams.sources.source_owner import SourceOwner
from streams.sources.source_task import SourceTask
from streams.sources.source_tasks import SourceTasks
from streams.stream_metrics import StreamMetrics

__all__ = ["SourceGroup"]

_FLUSH_WAIT_S = 0.2
"""A producer that asked for a flush waits this long for others to join in, while there is more to read."""
_ENDS_WAIT_S = 5.0
"""A broker that is away is asked again after this long; between two questions the worker can be stopped. A busy machine
answers within it: two seconds were too few with a load of 15 on two cores."""
_ROOM_US = 600_000_000
"""Least disorder between partitions that views forgive, see streams.views.view_group.roomy."""
_SAY_EVERY_S = 0.1
"""Others wait for what is said; each time waits for the acknowledgement of what was sent. With nothing else
to do it is said at once: history is read a slack at a time, and each takes as long as it takes to be told of."""
_MOST_WAITING = 4
"""Rows that may be collected while others are written, in turns of ``stream.flush_rows``."""
_COMMIT_S = 30.0
"""Longest wait for the last commits of a worker that leaves."""
_LOG = get_logger(__name__)


@dataclass(slots=True)
class _Schedule:
    """When what is processed must be flushed."""

    every_s: float
    flushed_s: float
    wanted_s: float | None = None

    def is_due(self, tasks: list[SourceTask], *, quiet: bool, max_rows: int, now_s: float) -> bool:
        if any(task.wants_flush for task in tasks):
            self.wanted_s = now_s if self.wanted_s is None else self.wanted_s
            if quiet or now_s - self.wanted_s > _FLUSH_WAIT_S:
                return True
        return _rows(tasks) >= max_rows or now_s - self.flushed_s >= self.every_s


class SourceGroup:
    """Source tasks of every stream and label stream of a project, for the partitions that are this worker's.

    Args:
        settings: where everything is.
        project: whose streams.
        name: of this worker among those of the project.
        now_us: wall clock.
        stop: set when nobody wants to wait for a server any longer.
        metrics: counts what is taken over and given up.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        *,
        name: str,
        now_us: Callable[[], int],
        stop: threading.Event,
        metrics: StreamMetrics,
    ) -> None:
        self._settings, self._metrics = settings, metrics
        self._now_us = now_us
        bootstrap, group = settings.kafka.bootstrap, f"headrace.{project.name}.sources"
        self._sender = Sender(settings, linger_ms=1)
        self._letters = Sender(settings)
        made = SourceTasks(settings, project, stop, self._sender, self._letters)
        self._tasks, self._by_topic = made.every, made.by_topic
        self._consumer = consumer(settings, group, config={"enable.partition.eof": True, "auto.offset.reset": "error"})
        lateness_us = min((stream.lateness_us for stream in project.streams), default=0)
        library = find_librdkafka()
        reader: MessageReader = ConfluentReader(self._consumer, bootstrap)
        if library is not None:
            reader = NativeReader(library, self._consumer, bootstrap)
        else:
            _LOG.warning("reading messages the slow way", why="this librdkafka was never tried")
        self._fetcher = Fetcher(
            self._consumer,
            reader,
            ends=partial(latest_offsets, settings, admin_client(settings), timeout_s=_ENDS_WAIT_S),
            slack_us=lateness_us // 4,
            foreign_slack_us=max(lateness_us, _ROOM_US) // 4,
        )
        self._every = frozenset((task.topic, number) for task in self._tasks for number in range(task.partitions))
        self._places: list[Place] = []
        self._foreign = self._every
        now_s = time.monotonic()
        self._idle: IdleWatch[Place] = IdleWatch((), now_s=now_s)
        self._schedule = _Schedule(every_s=settings.stream.snapshot_every_s, flushed_s=now_s)
        self._segments = SegmentWriting()
        self._unreported = False
        self._said_s = self._passed_s = 0.0
        self._unsaid = False
        self._board = ReachBoard(settings.redis.url, project.name)
        self._membership = Membership(settings, group, list(self._by_topic), name=name)
        self._owner = SourceOwner(self._membership, bootstrap, now_us, partial(metrics.taken, "sources"))

    @property
    def has_backlog(self) -> bool:
        """Whether the last step read so much that there is likely more at once."""
        return self._fetcher.has_backlog

    @property
    def is_live(self) -> bool:
        """Whether the last step left nothing: what comes next has yet to be published."""
        return not (self._fetcher.has_backlog or self._fetcher.holds_messages)

    def wait_assigned(self, deadline_s: float) -> None:
        """Take over what the group gives first.

        Raises:
            IntegrityError: a commit is not ours, or lies outside its topic.
        """
        self._membership.wait_assigned(deadline_s - time.monotonic())
        self._follow()
        while not self._owner.is_settled and time.monotonic() < deadline_s:
            time.sleep(0.002)
            self._follow()

    def step(self, wait_s: float) -> int:
        """Process what there is; how many messages that were.

        Args:
            wait_s: longest wait for the first of them.
        """
        self._follow()
        batches = self._fetcher.fetch(self._settings.stream.batch_rows, wait_s)
        now_s = time.monotonic()
        seen = {(batch.topic, number) for batch in batches for number in batch.numbers()}
        self._set_idle(self._idle.saw(seen, now_s=now_s), idle=False)
        self._unsaid = self._unsaid or bool(batches)
        for batch in batches:
            self._by_topic[batch.topic].process(batch)
        self._rest(now_s)
        if now_s - self._passed_s >= TELL_EVERY_S:
            self._passed_s = now_s
            for task in self._tasks:
                task.pass_time(self._now_us())
        max_rows = self._settings.stream.flush_rows
        # A disk that is slower than the stream holds it up here, so that memory stays bounded.
        self._end_flush(wait=_rows(self._tasks) >= _MOST_WAITING * max_rows)
        if not self._segments.is_busy and self._schedule.is_due(
            self._tasks, quiet=not batches, max_rows=max_rows, now_s=now_s
        ):
            self._begin_flush()
        elif self._foreign and ((self._unsaid and not batches) or now_s - self._said_s >= _SAY_EVERY_S):
            self._say()
        elif self._foreign and self._fetcher.is_held_back:
            self._board.look()
        return sum(map(len, batches))

    def take_forwarded(self) -> list[Place]:
        """Topic and partition of each message to a keyed log since the last call."""
        return [place for task in self._tasks for place in task.take_forwarded()]

    def flush(self) -> None:
        """Make durable what was processed, and commit it.

        Raises:
            UnavailableError: the broker does not answer; nothing was committed.
        """
        self._flush()
        deadline_s = time.monotonic() + _COMMIT_S
        while self._owner.has_uncommitted:
            if time.monotonic() > deadline_s:
                raise UnavailableError("Kafka did not take the last offsets", hint="they are read again next time")
            time.sleep(0.002)
            self._follow()

    def progress(self, *, everything: bool = False) -> list[SourceProgress]:
        """How far each partition is, as committed; empty when nothing was since the last call.

        Args:
            everything: whether anything was or not.
        """
        if not (self._unreported or everything):
            return []
        self._unreported = False
        return [
            SourceProgress(
                topic=task.topic,
                partition=commit.partition,
                offset=commit.offset,
                newest_us=commit.newest_us,
                rows=commit.rows,
                dead_letters=dict(commit.dead),
                at_us=self._now_us(),
            )
            for task in self._tasks
            for commit in task.durable
        ]

    def lags(self) -> dict[Place, int]:
        """Messages of each partition that lie at the broker and are not durable here, where that has been heard."""
        found = {}
        for task in self._tasks:
            for commit in task.durable:
                asked = TopicPartition(task.topic, commit.partition)
                try:
                    _, end = self._consumer.get_watermark_offsets(asked, cached=True) or (0, -1)
                except KafkaException:
                    continue  # nothing was heard of it yet
                if end >= 0:
                    found[task.topic, commit.partition] = max(end - commit.offset, 0)
        return found

    def hand_over(self) -> None:
        """Flush, and say that everything may be taken over; nothing is processed from now on."""
        everything = Change(kind=ChangeKind.RELEASED, places=frozenset(self._places), term=0)
        self._release(everything)
        everything.done.wait(_COMMIT_S)

    def close(self) -> None:
        """Leave; what was not flushed is read again next time."""
        self._segments.close()
        self._membership.close()
        self._fetcher.close()
        self._consumer.close()
        self._board.close()

    def _follow(self) -> None:
        """Take over and give up partitions as the group says, and hear what was committed."""
        for change in self._owner.changes():
            self._end_flush(wait=True)
            if change.kind is ChangeKind.RELEASED:
                self._metrics.released("sources", len(change.places))
                self._release(change)
            else:
                self._metrics.lost("sources", len(change.places))
                self._drop(change.places)
        if opened := self._owner.claimed():
            self._end_flush(wait=True)
            self._open(opened)
        if stored := self._owner.committed():
            for task in self._tasks:
                if mine := [commit for (topic, _), commit in stored.items() if topic == task.topic]:
                    task.committed(mine)
            self._unreported = True
        if self._foreign:
            self._fetcher.stand_by(self._foreign, self._board.said)

    def _open(self, opened: dict[Place, SourceCommit]) -> None:
        for task in self._tasks:
            starts = [commit for (topic, _), commit in sorted(opened.items()) if topic == task.topic]
            if starts:
                task.open(starts)
                task.announce(start.partition for start in starts)
        self._fetcher.add({place: commit.offset for place, commit in opened.items()})
        self._idle.add(opened, now_s=time.monotonic())
        self._own([*self._places, *opened])
        self._say()

    def _release(self, change: Change) -> None:
        self._flush()
        commits = {place: commit for place, commit in self._commits().items() if place in change.places}
        self._owner.release(change, commits)
        self._drop(change.places)

    def _drop(self, places: Collection[Place]) -> None:
        """Process these no longer; nothing of them is written from now on."""
        self._owner.forget(places)
        for task in self._tasks:
            task.close(number for topic, number in places if topic == task.topic)
        self._fetcher.remove(places)
        self._idle.remove(places)
        self._own([place for place in self._places if place not in places])

    def _own(self, places: Iterable[Place]) -> None:
        self._places = sorted(places)
        self._metrics.owns("sources", len(self._places))
        self._foreign = self._every - set(self._places)
        self._board.listen(wanted=bool(self._foreign))
        self._fetcher.stand_by(self._foreign, self._board.said)
        self._unreported = True

    def _commits(self) -> dict[Place, SourceCommit]:
        return {(task.topic, commit.partition): commit for task in self._tasks for commit in task.commits}

    def _say(self) -> None:
        """Tell the other workers how far this one is."""
        self._sender.flush()
        self._said_s, self._unsaid = time.monotonic(), False
        self._board.say(self._fetcher.reaches(self._owner.epochs))

    def _flush(self) -> None:
        """Make everything durable, and have it committed, before anything else is done."""
        self._end_flush(wait=True)
        self._begin_flush()
        self._end_flush(wait=True)

    def _begin_flush(self) -> None:
        """Hand over what was processed to be written, beside what is processed next."""
        self._letters.flush()
        # First of all: it waits for a broker that restarts, and those that are asked next do so for seconds only.
        self._sender.flush()
        if any(task.has_moved for task in self._tasks):
            self._drop_fenced()
        self._schedule.flushed_s = time.monotonic()
        self._schedule.wanted_s = None
        self._segments.begin(self._tasks)

    def _end_flush(self, *, wait: bool = False) -> None:
        """Have committed what was written; nobody takes over or gives up anything before that."""
        written = self._segments.end(wait=wait)
        if written is None:
            return
        self._owner.commit(written.commits)
        if written.errors:
            # Paused on the way, it may come back to folders that new owners have tidied.
            self._drop_fenced()
            for place, error in written.errors.items():
                if place in self._owner.epochs:
                    raise error
        self._say()

    def _drop_fenced(self) -> bool:
        """Give up what somebody else has claimed; whether there was any."""
        fenced = self._owner.fenced()
        if fenced:
            self._metrics.lost("sources", len(fenced))
            names = sorted(f"{topic}:{number}" for topic, number in fenced)
            _LOG.warning("fenced", partitions=names, why="they have a newer owner; what was not committed is dropped")
            self._drop(fenced)
        return bool(fenced)

    def _rest(self, now_s: float) -> None:
        """Call partitions idle that have been read to their ends for a while.

        The broker has the last word: of a busy machine messages may lie there for longer than the while.
        """
        ended = [place for place in self._places if self._fetcher.is_at_end(*place)]
        resting = self._idle.candidates(ended, now_s=now_s)
        if resting:
            try:
                self._fetcher.ask_ends(resting)
            except UnavailableError:
                return  # asked again next time; nobody rests while the broker is away
            ended = [place for place in ended if self._fetcher.is_at_end(*place)]
            self._set_idle(self._idle.look(ended, now_s=now_s), idle=True)

    def _set_idle(self, places: set[Place], *, idle: bool) -> None:
        for task in self._tasks:
            task.set_idle([number for topic, number in places if topic == task.topic], idle=idle)


def _rows(tasks: list[SourceTask]) -> float:
    """Rows collected for one partition of the fullest topic, on average."""
    return max(task.buffered_rows / max(1, len(task.commits)) for task in tasks)
