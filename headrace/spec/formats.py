"""How the messages of a stream are written.

One declaration covers every producer of a topic: a stream has one format, and what is written otherwise is refused
with its reason.
"""

import re
from dataclasses import dataclass

from headrace.errors import DefinitionError

__all__ = ["ArrowBatches", "Avro", "Format", "Json"]

_SUBJECT = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class Json:
    """One JSON object a message.

    Event time is ISO 8601 with an offset, or whole microseconds since the epoch.
    """


@dataclass(frozen=True, slots=True)
class Avro:
    """One Avro record a message, led by the id of its schema as Confluent's serializers write it.

    Schemas stand in the schema registry. Event time is a ``long`` with the logical type ``timestamp-micros`` or
    ``timestamp-millis``. Fields that are not declared are passed over, so producers may add some.
    """

    subject: str | None = None
    """Under which ``headrace publish`` registers the schema; None is ``<topic>-value``, as every serializer does."""

    def __post_init__(self) -> None:
        if self.subject is not None and not (isinstance(self.subject, str) and _SUBJECT.fullmatch(self.subject)):
            raise DefinitionError(
                f"Avro.subject is {self.subject!r}", hint="use up to 200 letters, digits, '.', '_' and '-'"
            )


@dataclass(frozen=True, slots=True)
class ArrowBatches:
    """One Arrow IPC stream a message, with any number of rows in any number of batches.

    Event time is a timestamp with a zone, in any unit. Columns that are not declared are passed over. Let Kafka
    compress, not Arrow: compressed bodies are refused, because their size is known only when it is too late.
    """


Format = Json | Avro | ArrowBatches
