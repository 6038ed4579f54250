"""A state that no cache holds is worked on stretch by stretch, and gives what it gives at once."""

from collections.abc import Iterator

import numpy as np
import pytest

import headrace as hr
from feature_store.plan import ViewPlan, compile_view
from feature_store.state import state_memory
from feature_store.state.cache_kernels import TOGETHER
from feature_store.state.state_arrays import empty_arena
from feature_store.state.view_state import ViewState

STREAM = hr.EventStream(
    "sales", key="card", time="at", id="sale", schema={"card": hr.Int64, "eur": hr.Int64}, lateness="10s"
)
VIEW = hr.FeatureView(
    "card_use",
    entity="card",
    source=STREAM,
    features=[*hr.count().over("30s", "60s"), hr.sum("eur").over("60s"), hr.max("eur").over(hr.lifetime())],
)


def everything(seed: int) -> Iterator[bytes]:
    """Bytes of all rows, of the log and of the state, over growth, late events, expiry and sweeps."""
    rng, plan, at_us = np.random.default_rng(seed), compile_view(VIEW), 10**15
    state = ViewState(plan)
    for turn in range(12):
        n = int(rng.integers(1, 3 * TOGETHER))
        at_us += int(rng.integers(0, 20_000_000))
        inputs = np.vstack([rng.integers(0, 100, n) for _ in plan.inputs])
        keys, times_us = rng.integers(0, 4 * TOGETHER, n), at_us - rng.integers(0, 15_000_000, n)
        state.apply(keys, times_us, rng.integers(0, 2**60, n), inputs)
        state.advance(at_us)
        drained = state.drain(log=turn % 2 == 0)
        for rows in (drained.latest, drained.log):
            if rows is not None:
                yield rows.values.tobytes() + rows.valid_until_us.tobytes() + rows.state_inputs.tobytes()
    yield from (array.tobytes() for array in state.snapshot().values())


@pytest.mark.parametrize("seed", range(3))
def test_stretches_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = list(everything(seed))
    monkeypatch.setattr(state_memory, "CACHED_BYTES", 0)

    assert list(everything(seed)) == at_once


@pytest.mark.parametrize("seed", range(3))
def test_memory_need_not_be_fresh(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories are packed into an arena that was used before."""
    fresh, packed = list(everything(seed)), 0

    def used_before(plan: ViewPlan, size: int) -> np.ndarray:
        nonlocal packed
        packed += 1
        return np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, empty_arena(plan, size).shape)

    monkeypatch.setattr(state_memory, "empty_arena", used_before)

    assert list(everything(seed)) == fresh
    assert packed > 1
