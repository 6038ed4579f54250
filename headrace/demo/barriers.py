"""Waiting in a replay: event time stands still until everybody has acted upon it.

Live, nobody waits for anybody. In a replay a day lasts a second, so the replay publishes a day, then waits for the
stream, the scorer, the monitors, the agents and the controller in the order the data flows.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis
from confluent_kafka import TopicPartition

from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.control import ControllerStart, ControllerState, OperatorCommand
from headrace.contracts.redis_keys import agents_progress_key, monitor_progress_key, progress_key
from headrace.contracts.streams import ViewProgress
from headrace.errors import UnavailableError
from headrace.kafka_clients import consumer, partition_counts, patiently, watermarks
from headrace.spec.project import Project
from headrace.temporal_client import connect, controller_state, send_command

__all__ = ["Barriers", "Controller"]

_LOOK_S = 0.02
TIMEOUT_S = 120.0


class Controller:
    """The model's controller in Temporal, asked from code that is not asynchronous."""

    def __init__(self, settings: Settings, project: Project, model: str) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(connect(settings))
        self._start = ControllerStart(project=str(project.path), model=model)

    def state(self) -> ControllerState | None:
        """Its own words; None before its first signal."""
        return self._runner.run(controller_state(self._client, self._start.model))

    def command(self, command: OperatorCommand) -> None:
        """Tell it what the operator asks for."""
        self._runner.run(send_command(self._client, self._start, command))

    def close(self) -> None:
        """End the event loop."""
        self._runner.close()


@dataclass(slots=True)
class Barriers:
    """One wait for each part of the loop."""

    settings: Settings
    project: Project
    model: str
    check: Callable[[], None]
    """Raises when a role has died; called while waiting."""
    redis: "redis.Redis" = field(init=False)
    _readers: dict[str, Any] = field(default_factory=dict)
    _partitions: dict[str, int] = field(default_factory=dict)
    waited_s: dict[str, float] = field(default_factory=dict)
    """Part -> seconds spent waiting for it, for the figures at the end."""

    def __post_init__(self) -> None:
        self.redis = redis.Redis.from_url(self.settings.redis.url)

    def applied(self, until_us: int) -> None:
        """Every partition of every view has applied everything up to ``until_us``."""

        def done() -> bool:
            rows: dict[bytes, bytes] = self.redis.hgetall(progress_key(self.project.name))  # type: ignore[assignment]
            reports = [decode(row, ViewProgress) for row in rows.values()]
            views = {report.view for report in reports}
            return {view.name for view in self.project.views} <= views and all(
                report.watermark_us >= until_us for report in reports
            )

        self.wait("stream", done)

    def consumed(self, part: str, topic: str, group: str) -> None:
        """A consumer group has committed everything that is in a topic now."""
        bootstrap = self.settings.kafka.bootstrap
        if group not in self._readers:
            self._readers[group] = consumer(self.settings, group)
        client = self._readers[group]
        if topic not in self._partitions:
            self._partitions[topic] = partition_counts(self.settings, [topic])[topic]
        places = [TopicPartition(topic, number) for number in range(self._partitions[topic])]
        ends = {place.partition: watermarks(client, topic, place.partition, bootstrap)[1] for place in places}

        def done() -> bool:
            committed = patiently(lambda: client.committed(places, timeout=10), bootstrap)
            return all(max(place.offset, 0) >= ends[place.partition] for place in committed)

        self.wait(part, done)

    def watched(self, until_us: int) -> int:
        """Monitors have closed every window that ends by ``until_us``; returns the number of the newest."""
        key = monitor_progress_key(self.model)
        self.wait("monitors", lambda: self._number(key, "until_us") >= until_us)
        return self._number(key, "window")

    def signalled(self, window: int) -> None:
        """Agents have handled a window's report and Temporal has its observation."""
        key = agents_progress_key(self.model)
        self.wait("agents", lambda: min(self._number(key, "window"), self._number(key, "signalled")) >= window)

    def settled(self, controller: Controller, window: int) -> ControllerState:
        """The controller has acted upon a window, and nothing runs that event time would not wake."""
        found: list[ControllerState] = []

        def done() -> bool:
            state = controller.state()
            if state is not None and state.settled_window >= window:
                found.append(state)
            return bool(found)

        self.wait("controller", done)
        return found[0]

    def wait(self, part: str, done: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Look until ``done``.

        Raises:
            UnavailableError: it did not happen in time, or a role has died.
        """
        started = time.monotonic()
        pause = 0.005
        while not done():
            self.check()
            if time.monotonic() - started > timeout_s:
                raise UnavailableError(f"waited {timeout_s:g} s for the {part} in vain", hint="see the role's log")
            time.sleep(pause)
            pause = min(pause * 1.5, _LOOK_S * 5)
        self.waited_s[part] = self.waited_s.get(part, 0.0) + time.monotonic() - started

    def _number(self, key: str, name: str) -> int:
        value = self.redis.hget(key, name)
        return -1 if value is None else int(value)  # type: ignore[arg-type]
