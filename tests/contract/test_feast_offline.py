"""Feast's historical features from our log: what the kernels compute, and what Feast's own store would answer."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureStore, RepoConfig

from feature_store.compute import EventColumns, features_at
from feature_store.definitions.feast_registry import FeastRegistry, open_feast
from feature_store.offline.offline_log import log_folder, segments, write_segment
from feature_store.offline_tables import TIMESTAMP, feature_schema, feature_table
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from feature_store.upkeep.compaction import compact, feature_order
from headrace import EventStream, FeatureView, Float64, Int64, Project, String, count, last_k, mean, top_k
from headrace.cli.main import main
from headrace.config import RedisSettings, Settings
from headrace.errors import DefinitionError, RejectedError
from streams.worker_lock import take_place

PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "shop": String, "eur": Float64(resolution=0.01)},
    lateness="10m",
)  # fmt: skip
SPEND = FeatureView(
    "spend", entity="card", source=PAY, features=[count().over("5m", "1h"), mean("eur").over("5m", "1h")]
)
SHORT = FeatureView("short", entity="card", source=PAY, features=[count().over("1h")], ttl="10s")
SHOP = FeatureView("shop_visits", entity="shop", source=PAY, features=[count().over("1h")])
START_US = 1_600_000_000_000_000
SECOND = 1_000_000


def _project(path: Path, *views: FeatureView) -> Project:
    return Project(name="cards", path=path, streams=(PAY,), labels=(), views=views, requests=(), models=())


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, redis=RedisSettings(url="redis://user:123@nowhere:1/2"))


@pytest.fixture
def feast(settings: Settings, tmp_path: Path) -> FeatureStore:
    FeastRegistry(settings, _project(tmp_path, SPEND, SHORT, SHOP)).apply()
    return open_feast(settings, "cards")


def _stock(settings: Settings) -> FeatureStore:
    """The same registry with Feast's own offline store."""
    ours = open_feast(settings, "cards").config
    return FeatureStore(
        config=RepoConfig(
            project=ours.project,
            provider=ours.provider,
            registry={"registry_type": "file", "path": str(settings.registry_path)},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )


def _moments(instants_us: Any) -> pd.Series:
    return pd.Series(pd.to_datetime(np.asarray(instants_us), unit="us", utc=True))


def _columns(view: FeatureView) -> list[str]:
    return [f"{view.name}:{name}" for name in view.feature_names]


def test_feast_answers_what_the_kernels_compute_at_any_instant(feast: FeatureStore, settings: Settings) -> None:
    """A stream with disorder, drained in batches into the log; asked at 3,000 instants."""
    plan, rng = compile_view(SPEND), np.random.default_rng(7)
    n = 2000
    times = START_US + np.sort(rng.integers(0, 3 * 3600, n)) * SECOND
    keys, ids = rng.integers(0, 8, n), np.arange(n)
    inputs = rng.integers(0, 10_000, (1, n))
    order = np.argsort(times + rng.integers(0, 300, n) * SECOND, kind="stable")
    state, folder = ViewState(plan), log_folder(settings.offline_dir, "cards", "features", "spend", 0)
    for number, rows in enumerate(np.array_split(order, 10)):
        state.apply(keys[rows], times[rows], ids[rows], inputs[:, rows])
        state.advance(int(times[rows].max()) - 300 * SECOND if number < 9 else START_US + 9 * 3600 * SECOND)
        drained = state.drain(log=True)
        assert drained.log is not None
        write_segment(
            feature_table(plan, drained.log, created_us=START_US + number, version=number), folder, number, number
        )
    asked_keys = rng.integers(0, 9, 3000)
    asked_us = START_US + rng.integers(0, 5 * 3600 * SECOND, 3000)

    frame = pd.DataFrame({"card": asked_keys, "event_timestamp": _moments(asked_us)})
    found = feast.get_historical_features(entity_df=frame, features=_columns(SPEND)).to_df()

    events = EventColumns(keys=keys, times_us=times, ids=ids, inputs=inputs)
    expected = features_at(plan, events, asked_keys, asked_us)
    first = np.array([times[keys == key].min(initial=2**62) for key in asked_keys])
    expected[asked_us < first] = np.nan  # Feast has no row of a key before its first event
    actual = found[list(plan.feature_names)].to_numpy(np.float64)
    assert np.array_equal(actual, expected, equal_nan=True)
    assert found["card"].tolist() == asked_keys.tolist(), "rows keep their order"

    covered = segments(folder)[0].path
    data = covered.read_bytes()
    (done,) = compact(folder, below=10, order=feature_order("card"), drop_superseded=True)
    covered.write_bytes(data)  # as a compaction that was killed leaves it
    assert done.superseded > 0
    again = feast.get_historical_features(entity_df=frame, features=_columns(SPEND)).to_df()
    pd.testing.assert_frame_equal(again, found)


def _write_short(settings: Settings, rows: list[tuple[int, float, int, int | None]]) -> None:
    """Rows are (card, event time s, created s, count)."""
    table = pa.table(
        [
            pa.array([row[0] for row in rows], pa.int64()),
            pa.array([START_US + round(row[1] * SECOND) for row in rows], pa.int64()).cast(TIMESTAMP),
            pa.array([START_US + row[2] * SECOND for row in rows], pa.int64()).cast(TIMESTAMP),
            pa.array([row[3] for row in rows], pa.int64()),
            pa.nulls(len(rows), TIMESTAMP),
            pa.array([0] * len(rows), pa.int64()),
        ],
        schema=feature_schema(SHORT),
    )
    write_segment(table, log_folder(settings.offline_dir, "cards", "features", "short", 0), 0, len(rows))


EDGES = [
    (1, 0.0, 0, 10),
    (1, 20.0, 5, 11),
    (1, 20.0, 9, 12),  # corrected later: the newest counts
    (1, 20.0, 7, 13),
    (2, 5.0, 5, 20),
    (2, 6.0, 6, None),  # a null is the newest value, not a gap
    (3, 100.0, 100, 30),
]


def test_edges_are_answered_as_by_feasts_own_store(feast: FeatureStore, settings: Settings) -> None:
    """Closed at both ends, newest created wins, nulls are values, rows and their order stay."""
    _write_short(settings, EDGES)
    asked = [(1, 0), (1, 10), (1, 10.000001), (1, 19.999999), (1, 20), (1, 20), (1, 31), (2, 6), (3, 99), (9, 1)]
    asked.reverse()
    frame = pd.DataFrame(
        {
            "card": [key for key, _ in asked],
            "event_timestamp": _moments([START_US + round(at * SECOND) for _, at in asked]),
            "note": [f"row {number}" for number in range(len(asked))],
        }
    )

    ours = feast.get_historical_features(entity_df=frame, features=_columns(SHORT)).to_df()
    stock = _stock(settings)
    theirs = stock.get_historical_features(entity_df=frame, features=_columns(SHORT)).to_df()

    expected = [10, 10, None, None, 12, 12, None, None, None, None]
    values = [None if pd.isna(value) else value for value in ours["count_1h"]]
    assert list(reversed(values)) == expected
    pd.testing.assert_frame_equal(ours, theirs.sort_values("note").reset_index(drop=True), check_dtype=False)
    assert type(stock._provider.offline_store).__name__ == "DuckDBOfflineStore"


def test_lists_stand_in_the_log_as_lists(settings: Settings, tmp_path: Path) -> None:
    """What Feast finds at an instant is what the kernels say there."""
    view = FeatureView(
        "recent", entity="card", source=PAY, features=[last_k("eur", 2).over("1h"), top_k("eur", 2).over("1h")]
    )
    FeastRegistry(settings, _project(tmp_path, view)).apply()
    plan = compile_view(view)
    state = ViewState(plan)
    times = START_US + np.array([0, 10, 20, 30]) * SECOND
    eur = np.array([[100, 250, 100, 999]])
    state.apply(np.array([1, 1, 1, 2]), times, np.arange(4), eur)
    state.advance(int(times[-1]) + SECOND)
    log = state.drain(log=True).log
    assert log is not None
    folder = log_folder(settings.offline_dir, "cards", "features", "recent", 0)
    write_segment(feature_table(plan, log, created_us=1, version=0), folder, 0, 0)
    asked = pd.DataFrame(
        {"card": [1, 1, 1, 2, 2], "event_timestamp": _moments(START_US + np.array([5, 25, 25, 25, 31]) * SECOND)}
    )

    found = open_feast(settings, "cards").get_historical_features(asked, _columns(view)).to_arrow().to_pydict()

    assert found["last_2_eur_1h"] == [[1.0], [1.0, 2.5], [1.0, 2.5], None, [9.99]]
    assert found["top_2_eur_1h"] == [[1.0], [1.0, 2.5], [1.0, 2.5], None, [9.99]]


def test_full_ties_have_one_answer(feast: FeatureStore, settings: Settings) -> None:
    _write_short(settings, [(1, 0.0, 0, value) for value in (3, 9, 5)])
    frame = pd.DataFrame({"card": [1], "event_timestamp": _moments([START_US])})

    found = feast.get_historical_features(entity_df=frame, features=_columns(SHORT)).to_df()

    assert found["count_1h"].tolist() == [9]


def test_a_bound_on_the_created_time_is_kept(feast: FeatureStore, settings: Settings) -> None:
    _write_short(settings, EDGES)
    frame = pd.DataFrame({"card": [1], "event_timestamp": _moments([START_US + 20 * SECOND])})
    frame["event_timestamp"] += timedelta(seconds=-12)

    found = feast.get_historical_features(
        entity_df=frame, features=_columns(SHORT), filter_by_created_timestamp=True
    ).to_df()

    assert found["count_1h"].tolist() == [10]


def test_before_any_data_every_value_is_null_and_every_row_is_kept(feast: FeatureStore) -> None:
    frame = pd.DataFrame({"card": [1, 1], "shop": ["a", "b"], "event_timestamp": _moments([START_US] * 2)})

    found = feast.get_historical_features(
        entity_df=frame, features=[*_columns(SPEND), *_columns(SHOP)], full_feature_names=True
    ).to_df()

    assert len(found) == 2
    assert found[[*SPEND.full_names, *SHOP.full_names]].isna().all(axis=None)


def test_text_keys_and_times_in_another_zone_are_joined(feast: FeatureStore, settings: Settings) -> None:
    plan = compile_view(SHOP)
    state = ViewState(plan)
    state.apply(np.array(["Köln"], object), np.array([START_US]), np.array([1]), np.empty((0, 1), np.int64))
    state.advance(START_US + SECOND)
    log = state.drain(log=True).log
    assert log is not None
    folder = log_folder(settings.offline_dir, "cards", "features", "shop_visits", 3)
    write_segment(feature_table(plan, log, created_us=0, version=0), folder, 0, 0)
    moment = datetime.fromtimestamp(START_US / SECOND + 60, UTC)

    tokyo = pd.Series([moment] * 2).dt.tz_convert("Asia/Tokyo")
    frame = pd.DataFrame({"shop": ["Köln", "Bonn"], "event_timestamp": tokyo})
    found = feast.get_historical_features(entity_df=frame, features=_columns(SHOP)).to_df()

    assert found["count_1h"].fillna(-1).tolist() == [1, -1]


def test_sql_text_is_refused_with_the_way_out(feast: FeatureStore) -> None:
    with pytest.raises(RejectedError, match="DataFrame"):
        feast.get_historical_features(entity_df="SELECT 1", features=_columns(SPEND)).to_df()


def test_applying_again_changes_nothing_and_the_plan_says_what_would(settings: Settings, tmp_path: Path) -> None:
    def kinds(*views: FeatureView) -> dict[str, str]:
        return {change.name: change.change for change in FeastRegistry(settings, _project(tmp_path, *views)).plan()}

    assert kinds(SPEND, SHORT) == {"card": "new", "spend": "new", "short": "new"}

    registry = FeastRegistry(settings, _project(tmp_path, SPEND, SHORT))
    registry.apply()
    written = settings.registry_path.read_bytes()
    assert {change.change for change in registry.apply()} == {"unchanged"}
    assert settings.registry_path.read_bytes() == written

    longer = replace(SPEND, features=[count().over("5m", "2h")])
    changes = {change.name: change for change in FeastRegistry(settings, _project(tmp_path, longer)).plan()}
    assert (changes["spend"].change, changes["spend"].detail) == (
        "changed",
        "+count_2h -count_1h -mean_eur_1h -mean_eur_5m",
    )
    assert changes["short"].change == "undefined"

    FeastRegistry(settings, _project(tmp_path, longer)).apply()
    assert kinds(longer)["spend"] == "unchanged"
    names = {field.name for field in open_feast(settings, "cards").get_feature_view("spend").features}
    assert names == {"count_5m", "count_2h"}


def test_the_command_shows_the_plan_and_registers_unless_asked_not_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))

    assert main(["apply", "--dry-run"]) == 0
    assert "5 new" in capsys.readouterr().out
    assert main(["apply", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert {(change["name"], change["change"]) for change in plan} == {
        ("customer_id", "new"), ("terminal_id", "new"), ("customer_activity", "new"), ("terminal_risk", "new"),
        ("fraud", "new"),
    }  # fmt: skip
    place = take_place(Settings(home=tmp_path), "fraud")
    place.say(metrics="", views={"customer_activity": "of yesterday"})
    assert main(["apply"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "5 unchanged" in said
    assert "began with other definitions of customer_activity, terminal_risk: a worker learns definitions when" in said
    place.give_up()
    assert main(["apply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restart"] == {}


def test_an_entity_has_one_type_of_key(settings: Settings, tmp_path: Path) -> None:
    other = EventStream("other", key="card", time="at", id="id", schema={"card": String})
    view = FeatureView("other_view", entity="card", source=other, features=[count().over("1h")])

    with pytest.raises(DefinitionError, match="'card'"):
        FeastRegistry(settings, _project(tmp_path, SPEND, view))
