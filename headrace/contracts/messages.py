"""How a part that is not the stream reads a topic of events or labels: streams knows the formats, others need them.

Parts do not import each other. Whoever starts one hands it the reader.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.spec.streams import EventStream, LabelStream

__all__ = ["MessageReader", "MessageRow", "OpenReader"]


@dataclass(frozen=True, slots=True)
class MessageRow:
    """An event or a label, checked as the stream checks it."""

    place: int
    """Of its message among those given; one that holds many rows stands there for each."""
    fields: Mapping[str, Any]
    """Every declared field, times in microseconds; None is null."""


class MessageReader(Protocol):
    """Reads the messages of one topic, whatever their format."""

    def read(self, values: Sequence[bytes], arrivals_us: Sequence[int]) -> tuple[list[MessageRow], int]:
        """Rows in their order, and how many were refused; an empty message is a tick, and neither.

        Raises:
            UnavailableError: the schema registry is needed and does not answer.
        """


OpenReader = Callable[[EventStream | LabelStream], MessageReader]
"""Makes the reader of a topic."""
