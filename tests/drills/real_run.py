"""One run of the stream on real servers under a schedule, with real worker processes."""

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import redis
from confluent_kafka import KafkaException

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.kafka_clients import admin_client, end_offsets, ensure_topics
from headrace.kafka_sender import Sender
from headrace.local.stack import EmbeddedStack
from headrace.spec.project import Project
from streams.progress import Progress, wait_applied
from tests.drills.schedules import Fault, Schedule
from tests.drills.worker_nursery import Nursery, WorkerLife
from tests.eventually import eventually
from tests.stream_world import Message, Traffic

__all__ = ["RealRun"]

_STUCK_S = 1.0
"""A step whose progress is not reached by then happens anyway: its part may hold too little that is applied."""
_BACK_S = 60.0
_GIVEN_UP_S = 6.0
"""Longest wait until a stopped worker counts as dead: its session, and the group's next look."""
_TOGETHER_US = 20 * 60_000_000


@dataclass
class RealRun:
    """The stream of one project; ``lives`` counts its worker processes."""

    servers: EmbeddedStack
    settings: Settings
    project: Project
    traffic: Traffic
    nursery: Nursery
    log: Path
    """What happens; each worker has a log beside it."""
    lives: int = 0
    _workers: int = 1
    _most_workers: int = 1
    _living: list[WorkerLife] = field(default_factory=list)
    _leaving: list[WorkerLife] = field(default_factory=list)
    """Told to leave in order; whoever comes meanwhile takes over from them."""
    _published: int = 0
    _repeats: list[Message] = field(default_factory=list)

    def run(self, schedule: Schedule) -> None:
        """From the first message to the last, and everything durable."""
        rng = np.random.default_rng(schedule.seed)
        self._say(f"seed {schedule.seed}: {schedule}")
        self._workers, self._most_workers = schedule.workers, schedule.most_workers
        ensure_topics(self.settings, self._topics)
        messages = self._in_order()
        try:
            done = 0.0
            for step in schedule.steps:
                self._keep_alive()
                before = self._applied()
                done += step.share
                self._publish_up_to(messages, done)
                self._wait_progress(before, step.progress * step.share)
                self._say(f"{self._applied():,} rows applied, {before:,} before; now {step.fault}")
                if step.stopped:
                    self._signal(signal.SIGSTOP)
                self._happen(step.fault, rng)
                if step.stopped:
                    self._signal(signal.SIGCONT)
                self._say("it has happened")
            self._publish_up_to(messages, 1.0)
            self._say("nothing more happens")
            self._finish()
        finally:
            for worker in (*self._living, *self._leaving):
                worker.send(signal.SIGKILL)

    def _say(self, what: str) -> None:
        """Into the log of the workers, so that a failure can be followed."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f} drill: {what}\n")

    @property
    def _topics(self) -> list[str]:
        return [self.project.streams[0].name, self.project.labels[0].name]

    def _in_order(self) -> list[tuple[str, Message]]:
        """Events and labels together, by arrival."""
        named = zip(self._topics, (self.traffic.events, self.traffic.labels), strict=True)
        messages = [(topic, message) for topic, kind in named for message in kind]
        return sorted(messages, key=lambda pair: pair[1].arrival_us)

    def _publish_up_to(self, messages: Sequence[tuple[str, Message]], share: float) -> None:
        end = round(share * len(messages))
        self._publish(messages[self._published : end])
        self._published = max(self._published, end)

    def _publish(self, messages: Sequence[tuple[str, Message]]) -> None:
        sender = Sender(self.settings)
        safe_us = 0
        for topic, message in messages:
            if message.arrival_us > safe_us:
                # Nothing may lie at the broker long before what is said to have arrived earlier: a label behind its
                # events by more than the lateness changes the log from another instant on, and rightly so.
                sender.flush()
                safe_us = message.arrival_us + _TOGETHER_US
            sender.send(
                topic,
                message.value,
                key=message.key,
                partition=message.partition,
                timestamp_ms=message.arrival_us // 1000,
            )
        sender.flush()

    def _keep_alive(self) -> None:
        """As many workers as there should be, and none that was asked to die."""
        for worker in [worker for worker in self._living if not worker.is_alive()]:
            self._living.remove(worker)
        while len(self._living) < self._workers:
            self.lives += 1
            log = self.log.with_name(f"{self.log.stem}.worker-{self.lives}.log")
            self._living.append(self.nursery.start(self.settings.home, self.project.path, log))

    def _applied(self) -> int:
        """Rows the views have taken in, as reported; 0 while Redis is away or has lost the reports."""
        progress = Progress(self.settings.redis.url, self.project.name)
        try:
            return sum(report.rows for report in progress.views())
        except UnavailableError:
            return 0
        finally:
            progress.close()

    def _wait_progress(self, before: int, share: float) -> None:
        goal = before + share * len(self.traffic.clean) * len(self.project.views)
        with contextlib.suppress(AssertionError):
            eventually(lambda: self._applied() >= goal, timeout_s=_STUCK_S)

    def _signal(self, number: signal.Signals) -> None:
        for worker in self._living:
            worker.send(number)

    def _happen(self, fault: Fault, rng: np.random.Generator) -> None:
        match fault:
            case Fault.KILL_WORKER:
                worker = self._living[int(rng.integers(len(self._living)))]
                worker.send(signal.SIGKILL)
                worker.wait(_BACK_S)
            case Fault.KILL_BROKER:
                self._kill_server("kafka")
            case Fault.KILL_STORE:
                self._kill_server("valkey")
            case Fault.RESTART_STORE:
                self.servers.stop_service("valkey")
                self.servers.start_service("valkey")
            case Fault.EMPTY_STORE:
                with redis.Redis.from_url(self.settings.redis.url) as client:
                    client.flushall()
            case Fault.FILL_DISK:
                self._fill_disk(int(rng.integers(1, 8_000)))
            case Fault.REPEAT_ALL:
                self._publish([pair for pair in self._in_order()[: self._published] if pair[0] == self._topics[0]])
            case Fault.DAMAGE:
                self._signal(signal.SIGKILL)
                for worker in self._living:
                    worker.wait(_BACK_S)
                self._damage(rng)
            case Fault.ADD_WORKER:
                self._workers = min(self._workers + 1, self._most_workers)
                self._keep_alive()
            case Fault.REMOVE_WORKER:
                if len(self._living) > 1:
                    self._workers -= 1
                    leaver = self._living.pop(int(rng.integers(len(self._living))))
                    leaver.send(signal.SIGTERM)
                    self._leaving.append(leaver)
            case Fault.ZOMBIE:
                zombie = self._living[int(rng.integers(len(self._living)))]
                zombie.send(signal.SIGSTOP)
                asker = admin_client(self.settings)
                with contextlib.suppress(AssertionError):
                    eventually(lambda: self._is_given_up(asker), timeout_s=_GIVEN_UP_S)
                zombie.send(signal.SIGCONT)

    def _is_given_up(self, asker: Any) -> bool:
        """Whether both groups have fewer members than there are workers."""
        groups = [f"headrace.{self.project.name}.{kind}" for kind in ("sources", "views")]
        try:
            found = asker.describe_consumer_groups(groups, request_timeout=_GIVEN_UP_S)
            return all(len(each.result(_GIVEN_UP_S).members) < len(self._living) for each in found.values())
        except KafkaException:
            return False

    def _kill_server(self, name: str) -> None:
        pid = next(service.pid for service in self.servers.status().services if service.name == name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        if name == "valkey":
            # Stopped and started in order behind it, so that its supervisor does not wait longer each time.
            self.servers.stop_service(name)
        self.servers.start_service(name)

    def _fill_disk(self, size: int) -> None:
        for worker in self._living:
            worker.limit_files(size)
        # Something is always being written; whoever has nothing to write is told to leave, which saves.
        for worker in self._living:
            with contextlib.suppress(AssertionError):
                worker.wait(_STUCK_S)
            worker.send(signal.SIGTERM)
            worker.wait(_BACK_S)

    def _damage(self, rng: np.random.Generator) -> None:
        """Tear one file of the state of some task that has a whole state to go back to."""
        folder = self.settings.state_dir / self.project.name
        tasks = sorted({path.parent for path in folder.rglob("*.snapshot")})
        twice = [task for task in tasks if len(list(task.glob("*.snapshot"))) > 1]
        if twice:
            files = sorted(twice[int(rng.integers(len(twice)))].glob("*.[sd]*"))
            path = files[int(rng.integers(len(files)))]
            data = bytearray(path.read_bytes())
            data[int(rng.integers(len(data)))] ^= 0xFF
            path.write_bytes(data)

    def _finish(self) -> None:
        self._keep_alive()
        ends = end_offsets(self.settings, self._topics)
        newest_us = max(row["us"] for row in self.traffic.clean.values())

        def done() -> bool:
            self._keep_alive()
            try:
                wait_applied(
                    self.settings, self.project, offsets=ends, watermark_us=newest_us, durable=True, timeout_s=0
                )
            except UnavailableError as error:
                raise AssertionError(str(error)) from error
            return True

        eventually(done, timeout_s=_BACK_S, what="everything applied and durable")
        self._signal(signal.SIGTERM)
        for worker in (*self._living, *self._leaving):
            worker.wait(_BACK_S)
            assert worker.ending() == "0", worker.log.read_text(encoding="utf-8")[-3000:]
