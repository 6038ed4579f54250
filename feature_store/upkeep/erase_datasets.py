"""Training sets that hold an erased subject: their rows go, their manifest and a note stay; see docs/adr/0006.

<root>/<dataset_id>/data.parquet     removed
<root>/<dataset_id>/manifest.json    stays: counts, digests and times, no row
<root>/<dataset_id>/erased.json      says when and why there are no rows
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from feature_store.ids import event_ids64
from feature_store.upkeep.erase_logs import column_values
from feature_store.upkeep.erased import ErasedSubjects
from headrace.clock import format_us
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import DATA_FILE, ERASED_FILE, MANIFEST_FILE
from headrace.durable_files import write_file
from headrace.errors import IntegrityError
from headrace.manifest_file import read_manifest
from headrace.spec.project import Project

__all__ = ["erase_datasets", "erased_datasets"]


def erase_datasets(
    root: Path, project: Project, erased: ErasedSubjects, *, now_us: int, dry_run: bool
) -> Iterator[tuple[str, int]]:
    """Remove the rows of every training set that holds one of an erased subject.

    Args:
        root: ``Settings.datasets_dir``.
        project: whose models.
        erased: the subjects.
        now_us: wall clock, for the note.
        dry_run: only say which.

    Yields:
        Id of the training set, and how many of its rows were the subject's.

    Raises:
        IntegrityError: a training set cannot be read, so that nobody knows whom it holds.
    """
    streams = {model.name: model.events.name for model in project.models}
    for path in sorted(root.glob(f"*/{MANIFEST_FILE}")):
        folder, manifest = path.parent, read_manifest(path, DatasetManifest)
        stream = streams.get(manifest.model)
        if stream is None or not (folder / DATA_FILE).exists():
            continue
        count = int(erased.has_events(stream, _ids(folder / DATA_FILE, manifest)).sum())
        if not count:
            continue
        if not dry_run:
            note = {"erased_at": format_us(now_us), "rows": manifest.rows, "rows_of_erased_subjects": count}
            write_file(folder / ERASED_FILE, json.dumps(note, indent=2).encode() + b"\n")
            (folder / DATA_FILE).unlink()
        yield manifest.dataset_id, count


def erased_datasets(root: Path, project: Project) -> list[str]:
    """Ids of the training sets of a project's models whose rows were removed, by this run or an earlier one."""
    models = {model.name for model in project.models}
    notes = sorted(root.glob(f"*/{ERASED_FILE}"))
    manifests = [read_manifest(path.with_name(MANIFEST_FILE), DatasetManifest) for path in notes]
    return [manifest.dataset_id for manifest in manifests if manifest.model in models]


def _ids(path: Path, manifest: DatasetManifest) -> NDArray[np.int64]:
    try:
        table = pq.read_table(path, columns=[manifest.columns[0]], partitioning=None)
    except (pa.ArrowException, OSError, IndexError) as error:
        raise IntegrityError(
            f"{path} cannot be read: {error}", hint="nobody can tell whom it holds; remove the folder by hand"
        ) from error
    return event_ids64(column_values(table, table.column_names[0]))
