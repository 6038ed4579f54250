"""Which partitions are this worker's: a member of a consumer group that reads nothing itself.

The group only says who owns what. Messages are read by other consumers, which are told partition by partition, so that
giving one up takes nothing from the others:

    group ── assign ──►  gained    claim it, restore, read
          ── revoke ──►  released  save, then say so; the group waits meanwhile, every other partition flows
          ── lost ────►  lost      somebody else has it already: drop what was not saved

The member has a thread of its own. Whatever is asked of the group runs in it, also while it waits for a partition to
be saved: a commit made from another thread hangs while the member is polled. The member has a fixed name, so that a
worker that was killed and comes back gets its partitions at once, and it leaves the group in so many words, because the
group would otherwise wait for a member with a name to come back.

A group knows one member by each name. A broker that is killed while members join remembers them by what they were
before, and calls each of them an impostor of itself; for the client library that is the end. So a member that is fenced
joins anew, and only one that is fenced again and again shares its name with another.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from confluent_kafka import KafkaError

from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.kafka_clients import consumer
from headrace.logging import get_logger
from streams.messages.message_runs import Place

__all__ = ["Change", "ChangeKind", "Membership"]

_LOOK_S = 0.02
"""Longest time between two looks at the group."""
_LEAVE_S = 2.0
_HEARTBEAT_MS = 300
"""A member hears of a rebalance with its next heartbeat."""
_FENCED_TIMES, _FENCED_WITHIN_S = 3, 60.0
"""So often in this time is no broker that has lost something, but another worker of the same name."""
_LOG = get_logger(__name__)

T = TypeVar("T")


class ChangeKind(Enum):
    GAINED = "gained"
    RELEASED = "released"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Partitions that come or go."""

    kind: ChangeKind
    places: frozenset[Place]
    term: int
    """Number of the assignment that gave them; asked for again by :meth:`Membership.holds`."""
    done: threading.Event = field(default_factory=threading.Event)
    """RELEASED: set once everything is saved; the next owner begins after that."""


