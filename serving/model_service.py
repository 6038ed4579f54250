"""Answers for one model: inputs, scores, tripwires and the log, behind HTTP and the stream alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from headrace.clock import Clock
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.rollout import RolloutRecord
from headrace.errors import UnavailableError
from headrace.logging import get_logger
from headrace.spec.model import Model
from serving.feature_matrix import FeatureMatrix, ViewRows
from serving.metrics import Metrics
from serving.predictor import Answer, Scored, choose, score_version
from serving.record_follower import Loaded, RecordFollower
from serving.request_event import RequestEvent
from serving.router import Route, on_trial, route
from serving.score_along import AlongJob, ScoreAlong
from serving.trial_guard import TrialGuard

__all__ = ["ModelService", "Prediction"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answered event."""

    answer: Answer
    record: PredictionRecord
    """As it is logged; ``scores`` of versions that only score along come later."""


class ModelService:
    """Scores events of one model.

    Args:
        model: its definition.
        follower: what is loaded.
        write: takes each finished prediction; must not block.
        along: where versions that only score along do so; None scores them before the answer.
        metrics: counters.
        clock: wall clock.
        source: ``http`` or ``stream``.
    """

    def __init__(
        self,
        model: Model,
        follower: RecordFollower,
        write: Callable[[PredictionRecord], None],
        *,
        along: ScoreAlong | None,
        metrics: Metrics,
        clock: Clock,
        source: str,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.model = model
        self._follower, self._write, self._along = follower, write, along
        self._metrics, self._clock, self._source, self._timer_ns = metrics, clock, source, timer_ns
        self._matrix = FeatureMatrix(model)
        self._guard = TrialGuard(model.rollout.tripwires, self._tripped)
        self._entities = tuple({view.entity for view in model.views})
        self._unit, self._time = model.routing_unit, model.events.time

    def predict(self, events: Sequence[RequestEvent], rows: Sequence[ViewRows] | str) -> list[Prediction]:
        """Answer each event and log it.

        Args:
            events: one or more.
            rows: the lookups of the same events, or why there are none: then nobody scores and the answer says so.

        Raises:
            UnavailableError: the model has no version loaded.
        """
        loaded = self._follower.current(self.model.name)
        if loaded is None:
            raise UnavailableError(
                f"model {self.model.name!r} has no version to answer with",
                hint=self._follower.problem(self.model.name) or "train one: `headrace train` or `headrace retrain`",
            )
        routes = [route(loaded.routing, str(event.fields[self._unit])) for event in events]
        if isinstance(rows, str):
            return self._without_features(loaded.routing, events, routes, rows)
        try:
            matrix = self._matrix.fill(events, rows)
        except Exception as error:  # request features are code of the project
            _log.error("inputs cannot be put together", error=error, model=self.model.name)
            return self._without_features(loaded.routing, events, routes, f"features unavailable: {error!r}")
        return self._score(loaded, events, rows, matrix, routes)

    def _score(
        self,
        loaded: Loaded,
        events: Sequence[RequestEvent],
        rows: Sequence[ViewRows],
        matrix: npt.NDArray[np.float64],
        routes: Sequence[Route],
    ) -> list[Prediction]:
        last_us = max(event.time_us for event in events)
        scored: dict[str, Scored] = {}
        for version in dict.fromkeys(chosen.serves for chosen in routes):
            scored[version] = score_version(loaded.versions[version], matrix, self._timer_ns)
        barred = self._guard.observe(loaded.routing, scored, matrix, last_us)
        for number, chosen in enumerate(routes):
            version, fails = chosen.understudy, scored[chosen.serves].usable(number) is None
            if version and version not in scored and (fails or chosen.serves == barred):
                scored[version] = score_version(loaded.versions[version], matrix, self._timer_ns)
        predictions = []
        for number, (event, found, chosen) in enumerate(zip(events, rows, routes, strict=True)):
            answer = choose(chosen, number, scored, loaded.thresholds, barred=barred)
            record = self._record(loaded.routing, event, found, matrix[number], answer, number, scored)
            predictions.append(Prediction(answer=answer, record=record))
            self._metrics.prediction(self.model.name, answer.version, self._source, fallback=answer.score is None)
        left = [version for version in routes[0].versions if version not in scored]
        if not left:
            self._log(predictions)
            return predictions

        def run() -> None:
            later = {version: score_version(loaded.versions[version], matrix, self._timer_ns) for version in left}
            self._guard.observe(loaded.routing, later, matrix, last_us)
            for number, prediction in enumerate(predictions):
                self._write(_completed(prediction.record, number, later))

        if self._along is None:
            run()
        else:
            self._along.submit(AlongJob(run, skip=lambda: self._log(predictions)))
        return predictions

    def _without_features(
        self, record: RolloutRecord, events: Sequence[RequestEvent], routes: Sequence[Route], reason: str
    ) -> list[Prediction]:
        nothing = np.full(len(self._matrix.names), np.nan)
        predictions = []
        for event, chosen in zip(events, routes, strict=True):
            answer = Answer(version=chosen.serves, score=None, flagged=False, fallback=reason)
            logged = self._record(record, event, {}, nothing, answer, 0, {})
            predictions.append(Prediction(answer=answer, record=logged))
            self._metrics.prediction(self.model.name, answer.version, self._source, fallback=True)
        self._log(predictions)
        return predictions

    def _record(
        self,
        record: RolloutRecord,
        event: RequestEvent,
        rows: ViewRows,
        inputs: npt.NDArray[np.float64],
        answer: Answer,
        number: int,
        scored: dict[str, Scored],
    ) -> PredictionRecord:
        return PredictionRecord(
            model=self.model.name,
            prediction_id=f"{event.id}/{self._source}",
            event_id=str(event.id),
            event_us=event.time_us,
            unit=str(event.fields[self._unit]),
            entities={entity: str(event.fields[entity]) for entity in self._entities},
            event={**event.fields, self._time: event.time_us},
            features={
                name: None if value != value else value  # NaN is null
                for name, value in zip(self._matrix.names, inputs.tolist(), strict=True)
            },
            views={
                name: {
                    "status": row.status,
                    "version": row.version,
                    "watermark_us": row.watermark_us,
                    "own_event": row.own_event,
                }
                for name, row in rows.items()
            },
            served_version=answer.version,
            score=answer.score,
            flagged=answer.flagged,
            scores={version: seen.usable(number) for version, seen in scored.items()},
            latency_us={version: seen.latency_us for version, seen in scored.items()},
            fallback=answer.fallback,
            epoch=record.epoch,
            stage=record.stage,
            source=self._source,
            at_us=self._clock.now_us(),
        )

    def _log(self, predictions: Sequence[Prediction]) -> None:
        for prediction in predictions:
            self._write(prediction.record)

    def _tripped(self, record: RolloutRecord, reason: str, at_us: int) -> None:
        self._follower.end_trial(record, reason, at_us)
        self._metrics.tripped(self.model.name, on_trial(record))


def _completed(record: PredictionRecord, number: int, later: dict[str, Scored]) -> PredictionRecord:
    return replace(
        record,
        scores={**record.scores, **{version: seen.usable(number) for version, seen in later.items()}},
        latency_us={**record.latency_us, **{version: seen.latency_us for version, seen in later.items()}},
    )
