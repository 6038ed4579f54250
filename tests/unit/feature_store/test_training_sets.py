"""A training set holds what was known, is named by its request and its rows, and is rebuilt to the same rows.

Clicks of one user, in days; a label matures a day after its click:

day   0    1    2    3    4    5
      a    b    c    d    e    f      clicks 1 to 6
           A    B    C    D    E      labels 1 to 5; F is never known
"""

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_store.compute import Mode
from feature_store.offline.log_bounds import committed_below
from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from feature_store.training.dataset import build_dataset, knowledge_time, rebuild_dataset, verify_dataset
from feature_store.upkeep.compaction import compact
from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    LabelStream,
    Model,
    Project,
    RequestFeatures,
    SlicesHold,
    count,
    mean,
)
from headrace.config import Settings
from headrace.contracts.artifacts import DatasetManifest
from headrace.dataset_format import DATA_FILE, MANIFEST_FILE, DatasetRows, folder_of, read_dataset, read_rows
from headrace.errors import ConfigError, HeadraceError, IntegrityError, RejectedError
from headrace.manifest_file import read_manifest, write_manifest

DAY = 86_400_000_000
START = 7_500 * DAY

CLICKS = EventStream(
    "clicks",
    key="user",
    time="at",
    id="click",
    schema={"user": Int64, "price": Float64, "shop": Int64, "tip": Float64(nullable=True)},
    lateness="1h",
)
BOUGHT = LabelStream("bought", of=CLICKS, value="buys", delay="1d")
HABIT = FeatureView("habit", entity="user", source=CLICKS, closed="right", features=[count().over("2d")])
LUCK = FeatureView(
    "luck",
    entity="user",
    source=CLICKS.with_label(BOUGHT),
    closed="right",
    features=[mean("buys").over("9d", empty=-1.0)],
)
HOUR = RequestFeatures("clock", of=CLICKS, fn=lambda click: {"even": click["price"] % 2 == 0})
MODEL = Model(
    "purchase",
    features=[HABIT, LUCK, HOUR, "price", "tip"],
    label=BOUGHT,
    gates=[SlicesHold(columns=("shop", "price"))],
)
PROJECT = Project(
    name="shop",
    path=Path(),
    streams=(CLICKS,),
    labels=(BOUGHT,),
    views=(HABIT, LUCK),
    requests=(HOUR,),
    models=(MODEL,),
)

Click = tuple[int, float, float]
"""(id, day of the click, day of its arrival)."""
Label = tuple[int, int, float]
"""(id of the click, outcome, day of its arrival)."""

ON_TIME: list[Click] = [(number + 1, number, number) for number in range(6)]
LABELS: list[Label] = [(number, number % 2, number) for number in range(1, 6)]


def _us(day: float) -> int:
    return START + round(day * DAY)


def _log(settings: Settings, clicks: Sequence[Click], first: int = 0, late: bool = False) -> None:
    rows = {
        "user": [1] * len(clicks),
        "price": [float(row[0]) for row in clicks],
        "shop": [row[0] * 10 for row in clicks],
        "tip": [None if row[0] % 2 else 0.5 for row in clicks],
        "click": [row[0] for row in clicks],
        "at": [_us(row[1]) for row in clicks],
        "_arrival": [_us(row[2]) for row in clicks],
        "_partition": [0] * len(clicks),
        "_offset": list(range(first, first + len(clicks))),
        "_late": [late] * len(clicks),
    }
    table = pa.table({field.name: pa.array(rows[field.name], field.type) for field in event_schema(CLICKS)})
    folder = log_folder(settings.offline_dir, "shop", "events", "clicks", 0)
    write_segment(table, folder, first, first + len(clicks) - 1)


def _log_labels(settings: Settings, labels: Sequence[Label], first: int = 0) -> None:
    rows = {
        "click": [row[0] for row in labels],
        "buys": [row[1] for row in labels],
        "_arrival": [_us(row[2]) for row in labels],
        "_partition": [0] * len(labels),
        "_offset": list(range(first, first + len(labels))),
    }
    table = pa.table({field.name: pa.array(rows[field.name], field.type) for field in label_schema(BOUGHT)})
    folder = log_folder(settings.offline_dir, "shop", "labels", "bought", 0)
    write_segment(table, folder, first, first + len(labels) - 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path)
    _log(settings, ON_TIME)
    _log_labels(settings, LABELS)
    return settings


