"""A trained model survives the way to disk and back, and a changed one is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.artifact_format import MANIFEST_FILE, WEIGHTS_FILE, InputScaling, LoadedModel, expand, standardise
from headrace.contracts.artifacts import ModelManifest
from headrace.dataset_format import read_rows
from headrace.errors import ConfigError, IntegrityError, RejectedError, UnavailableError
from headrace.manifest_file import read_manifest, write_manifest
from tests.training_cases import FEATURES, TINY, a_job, make_dataset, unscaled
from trainers.artifact import CANDIDATE
from trainers.job import RunFolder
from trainers.main import main, run_job


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("training")
    folder = RunFolder(root / "run")
    folder.write_job(a_job(make_dataset(root / "datasets")))
    run_job(folder)
    return folder


@pytest.fixture
def artifact(run: RunFolder, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    copy = tmp_path / "artifact"
    copy.mkdir()
    for path in run.artifact.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_the_manifest_says_where_the_model_comes_from(run: RunFolder) -> None:
    rows = read_rows(Path(run.read_job().dataset))

    manifest = LoadedModel.load(run.artifact).manifest

    assert manifest.version == CANDIDATE
    assert manifest.features == FEATURES
    assert manifest.dataset_hash == rows.manifest.content_hash
    assert manifest.definitions == rows.manifest.definitions
    assert (manifest.trained_from_us, manifest.trained_until_us) == (0, 10**9)
    assert manifest.metrics["validation_average_precision"] > 2 * rows.labels.mean()
    assert manifest.cost["price"] == pytest.approx(manifest.cost["device_seconds"], abs=1e-3)  # one per second


def test_as_many_rows_are_flagged_as_are_positive(run: RunFolder) -> None:
    rows = read_rows(Path(run.read_job().dataset))
    model = LoadedModel.load(run.artifact)

    flagged = model.score(rows.features_NF) >= model.manifest.threshold

    assert flagged.sum() == rows.labels.sum()


def test_numpy_scores_as_torch_does(run: RunFolder) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in _tensors(run.artifact).items()}
    rows = read_rows(Path(run.read_job().dataset)).features_NF
    scaling = InputScaling.of({name: tensor.numpy() for name, tensor in tensors.items()}, rows.shape[1])
    hidden = torch.from_numpy(standardise(rows, scaling)).float()
    for index in range(len(TINY.hidden)):
        hidden = torch.relu(hidden @ tensors[f"weight_{index}"] + tensors[f"bias_{index}"])
    last = len(TINY.hidden)
    logits = (hidden @ tensors[f"weight_{last}"] + tensors[f"bias_{last}"])[:, 0]
    slope, intercept = tensors["calibration"].float()

    scores = LoadedModel.load(run.artifact).score(rows)

    np.testing.assert_allclose(scores, torch.sigmoid(slope * logits + intercept).numpy(), atol=1e-6)


def test_a_row_scores_the_same_alone_and_among_others(run: RunFolder) -> None:
    model, rows = LoadedModel.load(run.artifact), read_rows(Path(run.read_job().dataset)).features_NF[:50]

    together = model.score(rows)

    np.testing.assert_allclose([model.score(row[None, :])[0] for row in rows], together, rtol=1e-12)


@given(values=st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_null_counts_as_the_training_mean_and_any_number_gives_a_probability(
    run: RunFolder, values: list[float | None]
) -> None:
    model = LoadedModel.load(run.artifact)
    row = np.array([[np.nan if value is None else value for value in values]])

    z = standardise(row, model.scaling)

    assert (z[np.tile(np.isnan(row), 2)] == 0.0).all()
    assert 0.0 <= model.score(row)[0] <= 1.0


def test_an_infinite_input_is_not_hidden(run: RunFolder) -> None:
    row = np.array([[np.inf, 1.0, -np.inf]])

    assert np.isinf(expand(row)[0, [0, 2]]).all()
    assert np.isinf(standardise(row, unscaled(3))[0, [0, 2, 3, 5]]).all()


def test_beyond_what_training_saw_the_nearest_value_counts(run: RunFolder) -> None:
    model = LoadedModel.load(run.artifact)
    low, high = model.scaling.low_F, model.scaling.high_F
    edges = np.array([low, high])

    assert model.score(np.array([low - 1e3, high + 1e3])).tolist() == model.score(edges).tolist()
    rows = read_rows(Path(run.read_job().dataset)).features_NF
    assert (low >= np.nanmin(rows, axis=0)).all()
    assert (high <= np.nanmax(rows, axis=0)).all()


def test_changed_weights_are_refused(artifact: Path) -> None:
    data = bytearray((artifact / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (artifact / WEIGHTS_FILE).write_bytes(data)

    with pytest.raises(IntegrityError, match="has digest"):
        LoadedModel.load(artifact)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, MANIFEST_FILE])
def test_a_missing_file_is_refused(artifact: Path, name: str) -> None:
    (artifact / name).unlink()

    with pytest.raises(IntegrityError, match="cannot be read"):
        LoadedModel.load(artifact)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": FEATURES[:2]}, "architecture"),
        ({"architecture": {"kind": "forest", "inputs": 3, "hidden": [8]}}, "architecture"),
        ({"architecture": {"kind": "mlp", "inputs": 3, "hidden": [4]}}, "layer 0 has shape"),
        ({"architecture": {"kind": "mlp", "inputs": 3, "hidden": [8, 8]}}, "layer 1 has shape"),
        ({"weights_file": "../weights.safetensors"}, "no plain file name"),
    ],
)
def test_a_manifest_that_does_not_fit_its_weights_is_refused(
    artifact: Path, changes: dict[str, object], message: str
) -> None:
    manifest = read_manifest(artifact / MANIFEST_FILE, ModelManifest)
    write_manifest(artifact / MANIFEST_FILE, dataclasses.replace(manifest, **changes))

    with pytest.raises(IntegrityError, match=message):
        LoadedModel.load(artifact)


def test_a_catalog_with_other_inputs_is_refused(run: RunFolder) -> None:
    LoadedModel.load(run.artifact, expected_features=FEATURES)

    with pytest.raises(IntegrityError, match="'spend__count_1d' for 'amount'"):
        LoadedModel.load(run.artifact, expected_features=FEATURES[::-1])


def test_a_catalog_with_another_definition_is_refused(run: RunFolder) -> None:
    LoadedModel.load(run.artifact, expected_definitions={"spend": "0123456789ab"})

    with pytest.raises(IntegrityError, match="definition 0123456789ab of 'spend', in use is ffff"):
        LoadedModel.load(run.artifact, expected_definitions={"spend": "ffff"})


def test_a_matrix_of_another_width_is_refused(run: RunFolder) -> None:
    with pytest.raises(IntegrityError, match=r"takes \(N, 3\) inputs"):
        LoadedModel.load(run.artifact).score(np.zeros((5, 2)))


def test_a_finished_run_is_not_trained_again(run: RunFolder) -> None:
    before = (run.artifact / WEIGHTS_FILE).stat().st_mtime_ns

    assert run_job(run) == LoadedModel.load(run.artifact).manifest
    assert (run.artifact / WEIGHTS_FILE).stat().st_mtime_ns == before


def test_a_folder_is_of_one_run(run: RunFolder, tmp_path: Path) -> None:
    job = run.read_job()
    run.write_job(dataclasses.replace(job, created_us=7))
    run.write_job(job)

    with pytest.raises(RejectedError, match="give every run a folder of its own"):
        run.write_job(dataclasses.replace(job, trainer=dataclasses.replace(TINY, seed=7)))


def test_one_process_at_a_time_trains_in_a_folder(run: RunFolder) -> None:
    import fcntl

    with run.lock_file.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="another process trains"):
            run_job(run)


def test_a_data_set_of_one_class_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.write_job(a_job(make_dataset(tmp_path / "datasets", bias=-99.0)))

    with pytest.raises(RejectedError, match="0 positives in 900 rows"):
        run_job(folder)
    assert main(["--job", str(folder.job_file)]) == 1
    assert "RejectedError" in folder.failure_file.read_text()


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    folder = RunFolder(tmp_path / "run")
    folder.write_job(a_job(make_dataset(tmp_path / "datasets"), device="cuda"))

    with pytest.raises(ConfigError, match="no CUDA device"):
        run_job(folder)


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load((folder / WEIGHTS_FILE).read_bytes())
