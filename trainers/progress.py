"""The progress file: how a training process says that it moves, not merely that it lives.

A heartbeat that carries no step counter kept a stuck job alive for half an hour elsewhere; here whoever supervises
reads the counter and stops a child whose counter stands still.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from headrace.errors import IntegrityError
from headrace.manifest_file import from_json

__all__ = ["Progress", "ProgressReader", "append_progress", "begin_progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a training stands."""

    step: int
    steps: int
    """Optimiser steps done, and of the whole run."""
    epoch: int
    """Epochs finished."""
    epochs: int
    loss: float
    """Mean training loss since the last line."""
    validation: float | None = None
    """Average precision on the validation rows, at the end of an epoch."""
    checkpoint: str = ""
    """Newest checkpoint on disk."""


def begin_progress(path: Path) -> None:
    """Start a new line, in case a killed attempt left half of one."""
    with path.open("a", encoding="utf-8") as file:
        file.write("\n")


def append_progress(path: Path, progress: Progress) -> None:
    """Add one line; called by the training process alone."""
    line = json.dumps(asdict(progress), allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


class ProgressReader:
    """Follows a progress file while another process appends to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def read(self) -> list[Progress]:
        """Whole lines added since the last call; a line still being written waits for the next.

        A line torn by a kill is passed over.
        """
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        return [progress for line in whole.splitlines() if (progress := _parse(line)) is not None]


def _parse(line: bytes) -> Progress | None:
    try:
        return from_json(line, Progress)
    except (IntegrityError, TypeError):
        return None
