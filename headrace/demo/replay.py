"""One day after another: publish, let everybody act upon it, tell what happened."""

from dataclasses import dataclass, field

import numpy as np

from headrace.contracts.control import ControllerState
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from headrace.contracts.topics import scorer_group
from headrace.demo.harness import Harness
from headrace.demo.pages import PageBook
from headrace.demo.source import DAY_US, Source
from streams.publisher import Publisher

__all__ = ["Replay"]

STEPS_PER_DAY = 8
STEP_US = DAY_US // STEPS_PER_DAY
"""A replay must not run further ahead of its readers than the stream's lateness allows them to look back (6 h)."""
ASKED_AFTER = 20
"""Events of a step a foreign service asks for by name, beside the steady load."""
ASKED_BEFORE = 2
"""Events of a step asked for before the stream has seen them."""


@dataclass(slots=True)
class Replay:
    """Plays days of a source into the running loop."""

    harness: Harness
    source: Source
    publisher: Publisher
    pages: PageBook
    day: int = 0
    """Next day to play."""
    events: int = 0
    asked_before: int = 0
    told_epoch: int = 0
    told_sentences: tuple[str, ...] = ()
    changes: list[RolloutChange] = field(default_factory=list)
    state: ControllerState | None = None

    def warm_up(self, until_day: int) -> None:
        """Days without a model: features only."""
        narrator = self.harness.narrator
        while self.day < until_day:
            self._publish(self.source.day_end_us(self.day))
            if self.day % 7 == 6 or self.day == until_day - 1:
                narrator.say(f"{self.events:,} events published and in both stores", day=self.day)
            self.day += 1

    def play_day(self) -> None:
        """A day with a model in service, and what it brings about."""
        barriers, project = self.harness.barriers, self.harness.project
        start_us = self.source.day_end_us(self.day - 1)
        for number in range(STEPS_PER_DAY):
            self._step(start_us + number * STEP_US, start_us + (number + 1) * STEP_US)
            barriers.consumed("scorer", self.source.stream.name, scorer_group(project.name))
        window = barriers.watched(start_us + DAY_US)
        barriers.signalled(window)
        self.state = barriers.settled(self.harness.controller, window)
        self.tell()
        self.day += 1

    def _step(self, from_us: int, until_us: int) -> None:
        """A stretch of a day: asked before the stream has it, published, asked again, and under steady load."""
        client = self.harness.client
        assert client is not None
        low, high = (int(at) for at in np.searchsorted(self.source.times_us, [from_us, until_us]))
        rows = np.arange(low, high)
        early = self._safe_before_stream(rows, from_us, until_us)[:ASKED_BEFORE]
        if early.size:
            self.asked_before += client.ask(self.source.requests(early.tolist()))["asked"]
        self._publish(until_us)
        if rows.size:
            sample = self.source.requests(rows[:: max(1, rows.size // ASKED_AFTER)].tolist())
            client.steady(sample)
            client.ask(sample)

    def tell(self) -> None:
        """Say what changed since the last time: pages, decisions, records."""
        narrator, source = self.harness.narrator, self.source
        for page in self.pages.news():
            if page.action == "trigger":
                narrator.moment("incident", page.text, day=source.day_of(page.at_us))
            else:
                narrator.moment("resolved", page.text, day=self.day + 1)
        sentences = self.state.history if self.state is not None else ()
        for sentence in sentences:
            if sentence not in self.told_sentences:
                kind = "rejected" if " rejected, " in sentence else ""
                if kind:
                    narrator.moment(kind, sentence[17:], day=self.day + 1)
                elif "retraining" in sentence:
                    narrator.say(sentence[17:], day=self.day + 1)
        self.told_sentences = sentences
        history = self.harness.rollouts.history(self.harness.model.name)
        for change in history[len(self.changes) :]:
            record = change.record
            narrator.moment(
                _kind(change), f"[bold]{change.kind}[/]: {_sentence(record)}", day=source.day_of(record.at_us)
            )
        self.changes = list(history)

    def record(self) -> RolloutRecord | None:
        """The rollout record in force."""
        return self.harness.rollouts.read(self.harness.model.name)

    def _publish(self, until_us: int) -> None:
        self.events += self.publisher.publish_until(until_us)
        self.harness.barriers.applied(until_us)

    def _safe_before_stream(self, rows: np.ndarray, from_us: int, until_us: int) -> np.ndarray:
        """Events whose features are known before the step is published.

        That is the first event of a customer in the step, at a terminal where no label of the step falls due.
        """
        model, table, times = self.harness.model, self.source.table, self.source.times_us
        if not rows.size:
            return rows
        unit = np.asarray(table[model.events.key].to_numpy())[rows]
        first = np.zeros(rows.size, dtype=bool)
        first[np.unique(unit, return_index=True)[1]] = True
        delay = self.source.labels.delay_us
        due = slice(*(int(at) for at in np.searchsorted(times, [from_us - delay, until_us - delay])))
        for view in model.views:
            if view.entity != model.events.key:
                keys = np.asarray(table[view.entity].to_numpy())
                first &= ~np.isin(keys[rows], keys[due])
        return rows[first]


def _kind(change: RolloutChange) -> str:
    if change.kind in ("champion", "rollback"):
        return change.kind
    return "promote" if change.record.stage is Stage.PROBATION else "step"


def _sentence(record: RolloutRecord) -> str:
    who = f"champion {record.champion}"
    if record.challenger is not None:
        who += f", {'predecessor' if record.stage is Stage.PROBATION else 'challenger'} {record.challenger}"
    share = f" at {record.share:.0%}" if record.share else ""
    return f"{record.stage}{share}, {who} ({record.reason})"
