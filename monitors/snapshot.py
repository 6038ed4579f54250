"""State of a monitor on disk: arrays, plain values and the offsets they reflect, as one file that is whole or absent.

The file is written beside the old one and renamed over it, so a kill at any instant leaves one of the two. Everything
after its offsets is read again and gives the same windows.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.durable_files import write_file
from headrace.errors import IntegrityError

__all__ = ["Snapshot", "read_snapshot", "write_snapshot"]

FORMAT = 1
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """One instant of a monitor process."""

    plain: dict[str, Any]
    """JSON-able values."""
    arrays: dict[str, NDArray[Any]]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Replace the file.

    Raises:
        HeadraceError: it cannot be written; the old one stays.
    """
    buffer = io.BytesIO()
    header = json.dumps({"format": FORMAT, "plain": snapshot.plain}).encode()
    np.savez(buffer, allow_pickle=False, header=np.frombuffer(header, np.uint8), **_escaped(snapshot.arrays))
    data = buffer.getvalue()
    write_file(path, hashlib.sha256(data).digest() + data)


def read_snapshot(path: Path) -> Snapshot | None:
    """The stored state; None when there is none.

    Raises:
        IntegrityError: the file is torn, changed, or of another format.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    hint = f"remove {path}; the monitor then starts from the beginning of the prediction log"
    if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
        raise IntegrityError(f"{path} does not match its checksum", hint=hint)
    try:
        with np.load(io.BytesIO(data[_DIGEST_BYTES:]), allow_pickle=False) as file:
            arrays = {name.replace("|", "/"): file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is no snapshot: {error}", hint=hint) from error
    if header.get("format") != FORMAT:
        raise IntegrityError(f"{path} has format {header.get('format')}, this release reads {FORMAT}", hint=hint)
    return Snapshot(plain=header["plain"], arrays=arrays)


def _escaped(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Names without slashes, which would make folders inside the file."""
    return {name.replace("/", "|"): array for name, array in arrays.items()}
