"""References on disk: made once, checked when read, never unpickled."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headrace.config import Settings
from headrace.errors import IntegrityError
from monitors.reference import build_reference, load_reference
from tests.unit.monitors.world import NAMES, make_model, write_version


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_a_reference_is_what_was_measured(settings: Settings) -> None:
    manifest = write_version(settings.models_dir, settings.datasets_dir, make_model())

    path = build_reference(settings, manifest)
    reference = load_reference(path)

    assert path == settings.models_dir / "cards" / "v1" / "reference.npz"
    assert reference.features.names == NAMES
    assert (reference.features.rows, reference.scores.rows) == (6000, 900)
    assert (reference.version, reference.threshold) == ("v1", manifest.threshold)
    assert reference.features.shares_CB.sum(axis=1) == pytest.approx(1)
    assert set(np.unique(reference.labels)) == {0, 1}


def test_a_whole_reference_is_not_made_again(settings: Settings) -> None:
    manifest = write_version(settings.models_dir, settings.datasets_dir, make_model())
    path = build_reference(settings, manifest)
    written = path.stat().st_mtime_ns

    assert build_reference(settings, manifest).stat().st_mtime_ns == written


def test_a_damaged_reference_is_refused_and_made_again(settings: Settings) -> None:
    manifest = write_version(settings.models_dir, settings.datasets_dir, make_model())
    path = build_reference(settings, manifest)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])

    with pytest.raises(IntegrityError):
        load_reference(path)
    build_reference(settings, manifest)

    assert path.read_bytes() == data


def test_a_later_data_set_gives_scores_and_quality(settings: Settings) -> None:
    manifest = write_version(settings.models_dir, settings.datasets_dir, make_model())

    reference = load_reference(
        build_reference(settings, manifest, held_out=settings.datasets_dir / manifest.dataset_id)
    )

    assert reference.scores.rows == 6000


def test_another_models_data_set_is_refused(settings: Settings) -> None:
    manifest = write_version(settings.models_dir, settings.datasets_dir, make_model())

    with pytest.raises(IntegrityError):
        build_reference(settings, replace(manifest, version="v2"))
