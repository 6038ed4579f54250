"""What the messages a monitor reads mean: predictions, labels, deployments and ticks.

A tick is an empty message with a header: nothing before that event time follows in its partition.
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from feature_store.ids import event_id64
from headrace.contracts.codec import decode
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.rollout import RolloutChange
from headrace.contracts.streams import WATERMARK_HEADER
from headrace.errors import IntegrityError
from headrace.spec.streams import LabelStream

__all__ = ["Label", "read_deployment", "read_label", "read_prediction", "tick_of"]

_PREDICTION = msgspec.json.Decoder(PredictionRecord)


@dataclass(frozen=True, slots=True)
class Label:
    """An outcome became known."""

    event_id: int
    """64-bit id of the event."""
    value: int
    """0 or 1."""


def tick_of(message: Any) -> int | None:
    """Event time of a tick; None when the message is none.

    Raises:
        IntegrityError: the header is no number.
    """
    if message.value():
        return None
    for name, value in message.headers() or ():
        if name == WATERMARK_HEADER:
            try:
                return int(value)
            except ValueError as error:
                raise IntegrityError(f"header {WATERMARK_HEADER} is {value!r}, not whole microseconds") from error
    return None


def read_prediction(data: bytes) -> PredictionRecord:
    """One record of the prediction log.

    Raises:
        IntegrityError: the bytes are none.
    """
    try:
        return _PREDICTION.decode(data)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"no PredictionRecord: {error}") from error


def read_deployment(data: bytes) -> RolloutChange:
    """One change of a rollout record.

    Raises:
        IntegrityError: the bytes are none.
    """
    return decode(data, RolloutChange)


def read_label(data: bytes, labels: LabelStream) -> Label:
    """One outcome; the id may be written as a number or as text, as in the events.

    Raises:
        IntegrityError: not an object with an id and 0 or 1.
    """
    try:
        fields = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise IntegrityError(f"no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise IntegrityError(f"not an object but {type(fields).__name__}")
    event_id, value = fields.get(labels.of.id), fields.get(labels.value)
    if not isinstance(event_id, int | str) or isinstance(event_id, bool):
        raise IntegrityError(f"{labels.of.id} is {event_id!r}")
    if value not in (0, 1):
        raise IntegrityError(f"{labels.value} is {value!r}; a label is 0 or 1")
    return Label(event_id64(str(event_id)), int(value))
