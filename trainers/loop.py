"""The training loop, readable from top to bottom.

The same configuration, rows and thread count give the same weights bit for bit on a CPU, whether or not the run was
killed and resumed in between: the order of rows in an epoch depends on (seed, epoch) alone, the learning rate on the
step alone, and a checkpoint holds the weights and the optimiser's state exactly.

Shape suffixes: T training rows, V validation rows, B rows of a batch, E expanded inputs.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from headrace.artifact_format import sigmoid
from headrace.errors import HeadraceError
from headrace.spec.policies import TorchClassifier
from trainers.adamw import AdamW
from trainers.checkpoint import Checkpoint, CheckpointFolder, CheckpointState, EpochRecord
from trainers.metrics import average_precision, log_loss
from trainers.network import build_network
from trainers.progress import Progress

__all__ = ["TRAINER_VERSION", "TrainedNetwork", "TrainingRows", "train"]

TRAINER_VERSION = 2
"""Raised when the arithmetic changes, so that no run resumes from weights of another."""

STEPS_PER_REPORT = 50
"""Steps between two looks at the loss: reading it waits for the device, and a NaN is noticed this late at most."""

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRows:
    """Standardised inputs and labels, split by time."""

    train_TE: Array
    train_labels_T: Array
    validation_VE: Array
    validation_labels_V: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedNetwork:
    """Weights of the best epoch, and how the run went."""

    layers: tuple[tuple[Array, Array], ...]
    """(weight (in, out), bias (out,)) of each dense layer, float32."""
    validation_logits_V: Array
    best_epoch: int
    history: tuple[EpochRecord, ...]
    device_seconds: float
    resumed_from: int
    """Epochs taken over from a checkpoint."""


def train(
    config: TorchClassifier,
    rows: TrainingRows,
    *,
    device: torch.device,
    identity: str,
    described: dict[str, str],
    checkpoints: CheckpointFolder,
    report: Callable[[Progress], None],
    seconds: Callable[[], float] = time.perf_counter,
) -> TrainedNetwork:
    """Train until the last epoch; keep the weights of the epoch with the best validation average precision.

    Args:
        config: sizes and rates.
        rows: standardised inputs.
        device: where to compute; bfloat16 autocast is used on CUDA.
        identity: digest of everything that decides the result; a checkpoint of another one is refused.
        described: kept in each checkpoint for people.
        checkpoints: where to save, and to resume from.
        report: called every ``STEPS_PER_REPORT`` steps and after each epoch.
        seconds: a clock that only measures.

    Raises:
        HeadraceError: the loss is not finite.
    """
    started = seconds()
    train_TE = torch.from_numpy(rows.train_TE.astype(np.float32)).to(device)
    labels_T = torch.from_numpy(rows.train_labels_T.astype(np.float32)).to(device)
    validation_VE = torch.from_numpy(rows.validation_VE.astype(np.float32)).to(device)
    positive_weight = torch.tensor(config.positive_weight, device=device)

    network = build_network(train_TE.shape[1], config.hidden, seed=config.seed).to(device)
    optimizer = AdamW(network.parameters(), weight_decay=config.weight_decay)
    best = [parameter.detach().clone() for parameter in network.parameters()]
    best_epoch, best_quality, step, spent, saved = 0, -math.inf, 0, 0.0, ""
    history: tuple[EpochRecord, ...] = ()

    found = checkpoints.newest(identity)
    if found is not None:
        best_epoch, step, spent, history = _restore(found, network, optimizer, best)
        best_quality = _quality(history[best_epoch - 1])
    resumed_from = len(history)

    steps_per_epoch = math.ceil(len(train_TE) / config.batch_rows)
    steps = steps_per_epoch * config.epochs
    for epoch in range(resumed_from + 1, config.epochs + 1):
        order_T = torch.from_numpy(np.random.default_rng((config.seed, epoch)).permutation(len(train_TE))).to(device)
        epoch_loss, loss_sum, since = 0.0, torch.zeros((), device=device), 0
        for rows_B in torch.split(order_T, config.batch_rows):
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                logits_B = network(train_TE[rows_B])[:, 0]
            loss = functional.binary_cross_entropy_with_logits(
                logits_B.float(), labels_T[rows_B], pos_weight=positive_weight
            )
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
            learning_rate = config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            step, since = step + 1, since + 1
            optimizer.step(step, learning_rate)
            loss_sum += loss.detach()
            if since == STEPS_PER_REPORT or step % steps_per_epoch == 0:
                mean_loss = _finite(float(loss_sum) / since, step, config)
                epoch_loss += mean_loss * since
                loss_sum, since = torch.zeros((), device=device), 0
                report(
                    Progress(
                        step=step, steps=steps, epoch=epoch - 1, epochs=config.epochs, loss=mean_loss, checkpoint=saved
                    )
                )

        validation_V = _logits(network, validation_VE)
        record = _judge(epoch, step, epoch_loss / steps_per_epoch, validation_V, rows.validation_labels_V, config)
        history = (*history, record)
        if _quality(record) > best_quality:
            best_epoch, best_quality = epoch, _quality(record)
            best = [parameter.detach().clone() for parameter in network.parameters()]
        if epoch % config.checkpoint_every == 0 and epoch < config.epochs:
            state = CheckpointState(
                identity=identity,
                epoch=epoch,
                step=step,
                best_epoch=best_epoch,
                device_seconds=spent + seconds() - started,
                history=history,
                described=described,
            )
            saved = checkpoints.save(Checkpoint(state=state, tensors=_tensors(network, optimizer, best))).name
        report(
            Progress(
                step=step,
                steps=steps,
                epoch=epoch,
                epochs=config.epochs,
                loss=record.loss,
                validation=record.validation_average_precision,
                checkpoint=saved,
            )
        )

    with torch.no_grad():
        for parameter, value in zip(network.parameters(), best, strict=True):
            parameter.copy_(value)
    flat = [value.cpu().numpy() for value in best]
    return TrainedNetwork(
        layers=tuple((weight.T.copy(), bias) for weight, bias in zip(flat[::2], flat[1::2], strict=True)),
        validation_logits_V=_logits(network, validation_VE),
        best_epoch=best_epoch,
        history=history,
        device_seconds=spent + seconds() - started,
        resumed_from=resumed_from,
    )


def _finite(loss: float, step: int, config: TorchClassifier) -> float:
    if not math.isfinite(loss):
        raise HeadraceError(
            f"training loss is {loss} at step {step}; training stopped",
            hint=f"lower TorchClassifier.learning_rate (now {config.learning_rate:g}) or look at the inputs",
        )
    return loss


def _logits(network: torch.nn.Module, inputs: torch.Tensor) -> Array:
    with torch.no_grad():
        return np.asarray(network(inputs)[:, 0].double().cpu().numpy())


def _judge(
    epoch: int, step: int, loss: float, logits_V: Array, labels_V: Array, config: TorchClassifier
) -> EpochRecord:
    scores_V = sigmoid(logits_V - math.log(config.positive_weight))
    precision = average_precision(labels_V, scores_V)
    return EpochRecord(
        epoch=epoch,
        step=step,
        loss=loss,
        validation_loss=_finite(log_loss(labels_V, scores_V), step, config),
        validation_average_precision=precision if math.isfinite(precision) else None,
    )


def _quality(record: EpochRecord) -> float:
    if record.validation_average_precision is None:
        return -record.validation_loss
    return record.validation_average_precision


def _groups(network: torch.nn.Module, optimizer: AdamW, best: list[torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    return {
        "parameter": [parameter.detach() for parameter in network.parameters()],
        "first_moment": optimizer.first_moments,
        "second_moment": optimizer.second_moments,
        "best": best,
    }


def _tensors(network: torch.nn.Module, optimizer: AdamW, best: list[torch.Tensor]) -> dict[str, Array]:
    groups = _groups(network, optimizer, best)
    return {f"{name}_{i}": t.cpu().numpy() for name, group in groups.items() for i, t in enumerate(group)}


@torch.no_grad()
def _restore(
    checkpoint: Checkpoint, network: torch.nn.Module, optimizer: AdamW, best: list[torch.Tensor]
) -> tuple[int, int, float, tuple[EpochRecord, ...]]:
    """Put a checkpoint's tensors in place; returns best epoch, step, device seconds and history."""
    for name, group in _groups(network, optimizer, best).items():
        for index, tensor in enumerate(group):
            tensor.copy_(torch.from_numpy(checkpoint.tensors[f"{name}_{index}"].copy()))
    state = checkpoint.state
    return state.best_epoch, state.step, state.device_seconds, state.history
