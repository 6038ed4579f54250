"""What a model version was trained on, as its monitors need it: stored next to the model as ``reference.npz``.

    features    every row of the training set
    scores      the version's own scores on the newest rows, which it was not fitted on
    quality     labels and scores of the same rows

Plain arrays and one JSON header, nothing is unpickled; a digest of the arrays is checked when read.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.artifact_format import LoadedModel
from headrace.config import Settings
from headrace.contracts.artifacts import ModelManifest
from headrace.dataset_format import DatasetRows, folder_of, read_rows
from headrace.durable_files import write_file
from headrace.errors import IntegrityError
from monitors.profile import ColumnProfile, profile_columns

__all__ = ["REFERENCE_FILE", "Reference", "build_reference", "load_reference", "make_reference", "reference_path"]

Array = NDArray[Any]

REFERENCE_FILE = "reference.npz"
FORMAT = 1
NEWEST_SHARE = 0.15
"""Newest part of a training set, which a model is not fitted on (TorchClassifier.validation)."""
QUALITY_ROWS = 60_000
"""Negatives kept with the labels; all positives are."""
SCORE = "score"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """The reference of one model version."""

    model: str
    version: str
    threshold: float
    """Score from which the version flags an event."""
    features: ColumnProfile
    scores: ColumnProfile
    """One column, ``score``."""
    labels: Array
    """Labels of the newest rows, int8."""
    label_scores: Array
    """The version's scores of the same rows."""


def reference_path(settings: Settings, model: str, version: str) -> Path:
    """Where the reference of a version stands."""
    return settings.models_dir / model / version / REFERENCE_FILE


def build_reference(settings: Settings, manifest: ModelManifest, *, held_out: Path | None = None) -> Path:
    """Measure a version's training set and write its reference; one that exists and is whole stays.

    Called once after a version is registered, and by the monitor when it finds none.

    Args:
        settings: where models and data sets are.
        manifest: the version.
        held_out: folder of a later data set the version was judged on; without it scores and quality come from the
            newest rows of the training set.

    Raises:
        IntegrityError: the training set or the model is absent or does not match its digest.
        HeadraceError: the file cannot be written.
    """
    path = reference_path(settings, manifest.model, manifest.version)
    try:
        load_reference(path)
    except IntegrityError:
        folder = settings.models_dir / manifest.model / manifest.version
        rows = read_rows(folder_of(settings.datasets_dir, manifest.dataset_id))
        later = read_rows(held_out) if held_out is not None else _newest(rows)
        write_file(path, _encode(make_reference(rows, later, LoadedModel.load(folder))))
    return path


def make_reference(rows: DatasetRows, later: DatasetRows, model: LoadedModel) -> Reference:
    """Measure the rows a model was trained on, and its scores on later ones."""
    manifest = model.manifest
    for part in (rows, later):
        if part.manifest.features != manifest.features:
            raise IntegrityError(
                f"data set {part.manifest.dataset_id} lacks the inputs of {manifest.model!r} {manifest.version}",
                hint="the manifest names the wrong data set; publish the version again from the registry",
            )
    scores = model.score(later.features_NF)
    kept = _every_positive(later.labels)
    return Reference(
        model=manifest.model,
        version=manifest.version,
        threshold=manifest.threshold,
        features=profile_columns(manifest.features, rows.features_NF, rows.times_us),
        scores=profile_columns([SCORE], scores[:, None], later.times_us),
        labels=later.labels[kept].astype(np.int8),
        label_scores=scores[kept],
    )


def load_reference(path: Path) -> Reference:
    """Read a reference.

    Raises:
        IntegrityError: it is absent, torn, changed, or of another format.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IntegrityError(f"{path} is no reference: {error}") from error
    if header.get("format") != FORMAT or header.get("sha256") != _digest(arrays):
        raise IntegrityError(f"{path} does not match its digest", hint="remove it; it is built again when needed")
    return Reference(
        model=header["model"],
        version=header["version"],
        threshold=float(header["threshold"]),
        features=_profile(header["features"], arrays, "features"),
        scores=_profile(header["scores"], arrays, "scores"),
        labels=arrays["labels"],
        label_scores=arrays["label_scores"],
    )


def _encode(reference: Reference) -> bytes:
    arrays: dict[str, Array] = {"labels": reference.labels, "label_scores": reference.label_scores}
    header: dict[str, Any] = {
        "format": FORMAT,
        "model": reference.model,
        "version": reference.version,
        "threshold": reference.threshold,
    }
    for part in ("features", "scores"):
        profile: ColumnProfile = getattr(reference, part)
        header[part] = {"names": profile.names, "rows": profile.rows}
        for name in _profile_arrays():
            arrays[f"{part}_{name}"] = getattr(profile, name)
    header["sha256"] = _digest(arrays)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, allow_pickle=False, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays
    )
    return buffer.getvalue()


def _profile(header: Mapping[str, Any], arrays: Mapping[str, Array], part: str) -> ColumnProfile:
    kept = {name: arrays[f"{part}_{name}"] for name in _profile_arrays()}
    return ColumnProfile(names=tuple(header["names"]), rows=int(header["rows"]), **kept)


def _profile_arrays() -> list[str]:
    return [field.name for field in fields(ColumnProfile) if field.name not in ("names", "rows")]


def _digest(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _newest(rows: DatasetRows) -> DatasetRows:
    """The rows a trainer holds back to choose the epoch."""
    first = int((1 - NEWEST_SHARE) * len(rows.times_us))
    return replace(
        rows,
        times_us=rows.times_us[first:],
        features_NF=rows.features_NF[first:],
        labels=rows.labels[first:],
        fields={name: values[first:] for name, values in rows.fields.items()},
    )


def _every_positive(labels: Array) -> Array:
    """Mask of all positives and evenly spaced negatives."""
    negatives = np.flatnonzero(labels != 1)
    step = max(1, -(-len(negatives) // QUALITY_ROWS))
    kept = labels == 1
    kept[negatives[::step]] = True
    return np.asarray(kept)
