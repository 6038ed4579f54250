"""Rows behind a suspicion, as Parquet: what the confirming report is made of."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headrace.config import Settings
from headrace.durable_files import write_file

__all__ = ["SAMPLE_ROWS", "sample_path", "write_sample"]

SAMPLE_ROWS = 10_000
"""Most rows of a sample; Evidently's cost grows with them, its verdict hardly does."""
_KEPT = 10
"""Newest samples of a model that stay on disk."""


def sample_path(settings: Settings, model: str, what: str) -> Path:
    """Where a sample stands; ``what`` is ``reference-<version>`` or ``window-<number>``."""
    return settings.incidents_dir / "samples" / model / f"{what}.parquet"


def write_sample(path: Path, names: tuple[str, ...], rows_NF: NDArray[Any]) -> None:
    """Write evenly spaced rows; older window samples of the model are removed.

    Raises:
        HeadraceError: the file cannot be written.
    """
    chosen = np.unique(np.linspace(0, len(rows_NF) - 1, min(SAMPLE_ROWS, len(rows_NF))).astype(np.int64))
    table = pa.table({name: pa.array(rows_NF[chosen, column], from_pandas=True) for column, name in enumerate(names)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_file(path, buffer.getvalue())
    windows = sorted(path.parent.glob("window-*.parquet"), key=lambda file: int(file.stem.partition("-")[2]))
    for old in windows[:-_KEPT]:
        old.unlink(missing_ok=True)
