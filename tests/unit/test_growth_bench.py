"""The side of `headrace bench growth` that is measured, with a few keys."""

from pathlib import Path

import pytest

from headrace.bench.growth_bench import KEYS
from headrace.bench.growth_side import apply, growth_plan, restore
from headrace.cli.main import main


def test_a_state_that_was_measured_comes_back(tmp_path: Path) -> None:
    plan = growth_plan()

    measured = apply(plan, keys=50, partitions=1, turn=20, folder=str(tmp_path))
    found = restore(plan, folder=str(tmp_path))

    assert measured["per_second"] > 0
    assert measured["bytes_per_key"] > 0
    assert found["events"] == 50 * 4 + 5 * 20, "four of each key, and those of the last turns"
    assert found["read_bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.snapshot"))


def test_keys_are_shared_out_among_partitions() -> None:
    measured = apply(growth_plan(), keys=30, partitions=4, turn=30)

    assert measured["filled_per_second"] > 0


def test_the_number_of_keys_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "growth", "--keys", "0"]) == 1
    assert "--keys is 0" in capsys.readouterr().err
    assert main(["bench", "lookup", "--keys", "5"]) == 1
    assert KEYS == 10_000_000
