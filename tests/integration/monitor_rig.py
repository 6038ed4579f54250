"""A project of its own on the shared stack: topics, a model on disk, predictions and labels as others write them."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import redis

from headrace.artifact_format import LoadedModel
from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.monitoring import Incident, WindowReport
from headrace.contracts.redis_keys import agents_progress_key, monitor_progress_key
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from headrace.contracts.streams import WATERMARK_HEADER
from headrace.contracts.topics import ALERTS, CONTROL_TOPICS, DEPLOYMENTS, DRIFT, PREDICTIONS, Topic
from headrace.kafka_clients import ensure_topics, partition_counts, read_topic
from headrace.kafka_sender import Sender
from headrace.spec.model import Model
from headrace.spec.project import Project, load_project
from tests.eventually import eventually
from tests.unit.monitors.world import HOUR_US, START_US, Hour, World, records_of, write_version

__all__ = ["Rig", "make_rig"]

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Rig:
    """One model, its topics and its folder."""

    settings: Settings
    project: Project
    model: Model
    scorer: LoadedModel
    sender: Sender

    def predict(self, hour: Hour, **options: object) -> None:
        """Publish the predictions of an hour."""
        scores = {"v1": self.scorer.score(hour.inputs)}
        for record in records_of(hour, self.model, scores, **options):  # type: ignore[arg-type]
            self.sender.send_contract(PREDICTIONS, record, key=record.unit)
        self.sender.flush()

    def label(self, hour: Hour) -> None:
        """Publish the labels of an hour."""
        for event, value in zip(hour.ids.tolist(), hour.labels.tolist(), strict=True):
            self.sender.send(self.model.label.name, b'{"event": %d, "bad": %d}' % (event, value), key=str(event))
        self.sender.flush()

    def tick(self, number: int) -> None:
        """Say on every partition of events and labels that the hour ``number`` is over, as a replay does."""
        until = str(START_US + (number + 1) * HOUR_US)
        topics = [self.model.label.name, self.model.events.name]
        for topic, count in partition_counts(self.settings, topics).items():
            for partition in range(count):
                self.sender.send(topic, b"", partition=partition, headers={WATERMARK_HEADER: until})
        self.sender.flush()

    def deploy(self, record: RolloutRecord, kind: str) -> None:
        """Announce a rollout record."""
        change = RolloutChange(record=record, kind=kind, evidence={}, wall_us=0)
        self.sender.send_contract(DEPLOYMENTS, change, key=record.model)
        self.sender.flush()

    def publish(self, report: WindowReport) -> None:
        """Write a report as the monitor would."""
        self.sender.send_contract(DRIFT, report, key=report.model)
        self.sender.flush()

    def play(self, world: World, hours: Sequence[int], past: dict[int, Hour], **drift: object) -> None:
        """Hour after hour, labels two hours later, each hour ended by a tick."""
        for number in hours:
            past[number] = world.hour(number, **drift)  # type: ignore[arg-type]
            if number - 2 in past:
                self.label(past[number - 2])
            self.predict(past[number])
            self.tick(number)

    def reports(self) -> list[WindowReport]:
        """Reports of this model on the topic, in order, without the paths of samples."""
        return [
            dataclasses.replace(decode(value, WindowReport), reference_path="", current_path="")
            for value in self._mine(DRIFT)
        ]

    def incidents(self) -> list[Incident]:
        """Incidents of this model on the topic, in order."""
        return [decode(value, Incident) for value in self._mine(ALERTS)]

    def closed(self, number: int) -> None:
        """Wait until the monitor has closed the hour ``number``."""
        until_us = START_US + (number + 1) * HOUR_US
        eventually(
            lambda: self._progress(monitor_progress_key(self.model.name), "until_us") >= until_us,
            timeout_s=150,
            what=f"hour {number} closed",
        )

    def handled(self, until_us: int) -> None:
        """Wait until the agents have handled reports up to an event time."""
        eventually(
            lambda: self._progress(agents_progress_key(self.model.name), "until_us") >= until_us,
            timeout_s=150,
            what="report handled",
        )

    def spawn(self, role: str, **environment: str) -> subprocess.Popen[bytes]:
        """``headrace run ROLE`` as a process of its own."""
        settings = self.settings
        named = {
            "HEADRACE_HOME": str(settings.home),
            "HEADRACE_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "HEADRACE_REDIS_URL": settings.redis.url,
            "HEADRACE_TEMPORAL_ADDRESS": settings.temporal.address,
            **environment,
        }
        base = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        return subprocess.Popen(
            [sys.executable, "-m", "headrace", "run", role, "--project", str(self.project.path)],
            cwd=ROOT,
            env={**base, **named},
            stdin=subprocess.DEVNULL,
        )

    def _mine(self, topic: Topic) -> list[bytes]:
        """Messages whose key carries this model's name; the topic is everybody's."""
        name = self.model.name.encode()
        return [message.value() for message in read_topic(self.settings, topic.name) if name in (message.key() or b"")]

    def _progress(self, key: str, name: str) -> int:
        client = redis.Redis.from_url(self.settings.redis.url)
        try:
            value = client.hget(key, name)
        finally:
            client.close()
        return -1 if value is None else int(value)  # type: ignore[arg-type]


def make_rig(stack: Settings, home: Path, name: str) -> Rig:
    """A fresh model under ``name`` with its own home on the stack's servers."""
    settings = dataclasses.replace(stack, home=home)
    folder = home / name
    folder.mkdir(parents=True)
    (folder / "definitions.py").write_text(
        f"from tests.unit.monitors.world import make_model\n\nmodel = make_model({name!r})\n"
    )
    project = load_project(folder)
    model = project.model(name)
    write_version(settings.models_dir, settings.datasets_dir, model)
    ensure_topics(settings, [*CONTROL_TOPICS, model.events.name, model.label.name])
    rig = Rig(
        settings=settings,
        project=project,
        model=model,
        scorer=LoadedModel.load(settings.models_dir / name / "v1"),
        sender=Sender(settings),
    )
    rig.deploy(RolloutRecord(model=name, epoch=1, stage=Stage.STEADY, champion="v1"), "champion")
    return rig
