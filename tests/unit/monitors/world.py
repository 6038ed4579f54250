"""A small world to watch: three inputs, a logistic model on them, labels an hour or two later, drifts to order."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors.numpy
from numpy.typing import NDArray

from feature_store.ids import event_id64
from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, LoadedModel
from headrace.contracts.artifacts import DatasetManifest, ModelManifest
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.dataset_format import DatasetRows, read_rows, write_dataset
from headrace.manifest_file import write_manifest
from headrace.spec.model import Model
from headrace.spec.policies import MonitorPolicy, SlicesHold
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Float64, Int64
from monitors.model_monitor import ModelMonitor, Outlook
from monitors.reference import Reference, make_reference

__all__ = [
    "HOUR_US",
    "NAMES",
    "START_US",
    "Bench",
    "Hour",
    "World",
    "make_bench",
    "make_model",
    "records_of",
    "write_version",
]

HOUR_US = 3_600_000_000
START_US = 1_700_006_400_000_000 // (24 * HOUR_US) * (24 * HOUR_US)
REPLAYED_US = START_US + 300 * 86_400_000_000
"""Wall clock of a replay; nobody must take its records for live ones, after which time moves by itself."""
NAMES = ("amount", "risk", "visits")


def make_model(name: str = "cards", **policy: Any) -> Model:
    """A model whose inputs are event fields; windows of an hour, labels known after two."""
    events = EventStream(
        f"{name}-events",
        key="card",
        time="at",
        id="event",
        schema={"card": Int64, "amount": Float64, "risk": Float64, "visits": Int64},
        lateness="5m",
    )
    labels = LabelStream(f"{name}-labels", of=events, value="bad", delay="2h")
    settings = {"window": "1h", "min_rows": 100, "freshness": "30m", **policy}
    return Model(
        name,
        features=NAMES,
        label=labels,
        gates=(SlicesHold(columns=("amount",)),),
        monitors=MonitorPolicy(**settings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """Events of one hour."""

    ids: NDArray[Any]
    times_us: NDArray[Any]
    cards: NDArray[Any]
    inputs: NDArray[Any]
    labels: NDArray[Any]


@dataclass(slots=True)
class World:
    """Draws events, the same for the same seed."""

    rows: int = 400
    """Events of an hour."""
    seed: int = 0
    share: float = 0.1
    """About that share of events is bad."""
    _rng: np.random.Generator = field(init=False)
    _next_id: int = 0

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def hour(self, number: int, *, shift: float = 0.0, flip: bool = False, rows: int | None = None) -> Hour:
        """Events of the hour ``number`` after the start.

        Args:
            number: which hour.
            shift: added to the logarithm of the amounts, in standard deviations.
            flip: what made an event bad makes it good (concept drift).
            rows: how many, when other than usual.
        """
        count = self.rows if rows is None else rows
        rng = self._rng
        log_amount = rng.normal(shift, 1.0, count)
        risk, visits = rng.beta(2, 5, count), rng.poisson(4, count).astype(np.float64)
        logit = 1.5 * (log_amount - shift) + 3 * (risk - 0.3)
        chance = 1 / (1 + np.exp(-((-logit if flip else logit) + np.log(self.share))))
        ids = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        return Hour(
            ids=ids,
            times_us=np.sort(START_US + number * HOUR_US + rng.integers(0, HOUR_US, count)),
            cards=rng.integers(0, 60, count),
            inputs=np.stack([np.exp(log_amount), risk, visits], axis=1),
            labels=(rng.random(count) < chance).astype(np.int8),
        )


def write_version(
    models: Path, datasets: Path, model: Model, *, version: str = "v1", rows: int = 6000
) -> ModelManifest:
    """A training set of the stable world and a logistic model on it, on disk as trainers leave them."""
    world = World(rows=250, seed=99)
    hours = [world.hour(number - 24) for number in range(24)]
    times = np.concatenate([hour.times_us for hour in hours])
    table = pa.table(
        {
            "event": np.concatenate([hour.ids for hour in hours]),
            "at": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC")),
            **{name: np.concatenate([hour.inputs[:, c] for hour in hours]) for c, name in enumerate(NAMES)},
            "bad": np.concatenate([hour.labels for hour in hours]),
        }
    )
    dataset = write_dataset(
        datasets,
        table,
        DatasetManifest(
            dataset_id="",
            model=model.name,
            content_hash="",
            mode="as_served",
            start_us=int(times[0]),
            end_us=START_US,
            as_of_us=START_US,
            rows=table.num_rows,
            positives=int(np.sum(table["bad"].to_numpy())),
            features=NAMES,
            definitions={},
            sources={},
            columns=tuple(table.column_names),
        ),
    )
    # The world's own law on the expanded inputs (x, log(1 + |x|)): close to 1.5 log(amount) + 3 risk.
    weight = np.array([[0.0], [3.0], [0.0], [2.2], [0.0], [0.0]])
    payload = safetensors.numpy.save(
        {
            "low": np.full(3, -1e6),
            "high": np.full(3, 1e6),
            "mean": np.zeros(6),
            "scale": np.ones(6),
            "calibration": np.array([1.0, 0.0]),
            "weight_0": weight,
            "bias_0": np.array([-5.2]),
        }
    )
    folder = models / model.name / version
    folder.mkdir(parents=True)
    (folder / WEIGHTS_FILE).write_bytes(payload)
    manifest = ModelManifest(
        model=model.name,
        version=version,
        weights_file=WEIGHTS_FILE,
        weights_sha256=hashlib.sha256(payload).hexdigest(),
        architecture={"kind": "mlp", "inputs": len(NAMES), "hidden": []},
        features=NAMES,
        definitions={},
        dataset_id=dataset.dataset_id,
        dataset_hash=dataset.content_hash,
        trained_from_us=dataset.start_us,
        trained_until_us=dataset.end_us,
        threshold=0.4,
        metrics={},
    )
    write_manifest(folder / MANIFEST_FILE, manifest)
    return manifest


def records_of(
    hour: Hour,
    model: Model,
    scores: dict[str, NDArray[Any]],
    *,
    served: str = "v1",
    epoch: int = 1,
    source: str = "stream",
    nulls: dict[str, float] | None = None,
    absent: str = "",
) -> Iterator[PredictionRecord]:
    """The prediction log of an hour.

    Args:
        hour: events.
        model: who is asked.
        scores: version -> score of each event; NaN where it failed.
        served: version that answers, or "half" for even cards by the first and odd ones by the second.
        epoch: of the rollout record.
        source: ``http`` or ``stream``.
        nulls: input -> share of events that lack its value.
        absent: input that is not in the record at all.
    """
    rng = np.random.default_rng(7)
    lost = {name: rng.random(len(hour.ids)) < share for name, share in (nulls or {}).items()}
    versions = list(scores)
    for n, event in enumerate(hour.ids.tolist()):
        answers = versions[int(hour.cards[n]) % 2] if served == "half" else served
        features: dict[str, float | None] = {
            name: None if name in lost and lost[name][n] else float(hour.inputs[n, c])
            for c, name in enumerate(NAMES)
            if name != absent
        }
        known = {version: None if np.isnan(s[n]) else float(s[n]) for version, s in scores.items()}
        yield PredictionRecord(
            model=model.name,
            prediction_id=f"{event}/{source}",
            event_id=str(event),
            event_us=int(hour.times_us[n]),
            unit=str(int(hour.cards[n])),
            entities={"card": str(int(hour.cards[n]))},
            event={},
            features=features,
            views={},
            served_version=answers,
            score=known.get(answers),
            flagged=bool((known.get(answers) or 0.0) >= 0.4),
            scores=known,
            latency_us={},
            fallback="",
            epoch=epoch,
            stage="steady",
            source=source,
            at_us=REPLAYED_US,
        )


@dataclass(slots=True)
class Bench:
    """A monitor on the world, without servers."""

    model: Model
    reference: Reference
    scorer: LoadedModel
    records: dict[int, RolloutRecord]
    monitor: ModelMonitor = field(init=False)

    def __post_init__(self) -> None:
        self.monitor = self.new_monitor()

    def new_monitor(self) -> ModelMonitor:
        """A monitor that knows nothing yet."""
        references = {"v1": self.reference, "v2": dataclasses.replace(self.reference, version="v2")}
        return ModelMonitor(
            self.model,
            Outlook(
                reference=references.get,
                threshold=lambda _: self.reference.threshold,
                records=lambda epochs: {epoch: self.records[epoch] for epoch in epochs if epoch in self.records},
            ),
        )

    def feed(self, hour: Hour, **options: Any) -> None:
        """Predictions of an hour."""
        scores = options.pop("scores", None) or {"v1": self.scorer.score(hour.inputs)}
        for record in records_of(hour, self.model, scores, **options):
            self.monitor.add_prediction(record)

    def label(self, hour: Hour) -> None:
        """Labels of an hour."""
        for event, value in zip(hour.ids.tolist(), hour.labels.tolist(), strict=True):
            self.monitor.add_label(event_id64(str(event)), value)

    def close(self, number: int) -> Any:
        """Report of the hour ``number``."""
        end_us = START_US + (number + 1) * HOUR_US
        assert self.monitor.next_end_us(end_us) == end_us
        return self.monitor.close(end_us).report

    def play(self, world: World, hours: Sequence[int], **drift: Any) -> list[Any]:
        """Hour after hour, labels two hours later; reports."""
        reports, past = [], {}
        for number in hours:
            past[number] = world.hour(number, **drift)
            self.feed(past[number])
            if number - 2 in past:
                self.label(past[number - 2])
            reports.append(self.close(number))
        return reports


def make_bench(folder: Path, **policy: Any) -> Bench:
    """A monitor with the reference of a stable world."""
    model = make_model(**policy)
    manifest = write_version(folder / "models", folder / "datasets", model)
    scorer = LoadedModel.load(folder / "models" / model.name / "v1")
    rows = read_rows(folder / "datasets" / manifest.dataset_id)
    return Bench(
        model=model,
        reference=make_reference(rows, _newest_quarter(rows), scorer),
        scorer=scorer,
        records={1: RolloutRecord(model=model.name, epoch=1, stage=Stage.STEADY, champion="v1")},
    )


def _newest_quarter(rows: DatasetRows) -> DatasetRows:
    last = slice(len(rows.times_us) * 3 // 4, None)
    return dataclasses.replace(
        rows,
        times_us=rows.times_us[last],
        features_NF=rows.features_NF[last],
        labels=rows.labels[last],
        fields={},
    )
