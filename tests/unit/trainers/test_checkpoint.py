"""A checkpoint is whole or not used."""

from pathlib import Path

import numpy as np
import pytest

from headrace.errors import IntegrityError
from trainers.checkpoint import MAGIC, Checkpoint, CheckpointFolder, CheckpointState


def _checkpoint(epoch: int) -> Checkpoint:
    state = CheckpointState(
        identity="one", epoch=epoch, step=10 * epoch, best_epoch=1, device_seconds=1.5, history=(), described={}
    )
    return Checkpoint(state=state, tensors={"weight": np.arange(6, dtype=np.float32).reshape(2, 3) * epoch})


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    kept = CheckpointFolder(tmp_path)
    kept.save(_checkpoint(1))
    kept.save(_checkpoint(2))
    return kept


def test_what_is_read_is_what_was_saved(folder: CheckpointFolder) -> None:
    newest = folder.newest("one")

    assert newest is not None
    assert newest.state == _checkpoint(2).state
    assert np.array_equal(newest.tensors["weight"], _checkpoint(2).tensors["weight"])


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "nowhere").newest("one") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "magic"])
def test_a_damaged_file_gives_way_to_the_one_before(tmp_path: Path, folder: CheckpointFolder, damage: str) -> None:
    path = tmp_path / "epoch-00002.checkpoint"
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-3] ^= 1
    whole = {"cut": data[:-1], "flip": data, "empty": b"", "magic": b"x" + data[1:]}[damage]
    path.write_bytes(whole)

    newest = folder.newest("one")

    assert newest is not None
    assert newest.state.epoch == 1
    assert "torn" in folder.passed_over[0]


def test_two_damaged_files_mean_starting_over(tmp_path: Path, folder: CheckpointFolder) -> None:
    for path in tmp_path.iterdir():
        path.write_bytes(MAGIC)

    assert folder.newest("one") is None
    assert len(folder.passed_over) == 2


def test_an_unfinished_file_is_no_checkpoint(tmp_path: Path, folder: CheckpointFolder) -> None:
    (tmp_path / ".epoch-00003.checkpoint.77.unfinished").write_bytes(b"half")

    newest = folder.newest("one")

    assert newest is not None
    assert newest.state.epoch == 2


def test_a_checkpoint_of_another_run_is_refused(folder: CheckpointFolder) -> None:
    with pytest.raises(IntegrityError, match="another configuration or data set"):
        folder.newest("two")
