"""The whole monitor on a stable world: inputs, scores, error stream and quality together stay within the budget."""

from pathlib import Path

import pytest

from headrace.contracts.monitoring import IncidentState
from monitors import incident
from tests.unit.monitors.world import World, make_bench

WINDOWS = 150


@pytest.mark.parametrize("seed", [1, 2])
def test_false_pages_of_all_families_stay_within_the_budget(tmp_path: Path, seed: int) -> None:
    """One page a day may be wrong: 6.25 in 150 hourly windows; 13 or more have probability below 1.5 %.

    Nothing is held back by floors: any effect may alarm.
    """
    bench = make_bench(tmp_path, false_pages="1 per 1 day", effect_floor=1e-6, quality_drop=1e-6)
    track, pages = incident.new_track(bench.model.name, "model"), 0
    for report in bench.play(World(seed=seed, rows=220), range(WINDOWS)):
        before, track = track, incident.step(track, report, bench.model.monitors)
        pages += track.state is IncidentState.CONFIRMED and before.state is not IncidentState.CONFIRMED

    assert pages <= 12
