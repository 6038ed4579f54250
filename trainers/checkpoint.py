"""Checkpoints: where a killed training goes on, to the same weights as if nothing had happened.

    <folder>/epoch-00003.checkpoint     magic | SHA-256 of the rest | safetensors: weights, optimiser, best weights

A file appears by rename, so a kill leaves the previous ones; a file torn by the disk is told by its digest and the
previous one is used. Nothing is unpickled.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from headrace.durable_files import write_file
from headrace.errors import IntegrityError
from headrace.manifest_file import from_json

__all__ = ["Checkpoint", "CheckpointFolder", "CheckpointState", "EpochRecord"]

MAGIC = b"headrace checkpoint 1\n"
KEPT = 2
"""The newest, and the one before it in case the newest is torn."""

_NAME = re.compile(r"epoch-(\d{5})\.checkpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one epoch brought."""

    epoch: int
    """Counted from 1."""
    step: int
    loss: float
    """Mean training loss, positives weighted."""
    validation_loss: float
    """Log loss on the validation rows with the prior restored, before calibration."""
    validation_average_precision: float | None
    """None without a positive among the validation rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointState:
    """Everything beside the tensors."""

    identity: str
    """Digest of configuration, data set and arithmetic: only the same run resumes from it."""
    epoch: int
    """Epochs finished."""
    step: int
    best_epoch: int
    device_seconds: float
    """Spent so far, over all attempts."""
    history: tuple[EpochRecord, ...]
    described: dict[str, str]
    """For people: configuration, data set with its time range, seed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    state: CheckpointState
    tensors: Mapping[str, NDArray[Any]]


class CheckpointFolder:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.passed_over: list[str] = []
        """Why checkpoints were not used, newest first; filled by :meth:`newest`."""

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and forget those before the previous one."""
        metadata = {"state": json.dumps(dataclasses.asdict(checkpoint.state))}
        arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.tensors.items()}
        payload = safetensors.numpy.save(arrays, metadata)
        path = self._folder / f"epoch-{checkpoint.state.epoch:05d}.checkpoint"
        # A kill of the process cannot tear it; a crash of the machine can, and the digest tells. Waiting for the disk
        # would cost more than a small model's epoch.
        write_file(path, MAGIC + hashlib.sha256(payload).digest() + payload, sync=False)
        for old in self._paths()[KEPT:]:
            old.unlink(missing_ok=True)
        return path

    def newest(self, identity: str) -> Checkpoint | None:
        """The newest whole checkpoint, or None.

        Raises:
            IntegrityError: it belongs to another run.
        """
        self.passed_over = []
        for path in self._paths():
            try:
                checkpoint = _read(path)
            except IntegrityError as error:
                self.passed_over.append(str(error))
                continue
            if checkpoint.state.identity != identity:
                raise IntegrityError(
                    f"checkpoint {path} is of another configuration or data set",
                    hint="give every run a folder of its own",
                )
            return checkpoint
        return None

    def _paths(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted((path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def _read(path: Path) -> Checkpoint:
    data = path.read_bytes()
    start = len(MAGIC) + hashlib.sha256().digest_size
    payload = data[start:]
    if not data.startswith(MAGIC) or data[len(MAGIC) : start] != hashlib.sha256(payload).digest():
        raise IntegrityError(f"checkpoint {path} is torn or changed; the one before it is used")
    try:
        length = int.from_bytes(payload[:8], "little")  # safetensors: u64 length, then a JSON header
        header = json.loads(payload[8 : 8 + length])
        state = from_json(header["__metadata__"]["state"], CheckpointState)
        return Checkpoint(state=state, tensors=safetensors.numpy.load(payload))
    except (KeyError, ValueError, SafetensorError) as error:
        raise IntegrityError(f"checkpoint {path} cannot be read: {error}") from error
