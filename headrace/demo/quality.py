"""How good the answers were, week by week, from the prediction log and the labels that came later."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.artifact_format import LoadedModel
from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.topics import PREDICTIONS
from headrace.demo.source import Source
from headrace.demo.summary import WeekQuality
from headrace.kafka_clients import read_topic
from trainers.metrics import average_precision

__all__ = ["PredictionLog", "read_predictions", "weeks"]

MIN_FRAUDS = 10
"""Fewer in a week, and its average precision says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PredictionLog:
    """The first prediction of each event: N events, F inputs."""

    times_us: np.ndarray
    event_ids: np.ndarray
    """(N,) int64."""
    scores: np.ndarray
    """(N,) float64 of the version that answered; NaN where the fallback did."""
    features_NF: np.ndarray
    versions: tuple[str, ...]
    records: int
    """Records read, repeated events included."""
    fallbacks: int


def read_predictions(settings: Settings, model: str, features: tuple[str, ...]) -> PredictionLog:
    """The whole prediction log of a model, as it is in Kafka now."""
    return _gather(
        (
            decode(message.value(), PredictionRecord)
            for message in read_topic(settings, PREDICTIONS.name)
            if message.value()
        ),
        model,
        features,
    )


def _gather(records: Iterable[PredictionRecord], model: str, features: tuple[str, ...]) -> PredictionLog:
    seen: set[str] = set()
    times, ids, scores, rows, versions = [], [], [], [], []
    count = fallbacks = 0
    for record in records:
        if record.model != model:
            continue
        count += 1
        fallbacks += bool(record.fallback)
        if record.event_id in seen:
            continue
        seen.add(record.event_id)
        times.append(record.event_us)
        ids.append(int(record.event_id))
        scores.append(math.nan if record.score is None else record.score)
        rows.append([math.nan if (value := record.features.get(name)) is None else value for name in features])
        versions.append(record.served_version)
    return PredictionLog(
        times_us=np.array(times, dtype=np.int64),
        event_ids=np.array(ids, dtype=np.int64),
        scores=np.array(scores, dtype=np.float64),
        features_NF=np.array(rows, dtype=np.float64).reshape(len(rows), len(features)),
        versions=tuple(versions),
        records=count,
        fallbacks=fallbacks,
    )


def weeks(log: PredictionLog, source: Source, first_model: Path) -> tuple[WeekQuality, ...]:
    """Average precision of each week of events: the first model, frozen, against whatever answered."""
    frozen = LoadedModel.load(first_model).score(log.features_NF) if log.times_us.size else np.array([])
    ids = np.asarray(source.table[source.stream.id].to_numpy())
    order = np.argsort(ids)
    labels = source.frauds()[order][np.searchsorted(ids[order], log.event_ids)] if log.times_us.size else np.array([])
    found = []
    for week in range(math.ceil(source.days / 7)):
        inside = (log.times_us >= source.day_end_us(week * 7 - 1)) & (log.times_us < source.day_end_us(week * 7 + 6))
        answered = inside & np.isfinite(log.scores)
        frauds = int(labels[answered].sum())
        enough = frauds >= MIN_FRAUDS
        found.append(
            WeekQuality(
                week=week,
                events=int(inside.sum()),
                frauds=frauds,
                frozen=average_precision(labels[answered], frozen[answered]) if enough else None,
                champion=average_precision(labels[answered], log.scores[answered]) if enough else None,
            )
        )
    return tuple(week for week in found if week.events)
