"""What a server knew last, on its disk: it boots from this when Redis is away."""

from dataclasses import dataclass
from pathlib import Path

from headrace.contracts.codec import decode, encode
from headrace.contracts.rollout import RolloutRecord
from headrace.durable_files import write_file
from headrace.errors import IntegrityError

__all__ = ["KnownGood", "RecordCache", "Trip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Why and when a trial had to end."""

    reason: str
    at_us: int
    """Policy clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGood:
    """The last record whose versions were loaded, and the trials this server ended."""

    record: RolloutRecord
    tripped: dict[str, Trip]
    """By ``<rollout id>/<version>``; such a trial is ended again wherever it is met."""


class RecordCache:
    """One small file per model."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, model: str) -> KnownGood | None:
        """What was written last; None when there is nothing.

        Raises:
            IntegrityError: the file is damaged.
        """
        path = self._path(model)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return decode(data, KnownGood)
        except IntegrityError as error:
            raise IntegrityError(f"{path}: {error.args[0]}", hint="delete the file; it is a copy") from error

    def write(self, model: str, known: KnownGood) -> None:
        """Replace the file as a whole; several servers of one home may do so at once.

        Raises:
            HeadraceError: the disk is full or the folder cannot be written.
        """
        write_file(self._path(model), encode(known))

    def _path(self, model: str) -> Path:
        return self._folder / f"{model}.json"
