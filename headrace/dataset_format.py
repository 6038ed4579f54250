"""The format of a training set: an immutable folder of rows and the manifest that says what was asked for.

    <root>/<dataset_id>/data.parquet     id, event time, [fields for slices], features, label; sorted by time and id
    <root>/<dataset_id>/manifest.json    contracts.artifacts.DatasetManifest

The digest is over the rows, not over the Parquet file, so another Parquet version writes the same data set.
The id is over that digest and the request (model, mode, range, knowledge time, inputs): the same request on the same
data is the same set; another request is another one, with a manifest of its own, even where the rows are equal.
Older sets are named by the digest of their rows alone; they stay readable.
Needs numpy and pyarrow only: a bare GPU image reads it.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from headrace.contracts.artifacts import DatasetManifest
from headrace.durable_files import new_folder
from headrace.errors import HeadraceError, IntegrityError
from headrace.manifest_file import read_manifest, write_manifest

__all__ = [
    "DATA_FILE",
    "ERASED_FILE",
    "MANIFEST_FILE",
    "DatasetRows",
    "content_hash",
    "dataset_name",
    "folder_of",
    "read_dataset",
    "read_rows",
    "write_dataset",
]

DATA_FILE = "data.parquet"
MANIFEST_FILE = "manifest.json"
ERASED_FILE = "erased.json"
"""Beside the manifest of a data set whose rows were removed because they held an erased subject."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DatasetRows:
    """A data set as arrays: N rows sorted by time, F features."""

    manifest: DatasetManifest
    times_us: Array
    """(N,) int64."""
    features_NF: Array
    """(N, F) float64, NaN for null, columns in the order of ``manifest.features``."""
    labels: Array
    """(N,) int8, 0 or 1."""
    fields: Mapping[str, Array]
    """Event fields kept beside the features for slices, (N,) float64."""

    def column(self, name: str) -> Array:
        """A feature or a kept field, (N,) float64.

        Raises:
            IntegrityError: the data set has no such column.
        """
        if name in self.fields:
            return np.asarray(self.fields[name])
        if name in self.manifest.features:
            return np.asarray(self.features_NF[:, self.manifest.features.index(name)])
        raise IntegrityError(
            f"data set {self.manifest.dataset_id} has no column {name!r}",
            hint="build it again with the definitions in use",
        )


Told = Callable[[int, int], None]
"""Takes how many values were read, and of how many."""


def content_hash(table: pa.Table, definitions: Mapping[str, str], told: Told | None = None) -> str:
    """SHA-256 over the names, the definitions behind them and the canonical bytes of every column.

    Canonical: row order as given, little-endian int64 or float64 (one NaN, one zero), nulls as a mask beside zeros,
    texts with their lengths.
    """
    head = {"columns": table.column_names, "definitions": dict(sorted(definitions.items()))}
    digest = hashlib.sha256(json.dumps(head).encode())
    for number, column in enumerate(table.columns):
        if told is not None:
            told(number * table.num_rows, table.num_columns * table.num_rows)
        for part in _canonical(column.combine_chunks()):
            digest.update(part)
    return digest.hexdigest()


def dataset_name(manifest: DatasetManifest) -> str:
    """Id of a data set by its content and by what was asked for; offsets it was read to are no part of it."""
    asked = (manifest.content_hash, manifest.mode, manifest.start_us, manifest.end_us, manifest.as_of_us)
    digest = hashlib.sha256(json.dumps([*asked, *manifest.features]).encode())
    return f"{manifest.model}-{digest.hexdigest()[:12]}"


def write_dataset(root: Path, table: pa.Table, manifest: DatasetManifest) -> DatasetManifest:
    """Write a data set once; when the same request gave the same rows before, that set stays, its manifest returned.

    Args:
        root: ``Settings.datasets_dir``.
        table: rows with the columns of ``manifest.columns``, sorted by time and id.
        manifest: ``dataset_id`` and ``content_hash`` are filled in here.

    Raises:
        HeadraceError: the disk is full or the folder cannot be written.
    """
    digest = content_hash(table, manifest.definitions)
    named = dataclasses.replace(manifest, content_hash=digest)
    named = dataclasses.replace(named, dataset_id=dataset_name(named))
    folder = root / named.dataset_id
    if not folder.exists():
        with new_folder(folder) as filling:
            pq.write_table(table, filling / DATA_FILE, compression="zstd")
            write_manifest(filling / MANIFEST_FILE, named)
    kept = read_manifest(folder / MANIFEST_FILE, DatasetManifest)
    if kept.content_hash != digest:
        raise IntegrityError(
            f"{folder} holds content {kept.content_hash[:16]}, expected {digest[:16]}",
            hint="remove the folder and build the data set again",
        )
    return kept


