"""Request and answer of ``POST /predict/<model>``.

{"event": {...}}        one event; the bare event object is taken as well
{"events": [{...}, …]}  a batch, answered in the same order
"""

from collections.abc import Sequence
from typing import Any

from headrace.spec.model import Model
from serving.http.request_error import RequestError
from serving.model_service import Prediction
from serving.request_event import EventReader, RequestEvent

__all__ = ["PredictPayload"]


class PredictPayload:
    """Reads and answers the requests of one model.

    Args:
        model: what is asked.
        max_batch: most events of one request.
    """

    def __init__(self, model: Model, max_batch: int) -> None:
        self._reader = EventReader(model.events)
        self._max_batch = max_batch
        own = {*model.events.schema, model.events.time}
        self._one, self._many = ("event" not in own), ("events" not in own)

    def read(self, payload: object, *, now_us: int) -> tuple[list[RequestEvent], bool]:
        """The events of a decoded request, and whether it is a batch.

        Raises:
            RequestError: names the field.
        """
        if not isinstance(payload, dict):
            raise RequestError("", "the body is no JSON object", hint='send {"event": {...}} or {"events": [...]}')
        if self._many and "events" in payload:
            _nothing_else(payload, "events")
            return self._batch(payload["events"], now_us), True
        if self._one and "event" in payload:
            _nothing_else(payload, "event")
            return [self._reader.read(payload["event"], now_us=now_us, where="event.")], False
        return [self._reader.read(payload, now_us=now_us)], False

    def answer(self, predictions: Sequence[Prediction], *, batch: bool) -> dict[str, Any]:
        """What is sent back."""
        answers = [_answer(prediction) for prediction in predictions]
        return {"predictions": answers} if batch else answers[0]

    def _batch(self, given: object, now_us: int) -> list[RequestEvent]:
        if not isinstance(given, list) or not given:
            raise RequestError("events", "is no array of events" if given != [] else "is empty")
        if len(given) > self._max_batch:
            raise RequestError(
                "events", f"has {len(given)} events; at most {self._max_batch} are answered at once", status=413
            )
        return [
            self._reader.read(event, now_us=now_us, where=f"events[{number}].") for number, event in enumerate(given)
        ]


def _nothing_else(payload: dict[str, Any], name: str) -> None:
    for other in payload:
        if other != name:
            raise RequestError(other, f"stands beside {name!r}", hint=f"fields of the event belong into {name!r}")


def _answer(prediction: Prediction) -> dict[str, Any]:
    record = prediction.record
    return {
        "prediction_id": record.prediction_id,
        "model": record.model,
        "version": record.served_version,
        "stage": record.stage,
        "epoch": record.epoch,
        "score": record.score,
        "flagged": record.flagged,
        "fallback": record.fallback,
        "features": record.features,
        "views": record.views,
    }