class Membership:
    """One member of a group.

    Args:
        settings: where the broker is.
        group: name of the consumer group.
        topics: whose partitions the group shares out.
        name: of the member; no two that live at once may have the same.
    """

    def __init__(self, settings: Settings, group: str, topics: Sequence[str], *, name: str) -> None:
        self._settings, self._name = settings, name
        self._group = group
        self._topics = list(topics)
        self._consumer = self._make_consumer()
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue()
        self._terms: dict[Place, int] = {}
        self._term = 0
        self._assigned = threading.Event()
        self._leaving = threading.Event()
        self._ended = threading.Event()
        self._fenced_s: list[float] = []
        """When this member was, lately."""
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=f"member of {group}", daemon=True)
        self._thread.start()

    def wait_assigned(self, timeout_s: float) -> bool:
        """Wait for the first word of the group; whether it came."""
        return self._assigned.wait(timeout_s)

    def changes(self) -> list[Change]:
        """What happened since the last call, in order.

        Raises:
            RejectedError: another member has the same name.
        """
        if self._failure is not None:
            raise self._failure
        found = []
        while True:
            try:
                found.append(self._changes.get_nowait())
            except queue.Empty:
                return found

    def ask(self, job: Callable[[Any], T]) -> "Future[T]":
        """Have something done with the member's consumer, in its thread; fails once the member has left."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(job(self._consumer))
            except BaseException as error:
                answer.set_exception(error)

        self._jobs.put(work)
        if self._ended.is_set():
            self._do_jobs(0)
        return answer

    def holds(self, place: Place, term: int) -> bool:
        """Whether a partition is still this worker's by that assignment; to be asked inside a job."""
        return self._terms.get(place) == term

    def leave(self) -> None:
        """Begin to leave the group; everything is saved, or is to be done again by others."""
        self._leaving.set()
        self._jobs.put(lambda: None)

    def close(self) -> None:
        """Leave, and return when that is done."""
        self.leave()
        self._thread.join()

    def _work(self) -> None:
        try:
            self._live()
        except BaseException as error:
            # Raised again in the worker's thread, when it next asks for changes.
            self._failure = error
        finally:
            self._consumer.close()
            self._ended.set()
            # Nobody is to wait for an answer that cannot come: on a closed consumer every job fails.
            self._do_jobs(0)

    def _live(self) -> None:
        self._join()
        while not self._leaving.is_set():
            self._do_jobs(_LOOK_S)
            self._poll()
        self._consumer.unsubscribe()
        deadline_s = time.monotonic() + _LEAVE_S
        while self._consumer.memberid() and self._failure is None and time.monotonic() < deadline_s:
            self._consumer.poll(_LOOK_S)
        self._do_jobs(0)

    def _do_jobs(self, wait_s: float) -> None:
        """What was asked for; waits for the first of it."""
        try:
            job = self._jobs.get(timeout=wait_s) if wait_s else self._jobs.get_nowait()
            while True:
                job()
                job = self._jobs.get_nowait()
        except queue.Empty:
            return

    def _make_consumer(self) -> Any:
        session_ms = int(self._settings.stream.session_timeout_s * 1000)
        return consumer(
            self._settings,
            self._group,
            config={
                "group.instance.id": self._name,
                "session.timeout.ms": session_ms,
                "heartbeat.interval.ms": min(_HEARTBEAT_MS, session_ms // 3),
                # Nothing is read here, but for what arrives between an assignment and its pause.
                "queued.max.messages.kbytes": 64,
                "fetch.message.max.bytes": 1024,
            },
        )

    def _join(self) -> None:
        self._consumer.subscribe(self._topics, on_assign=self._gained, on_revoke=self._released, on_lost=self._lost)

    def _poll(self) -> None:
        # Messages that came before their partition was paused are the readers' to read.
        message = self._consumer.poll(0)
        trouble = None if message is None else message.error()
        # Not ``fatal()``: of an error that comes as a message it is never true.
        if trouble is not None and trouble.code() == KafkaError._FATAL:
            self._join_anew(trouble)

    def _join_anew(self, trouble: KafkaError) -> None:
        """Be another member of the same name; this one can do nothing more.

        Raises:
            RejectedError: it happens again and again.
        """
        now_s = time.monotonic()
        self._fenced_s = [at_s for at_s in self._fenced_s if now_s - at_s < _FENCED_WITHIN_S] + [now_s]
        if len(self._fenced_s) >= _FENCED_TIMES:
            raise RejectedError(
                f"the group {self._group!r} refuses this worker: {trouble.str()}",
                hint="two workers run with one name; give each a home of its own, or let them share one",
            )
        _LOG.warning("joins anew", group=self._group, why=trouble.str())
        if self._terms:
            self._give_up(frozenset(self._terms))
        self._consumer.close()
        self._consumer = self._make_consumer()
        self._join()

    def _gained(self, client: Any, partitions: Any) -> None:
        client.incremental_assign(partitions)
        if partitions:
            client.pause(partitions)
            self._term += 1
            places = _places(partitions)
            self._terms |= dict.fromkeys(places, self._term)
            self._changes.put(Change(kind=ChangeKind.GAINED, places=places, term=self._term))
        self._assigned.set()

    def _released(self, client: Any, partitions: Any) -> None:
        change = Change(kind=ChangeKind.RELEASED, places=_places(partitions), term=self._term)
        if not self._leaving.is_set():
            _LOG.info("partitions move", group=self._group, partitions=len(change.places))
            self._changes.put(change)
        while not (change.done.is_set() or self._leaving.is_set()):
            self._do_jobs(_LOOK_S)
        self._forget(change.places)
        client.incremental_unassign(partitions)

    def _lost(self, client: Any, partitions: Any) -> None:
        places = _places(partitions)
        _LOG.warning(
            "fenced",
            group=self._group,
            partitions=sorted(f"{topic}:{number}" for topic, number in places),
            why="the group had given this worker up and its partitions to others; it joins again",
        )
        self._give_up(places)
        client.incremental_unassign(partitions)

    def _give_up(self, places: frozenset[Place]) -> None:
        self._forget(places)
        self._changes.put(Change(kind=ChangeKind.LOST, places=places, term=self._term))

    def _forget(self, places: frozenset[Place]) -> None:
        for place in places:
            self._terms.pop(place, None)


def _places(partitions: Any) -> frozenset[Place]:
    return frozenset((partition.topic, partition.partition) for partition in partitions)