def read_dataset(folder: Path, told: Told | None = None) -> tuple[DatasetManifest, pa.Table]:
    """Manifest and rows of a data set, verified against its digest and its id.

    Raises:
        IntegrityError: a file is absent, or the rows or the request are not those the manifest names.
    """
    manifest = read_manifest(folder / MANIFEST_FILE, DatasetManifest)
    if (folder / ERASED_FILE).exists():
        raise IntegrityError(
            f"the rows of data set {manifest.dataset_id} were removed with a subject that was erased",
            hint="build a new one; it holds everybody else",
        )
    if manifest.dataset_id not in (dataset_name(manifest), _older_name(manifest)):
        raise IntegrityError(
            f"the manifest of data set {manifest.dataset_id} says another request or other rows than its id",
            hint="the folder was changed; remove it and build the data set again",
        )
    try:
        table = pq.read_table(folder / DATA_FILE, partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise IntegrityError(
            f"{folder / DATA_FILE} cannot be read: {error}", hint="build the data set again"
        ) from error
    digest = content_hash(table, manifest.definitions, told)
    if digest != manifest.content_hash or tuple(table.column_names) != manifest.columns:
        raise IntegrityError(
            f"data set {manifest.dataset_id} holds rows of digest {digest[:12]},"
            f" its manifest says {manifest.content_hash[:12]}",
            hint="the folder was changed; remove it and build the data set again",
        )
    return manifest, table


def read_rows(folder: Path) -> DatasetRows:
    """A verified data set as arrays.

    Raises:
        IntegrityError: as for :func:`read_dataset`.
    """
    manifest, table = read_dataset(folder)
    _, time, *middle, label = manifest.columns
    features_NF = np.empty((table.num_rows, len(manifest.features)), np.float64)
    for index, name in enumerate(manifest.features):
        features_NF[:, index] = _floats(table[name])
    return DatasetRows(
        manifest=manifest,
        times_us=table[time].cast(pa.int64()).to_numpy(),
        features_NF=features_NF,
        labels=table[label].to_numpy().astype(np.int8),
        fields={name: _floats(table[name]) for name in middle if name not in manifest.features},
    )


def folder_of(root: Path, dataset_id: str) -> Path:
    """Folder of a data set.

    Raises:
        HeadraceError: the id is no plain name, or there is no such data set.
    """
    folder = root / dataset_id
    if folder.parent != root or not (folder / MANIFEST_FILE).is_file():
        known = sorted(path.name for path in root.glob("*-*") if (path / MANIFEST_FILE).is_file())
        listed = ", ".join(known[-5:]) or "there is none yet"
        raise HeadraceError(f"no data set {dataset_id!r} under {os.fspath(root)}", hint=f"known: {listed}")
    return folder


def _older_name(manifest: DatasetManifest) -> str:
    """Id as it was when the rows alone decided it."""
    return f"{manifest.model}-{manifest.content_hash[:12]}"


def _floats(column: pa.ChunkedArray) -> Array:
    return np.asarray(column.cast(pa.float64()).to_numpy())


def _canonical(column: pa.Array) -> list[bytes]:
    kind = column.type
    parts = [str(kind).encode(), np.asarray(column.is_null()).tobytes() if column.null_count else b"whole"]
    if pa.types.is_string(kind):
        texts = [text.encode() for text in column.fill_null("").to_pylist()]
        return [*parts, np.array([len(text) for text in texts], "<i8").tobytes(), b"".join(texts)]
    if pa.types.is_floating(kind):
        values = column.fill_null(0.0).to_numpy(zero_copy_only=False).astype("<f8") + 0.0  # + 0.0 makes -0.0 zero
        return [*parts, np.where(np.isnan(values), np.nan, values).tobytes()]
    return [*parts, column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8").tobytes()]
