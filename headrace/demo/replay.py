"""One day after another: publish, let everybody act upon it, tell what happened."""

from dataclasses import dataclass, field

import numpy as np

from headrace.contracts.control import ControllerState
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from headrace.demo.harness import Harness
from headrace.demo.pages import PageBook
from headrace.demo.source import Source
from streams.publisher import Publisher

__all__ = ["Replay"]

ASKED_PER_DAY = 150
"""Events of a day a foreign service asks for by name, beside the steady load."""
ASKED_BEFORE = 15
"""Events asked for before the stream has seen them."""


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
            self._publish(self.day)
            if self.day % 7 == 6 or self.day == until_day - 1:
                narrator.say(f"{self.events:,} events published and in both stores", day=self.day)
            self.day += 1

    def play_day(self) -> None:
        """A day with a model in service, and what it brings about."""
        client = self.harness.client
        assert client is not None
        rows = np.arange(self.source.rows_of(self.day).start, self.source.rows_of(self.day).stop)
        early = self._safe_before_stream(rows)[:ASKED_BEFORE]
        if early.size:
            self.asked_before += client.ask(self.source.requests(early.tolist()))["asked"]
        end_us = self._publish(self.day)
        sample = self.source.requests(rows[:: max(1, rows.size // ASKED_PER_DAY)].tolist())
        client.steady(sample)
        client.ask(sample)
        barriers, project = self.harness.barriers, self.harness.project
        barriers.consumed("scorer", self.source.stream.name, f"headrace.score.{project.name}")
        window = barriers.watched(end_us)
        barriers.signalled(window)
        self.state = barriers.settled(self.harness.controller, window)
        self.tell()
        self.day += 1

    def tell(self) -> None:
        """Say what changed since the last time: pages, decisions, records."""
        narrator, source = self.harness.narrator, self.source
        for page in self.pages.news():
            narrator.moment("incident", page.text, day=source.day_of(page.at_us))
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

    def _publish(self, day: int) -> int:
        end_us = self.source.day_end_us(day)
        self.events += self.publisher.publish_until(end_us)
        self.harness.barriers.applied(end_us)
        return end_us

    def _safe_before_stream(self, rows: np.ndarray) -> np.ndarray:
        """Events whose features are known before the day is published.

        That is the first event of a customer on that day, at a terminal where no label of the day falls due before it.
        """
        model = self.harness.model
        table, times = self.source.table, self.source.times_us
        unit = np.asarray(table[model.events.key].to_numpy())[rows]
        first = np.zeros(rows.size, dtype=bool)
        first[np.unique(unit, return_index=True)[1]] = True
        delay = self.source.labels.delay_us
        due = slice(
            *np.searchsorted(
                times, [self.source.day_end_us(self.day - 1) - delay, self.source.day_end_us(self.day) - delay]
            )
        )
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
