"""The fraud stream of the handbook: its cold start is noticed, its steady weeks are left in peace."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from headrace.contracts.monitoring import Cause, IncidentState, WindowReport
from headrace.spec.policies import MonitorPolicy
from monitors.incident import new_track, step
from monitors.policy import judge_distances, level_of
from monitors.profile import DAY_US, profile_columns
from monitors.shape_watch import distances
from monitors.thresholds import NullCache

DATA = Path(__file__).parents[4] / "shared" / "data" / "fraud"
POLICY = MonitorPolicy(window="1d", false_pages="1 per 30 days")

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(not DATA.exists(), reason="the handbook's data is not beside this checkout"),
]


@pytest.fixture(scope="module")
def stream() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, the publishers' own feature values and amounts, event times."""
    features = pq.read_table(DATA / "expected_features_sample.parquet")
    events = pq.read_table(DATA / "events.parquet", columns=["TX_DATETIME", "TX_AMOUNT"])
    names = [name for name in features.column_names if name not in ("TRANSACTION_ID", "CUSTOMER_TIE")]
    columns = [features[name].to_numpy().astype(np.float64) for name in names]
    times_us = events["TX_DATETIME"].cast("int64").to_numpy()
    return [*names, "TX_AMOUNT"], np.stack([*columns, events["TX_AMOUNT"].to_numpy()], axis=1), times_us


def watch(stream, trained: range, watched: range) -> list:
    """Tracks of the model incident, day by day."""
    names, values, times_us = stream
    first_us = times_us[0] // DAY_US * DAY_US
    day = (times_us - first_us) // DAY_US
    inside = (day >= trained.start) & (day < trained.stop)
    profile, nulls = profile_columns(names, values[inside], times_us[inside]), NullCache()
    track, tracks = new_track("fraud", "model"), []
    for number in watched:
        from_us, rows = int(first_us + number * DAY_US), values[day == number]
        null = nulls.get("fraud/v1/inputs", profile, len(rows), level=level_of(POLICY))
        found = judge_distances(
            Cause.DRIFT, profile.names, distances(profile, rows, from_us, from_us + DAY_US), null, POLICY
        )
        report = WindowReport(
            model="fraud",
            window=number,
            from_us=from_us,
            until_us=from_us + DAY_US,
            rows=len(rows),
            version="v1",
            verdicts=tuple(found),
            quality={},
        )
        track = step(track, report, POLICY)
        tracks.append(track)
    return tracks


@pytest.mark.parametrize("trained", [range(7), range(7, 14)])
def test_the_cold_start_is_confirmed_on_its_second_day(stream, trained: range) -> None:
    tracks = watch(stream, trained, range(trained.stop, trained.stop + 7))

    assert [track.state for track in tracks[:2]] == [IncidentState.SUSPECTED, IncidentState.CONFIRMED]
    assert {track.state for track in tracks[2:]} == {IncidentState.CONFIRMED}
    assert "drift:TERMINAL_ID_NB_TX_30DAY_WINDOW" in tracks[-1].subjects
    assert "drift:CUSTOMER_ID_NB_TX_30DAY_WINDOW" in tracks[-1].subjects


@pytest.mark.parametrize("trained", [range(42, 49), range(49, 56)])
def test_steady_weeks_are_quiet(stream, trained: range) -> None:
    """Weekends and nights included: windows of a day are compared with the same weekday."""
    tracks = watch(stream, trained, range(trained.stop, 75))

    assert {track.state for track in tracks} == {IncidentState.OK}