def _build(
    settings: Settings, start: float = 0, end: float = 9, as_of: float = 9, mode: Mode = "as_served"
) -> DatasetManifest:
    return build_dataset(settings, PROJECT, MODEL, start_us=_us(start), end_us=_us(end), as_of_us=_us(as_of), mode=mode)


def _rows(settings: Settings, manifest: DatasetManifest) -> DatasetRows:
    return read_rows(folder_of(settings.datasets_dir, manifest.dataset_id))


def _clicks(settings: Settings, manifest: DatasetManifest) -> list[int]:
    return read_dataset(folder_of(settings.datasets_dir, manifest.dataset_id))[1]["click"].to_pylist()


def test_a_row_holds_the_inputs_at_its_instant_and_its_label(settings: Settings) -> None:
    manifest = _build(settings)
    table = read_dataset(folder_of(settings.datasets_dir, manifest.dataset_id))[1].to_pydict()

    assert tuple(table) == manifest.columns
    assert manifest.features == ("habit__count_2d", "luck__mean_buys_9d", "clock__even", "price", "tip")
    assert table["click"] == [1, 2, 3, 4, 5]
    assert table["habit__count_2d"] == [1, 2, 2, 2, 2]  # its own click included
    assert table["clock__even"] == [0, 1, 0, 1, 0]
    assert table["tip"] == [None, 0.5, None, 0.5, None]
    assert table["shop"] == [10, 20, 30, 40, 50]  # kept for a gate's slices; price is an input already
    assert table["buys"] == [1, 0, 1, 0, 1]
    assert (manifest.rows, manifest.positives) == (5, 3)


@pytest.mark.parametrize("mode", ["as_served", "corrected"])
def test_a_label_counts_once_it_is_known_and_never_for_its_own_row(settings: Settings, mode: Mode) -> None:
    """Label n matures and arrives at the instant of click n+1."""
    rows = _rows(settings, _build(settings, mode=mode))

    assert rows.column("luck__mean_buys_9d").tolist() == [-1.0, 1.0, 1 / 2, 2 / 3, 2 / 4]


def test_events_before_the_range_are_seen_by_features_and_are_no_rows(settings: Settings) -> None:
    manifest = _build(settings, start=3)

    assert _clicks(settings, manifest) == [4, 5]
    assert _rows(settings, manifest).column("luck__mean_buys_9d").tolist() == [2 / 3, 2 / 4]


@pytest.mark.parametrize("mode", ["as_served", "corrected"])
def test_a_row_whose_label_window_is_open_is_left_out(settings: Settings, mode: Mode) -> None:
    as_of = 3.0

    assert _clicks(settings, _build(settings, as_of=as_of, mode=mode)) == [1, 2, 3]
    assert _clicks(settings, _build(settings, as_of=as_of - 1e-9, mode=mode)) == [1, 2]


def test_a_label_that_arrives_late_is_waited_for_as_served(settings: Settings) -> None:
    _log(settings, [(7, 2.5, 2.5)], first=6)
    _log_labels(settings, [(7, 1, 8)], first=5)

    assert 7 not in _clicks(settings, _build(settings, as_of=7))
    assert 7 in _clicks(settings, _build(settings, as_of=8))
    assert 7 in _clicks(settings, _build(settings, as_of=7, mode="corrected"))


def test_as_served_sees_the_label_that_was_known_then(settings: Settings) -> None:
    _log_labels(settings, [(1, 0, 8)], first=5)

    before, after = _build(settings, as_of=7), _build(settings, as_of=8)

    assert _rows(settings, before).labels[0] == 1
    assert _rows(settings, after).labels[0] == 0


def test_an_event_that_arrived_too_late_counts_only_when_corrected(settings: Settings) -> None:
    """Click 7 of day 2.5 arrives on day 6; serving never saw it."""
    _log(settings, [(7, 2.5, 6)], first=6, late=True)
    _log_labels(settings, [(7, 1, 6)], first=5)

    served, corrected = _build(settings), _build(settings, mode="corrected")

    assert _clicks(settings, served) == [1, 2, 3, 4, 5]
    assert _rows(settings, served).column("habit__count_2d").tolist() == [1, 2, 2, 2, 2]
    assert _clicks(settings, corrected) == [1, 2, 3, 7, 4, 5]
    assert _rows(settings, corrected).column("habit__count_2d").tolist() == [1, 2, 2, 3, 3, 3]


