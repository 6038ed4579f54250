"""The loop repeats and resumes to the same bits, and stops when numbers stop being numbers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from headrace import TorchClassifier
from headrace.errors import HeadraceError, IntegrityError
from tests.training_cases import TINY
from trainers.adamw import AdamW
from trainers.checkpoint import CheckpointFolder
from trainers.loop import TrainedNetwork, TrainingRows, train
from trainers.metrics import average_precision
from trainers.network import build_network
from trainers.progress import Progress


class _Killed(Exception):
    """Stands for the end of a process in the middle of the loop."""


def _rows(seed: int = 0, rows: int = 900) -> TrainingRows:
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(rows, 6))
    labels = (inputs[:, 0] + 0.5 * inputs[:, 1] ** 2 + generator.normal(size=rows) > 1.5).astype(np.int8)
    return TrainingRows(
        train_TE=inputs[:600],
        train_labels_T=labels[:600],
        validation_VE=inputs[600:],
        validation_labels_V=labels[600:],
    )


def _train(
    folder: Path, config: TorchClassifier = TINY, rows: TrainingRows | None = None, die_at_step: int | None = None
) -> TrainedNetwork:
    def report(progress: Progress) -> None:
        if die_at_step is not None and progress.step >= die_at_step:
            raise _Killed

    return train(
        config,
        rows or _rows(),
        device=torch.device("cpu"),
        identity="one",
        described={},
        checkpoints=CheckpointFolder(folder),
        report=report,
    )


def _equal(one: TrainedNetwork, other: TrainedNetwork) -> bool:
    pairs = zip(one.layers, other.layers, strict=True)
    return all(np.array_equal(a, b) for first, second in pairs for a, b in zip(first, second, strict=True))


def test_it_learns(tmp_path: Path) -> None:
    trained = _train(tmp_path, dataclasses.replace(TINY, epochs=12))

    labels = _rows().validation_labels_V

    assert average_precision(labels, trained.validation_logits_V) > 0.6 > 2 * labels.mean()
    assert len(trained.history) == 12


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    first, again = _train(tmp_path / "a"), _train(tmp_path / "b")
    other = _train(tmp_path / "c", dataclasses.replace(TINY, seed=1))

    assert _equal(first, again)
    assert not _equal(first, other)


@pytest.mark.parametrize("step", [5, 10, 19, 31, 40])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, step: int) -> None:
    unbroken = _train(tmp_path / "unbroken")
    with pytest.raises(_Killed):
        _train(tmp_path / "killed", die_at_step=step)

    resumed = _train(tmp_path / "killed")

    assert _equal(resumed, unbroken)
    assert resumed.history == unbroken.history
    assert resumed.best_epoch == unbroken.best_epoch
    assert resumed.resumed_from == max(0, -(-step // 10) - 1)


def test_a_torn_checkpoint_costs_an_epoch_and_nothing_else(tmp_path: Path) -> None:
    unbroken = _train(tmp_path / "unbroken")
    with pytest.raises(_Killed):
        _train(tmp_path / "killed", die_at_step=40)
    newest = max((tmp_path / "killed").glob("*.checkpoint"))
    newest.write_bytes(newest.read_bytes()[:-7])

    resumed = _train(tmp_path / "killed")

    assert resumed.resumed_from == 2
    assert _equal(resumed, unbroken)


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path) -> None:
    trained = _train(tmp_path, dataclasses.replace(TINY, epochs=30, learning_rate=0.2))
    best = max(trained.history, key=lambda record: (record.validation_average_precision, -record.epoch))

    assert trained.best_epoch == best.epoch
    assert average_precision(_rows().validation_labels_V, trained.validation_logits_V) == pytest.approx(
        best.validation_average_precision
    )


def test_without_positives_to_validate_the_loss_chooses(tmp_path: Path) -> None:
    rows = dataclasses.replace(_rows(), validation_labels_V=np.zeros(300, np.int8))

    trained = _train(tmp_path, rows=rows)

    assert trained.history[0].validation_average_precision is None
    assert trained.best_epoch == min(trained.history, key=lambda record: record.validation_loss).epoch


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    inputs = _rows().train_TE.copy()
    inputs[3, 0] = np.nan

    with pytest.raises(HeadraceError, match=r"loss is nan at step 10.*\n.*learning_rate \(now 0.02\)"):
        _train(tmp_path, rows=dataclasses.replace(_rows(), train_TE=inputs))


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(_Killed):
        _train(tmp_path, die_at_step=20)

    with pytest.raises(IntegrityError, match="another configuration"):
        CheckpointFolder(tmp_path).newest("two")


def test_two_checkpoints_are_kept(tmp_path: Path) -> None:
    _train(tmp_path, dataclasses.replace(TINY, epochs=6))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-00004.checkpoint", "epoch-00005.checkpoint"]


def test_a_network_is_made_from_its_seed_and_leaves_torch_alone() -> None:
    before = torch.random.get_rng_state()

    first, again, other = (build_network(4, (3,), seed=seed) for seed in (1, 1, 2))

    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_the_optimiser_is_adam_with_decoupled_decay() -> None:
    """Against the paper's algorithm 2, step by step in float64."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    optimizer = AdamW([weight], weight_decay=0.01)
    expected, first, second = weight.detach().double().numpy(), np.zeros(3), np.zeros(3)
    for number in range(1, 31):
        gradient = 2 * expected
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        step = (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
        expected = expected - 0.03 * 0.01 * expected - 0.03 * step
        (weight**2).sum().backward()
        optimizer.step(number, 0.03)

    assert weight.grad is None
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-5)
