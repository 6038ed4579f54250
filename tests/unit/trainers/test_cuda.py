"""Training on a CUDA device; run where there is one, with nothing but torch, numpy, pyarrow, safetensors and pytest."""

import dataclasses
from pathlib import Path

import pytest
import torch

from headrace.artifact_format import LoadedModel
from tests.training_cases import TINY, a_job, make_dataset, make_rows
from trainers.job import RunFolder
from trainers.main import run_job
from trainers.metrics import average_precision

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine")

CONFIG = dataclasses.replace(TINY, epochs=20)


def _trained(tmp_path: Path, device: str) -> LoadedModel:
    folder = RunFolder(tmp_path / device)
    folder.write_job(a_job(make_dataset(tmp_path / "datasets", rows=6000), trainer=CONFIG, device=device))
    run_job(folder)
    return LoadedModel.load(folder.artifact)


def test_cuda_in_bfloat16_learns_what_the_cpu_learns(tmp_path: Path) -> None:
    rows = make_rows(tmp_path / "test", rows=6000, seed=9)

    cpu, cuda = (
        average_precision(rows.labels, _trained(tmp_path, device).score(rows.features_NF)) for device in ("cpu", "cuda")
    )

    assert cuda == pytest.approx(cpu, abs=0.03)


def test_a_cuda_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "datasets", rows=6000)
    folder = RunFolder(tmp_path / "run")
    folder.write_job(a_job(dataset, trainer=CONFIG, device="cuda"))
    run_job(folder)
    for path in folder.artifact.iterdir():
        path.unlink()
    folder.artifact.rmdir()

    manifest = run_job(folder)

    assert len(folder.read_history()) == CONFIG.epochs
    assert manifest.metrics["validation_average_precision"] > 0.5


def test_auto_takes_the_device(tmp_path: Path) -> None:
    torch.cuda.reset_peak_memory_stats()
    folder = RunFolder(tmp_path / "run")
    folder.write_job(a_job(make_dataset(tmp_path / "datasets"), device="auto"))

    run_job(folder)

    assert torch.cuda.max_memory_allocated() > 0