def test_late_within_bounds_counts_from_its_arrival_as_served(settings: Settings) -> None:
    """Click 7 of day 2.99 arrives after click 4 of day 3."""
    _log(settings, [(7, 2.99, 3.01)], first=6)

    assert _rows(settings, _build(settings)).column("habit__count_2d").tolist() == [1, 2, 2, 2, 3]


def test_the_same_request_with_the_same_rows_is_the_same_data_set(settings: Settings) -> None:
    first = _build(settings)
    written = (settings.datasets_dir / first.dataset_id / DATA_FILE).stat().st_mtime_ns
    _log(settings, [(7, 8.5, 8.5)], first=6)  # never labelled

    assert _build(settings) == first
    assert (settings.datasets_dir / first.dataset_id / DATA_FILE).stat().st_mtime_ns == written
    assert [path.name for path in settings.datasets_dir.iterdir()] == [first.dataset_id]


@pytest.mark.parametrize(
    "other", [{"start": -1}, {"end": 7}, {"as_of": 20}, {"mode": "corrected"}], ids=["start", "end", "as_of", "mode"]
)
def test_another_request_has_a_manifest_of_its_own_even_with_the_same_rows(
    settings: Settings, other: dict[str, Any]
) -> None:
    first, second = _build(settings), _build(settings, **other)

    assert second.content_hash == first.content_hash
    assert second.dataset_id != first.dataset_id
    asked = {"start": 0, "end": 9, "as_of": 9, "mode": "as_served"} | other
    for manifest in (second, verify_dataset(settings, PROJECT, second.dataset_id)):
        assert (manifest.start_us, manifest.end_us) == (_us(asked["start"]), _us(asked["end"]))
        assert (manifest.as_of_us, manifest.mode) == (_us(asked["as_of"]), asked["mode"])
    assert verify_dataset(settings, PROJECT, first.dataset_id) == first


def test_a_set_named_by_its_rows_alone_is_still_read(settings: Settings) -> None:
    manifest = _build(settings)
    older = dataclasses.replace(manifest, dataset_id=f"purchase-{manifest.content_hash[:12]}")
    folder = (settings.datasets_dir / manifest.dataset_id).rename(settings.datasets_dir / older.dataset_id)
    write_manifest(folder / MANIFEST_FILE, older)

    assert verify_dataset(settings, PROJECT, older.dataset_id) == older
    assert _clicks(settings, older) == [1, 2, 3, 4, 5]


def test_knowledge_to_come_is_refused() -> None:
    assert knowledge_time(None, now_us=_us(9)) == _us(9)
    assert knowledge_time(_us(9), now_us=_us(9)) == _us(9)
    with pytest.raises(ConfigError, match="is in the future") as refused:
        knowledge_time(_us(9) + 1, now_us=_us(9))

    assert "an instant that has passed" in refused.value.hint


@pytest.mark.parametrize("memory_bytes", [None, 1])
def test_building_and_checking_say_how_far_they_are(settings: Settings, memory_bytes: int | None) -> None:
    told: list[tuple[str, int, int]] = []

    def track(what: str, done: int, total: int) -> None:
        told.append((what, done, total))

    asked = {"start_us": _us(0), "end_us": _us(9), "as_of_us": _us(9)}
    manifest = build_dataset(settings, PROJECT, MODEL, memory_bytes=memory_bytes, track=track, **asked)
    built = {what for what, _, _ in told}
    verify_dataset(settings, PROJECT, manifest.dataset_id, track=track)

    at_once = {"files of clicks read", "files of bought read", "questions to views answered"}
    in_passes = {"rows of the log of clicks looked through", "events of clicks sorted for luck"}
    assert built >= (in_passes | {"questions to luck answered"} if memory_bytes else at_once)
    assert ("values read", 0, 5 * len(manifest.columns)) in told
    assert all(0 <= done <= total for _, done, total in told)
    begun = [done for n, (what, done, _) in enumerate(told) if n == 0 or told[n - 1][0] != what]
    assert set(begun) == {0}


