"""What the stream asks of a schema registry, whoever keeps the schemas."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["SchemaRegistry", "WriterSchema"]


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A schema under its id; an id never changes its schema."""

    kind: str
    """``AVRO`` or what else the registry keeps."""
    text: str
    references: tuple[str, ...] = ()
    """Texts of the schemas it names, each after those it names itself."""


class SchemaRegistry(Protocol):
    """Keeps schemas."""

    def schema(self, schema_id: int) -> WriterSchema | None:
        """The schema under an id; None when there is none.

        Raises:
            UnavailableError: it does not answer.
        """

    def register(self, subject: str, text: str) -> int:
        """Id of an Avro schema under a subject; the same schema has the same id.

        Raises:
            UnavailableError: it does not answer.
            RejectedError: the subject's newest schema cannot be read with this one.
        """