@pytest.mark.parametrize("mode", ["as_served", "corrected"])
def test_it_is_rebuilt_to_the_same_rows_whatever_arrives_later(settings: Settings, mode: Mode) -> None:
    manifest = _build(settings, mode=mode)
    _log(settings, [(8, 0.5, 0.5), (1, 0.1, 0.0)], first=6)
    _log_labels(settings, [(8, 1, 2), (3, 0, 3)], first=5)

    assert manifest.sources == {"clicks:0": 5, "bought:0": 4}
    assert rebuild_dataset(settings, PROJECT, manifest) == manifest.content_hash
    assert verify_dataset(settings, PROJECT, manifest.dataset_id) == manifest
    assert _build(settings, mode=mode).content_hash != manifest.content_hash


@pytest.mark.parametrize("mode", ["as_served", "corrected"])
def test_a_compacted_log_rebuilds_it(settings: Settings, mode: Mode) -> None:
    for number in range(4):
        _log(settings, [(7 + number, 6 + number / 8, 6.5)], first=6 + number, late=number == 2)
        _log_labels(settings, [(7 + number, 1, 6.6 - number / 50)], first=5 + number)
    manifest = _build(settings, mode=mode)
    merged = 0
    for kind, name in (("events", "clicks"), ("labels", "bought")):
        folder = log_folder(settings.offline_dir, "shop", kind, name, 0)  # type: ignore[arg-type]  # literals
        merged += sum(done.files for done in compact(folder, below=committed_below(folder)))

    assert merged == 8
    assert rebuild_dataset(settings, PROJECT, manifest) == manifest.content_hash


def test_other_definitions_do_not_rebuild_it(settings: Settings) -> None:
    manifest = _build(settings)
    other = FeatureView("habit", entity="user", source=CLICKS, closed="left", features=[count().over("2d")])
    model = Model("purchase", features=[other, LUCK, HOUR, "price", "tip"], label=BOUGHT)

    with pytest.raises(RejectedError, match="other definitions"):
        rebuild_dataset(settings, dataclasses.replace(PROJECT, models=(model,)), manifest)


def test_changed_rows_are_refused(settings: Settings) -> None:
    manifest = _build(settings)
    other = _build(settings, end=3)
    folder = settings.datasets_dir / manifest.dataset_id
    (folder / DATA_FILE).write_bytes((settings.datasets_dir / other.dataset_id / DATA_FILE).read_bytes())

    with pytest.raises(IntegrityError, match="the folder was changed"):
        verify_dataset(settings, None, manifest.dataset_id)


def test_a_torn_file_is_refused(settings: Settings) -> None:
    folder = settings.datasets_dir / _build(settings).dataset_id
    (folder / DATA_FILE).write_bytes((folder / DATA_FILE).read_bytes()[:-9])

    with pytest.raises(IntegrityError, match="cannot be read"):
        read_dataset(folder)


def test_a_changed_manifest_is_refused(settings: Settings) -> None:
    folder = settings.datasets_dir / _build(settings).dataset_id
    manifest = read_manifest(folder / MANIFEST_FILE, DatasetManifest)
    write_manifest(folder / MANIFEST_FILE, dataclasses.replace(manifest, definitions={"habit": "0"}))

    with pytest.raises(IntegrityError, match="the folder was changed"):
        read_dataset(folder)
    write_manifest(folder / MANIFEST_FILE, dataclasses.replace(manifest, mode="corrected"))
    with pytest.raises(IntegrityError, match="says another request"):
        read_dataset(folder)


def test_a_backfill_is_noticed(settings: Settings, tmp_path: Path) -> None:
    filled = Settings(home=tmp_path / "filled")
    _log(filled, [(number, day, 100) for number, day, _ in ON_TIME])
    _log_labels(filled, [(number, value, 101) for number, value, _ in LABELS])

    with pytest.warns(UserWarning, match="as in a backfill"):
        _build(filled, as_of=200)
    with pytest.warns(UserWarning, match="backfill"), pytest.raises(RejectedError, match="use mode corrected"):
        _build(filled, as_of=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corrected, live = _build(filled, mode="corrected"), _build(settings)

    assert corrected.content_hash == live.content_hash


def test_nothing_to_learn_from_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match="has a label known at"):
        _build(settings, start=5)
    with pytest.raises(ConfigError, match="is empty"):
        _build(settings, start=3, end=3)
    with pytest.raises(RejectedError, match="offline log of 'clicks'"):
        _build(Settings(home=tmp_path / "nowhere"))
    with pytest.raises(HeadraceError, match="no data set 'purchase-0'"):
        verify_dataset(settings, None, "purchase-0")
    with pytest.raises(ConfigError, match="use as_served or corrected"):
        _build(settings, mode="anyhow")
