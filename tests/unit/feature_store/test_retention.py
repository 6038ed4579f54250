"""Retention removes whole old files, and refuses what a view, a model or a training set still needs."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, segments, write_segment
from feature_store.offline_tables import event_schema
from feature_store.upkeep.retention import LogRetention, check_datasets, due, remove, retentions
from headrace import EventStream, FeatureView, Float64, Int64, LabelStream, Model, Project, count
from headrace.cli.main import main
from headrace.config import OfflineSettings
from headrace.contracts.artifacts import DatasetManifest
from headrace.errors import ConfigError, RejectedError
from headrace.spec.policies import RetrainPolicy

DAY = 86_400_000_000
CLICKS = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "eur": Float64}, lateness="1d")
BOUGHT = LabelStream("bought", of=CLICKS, value="buys", delay="2d")
HABIT = FeatureView("habit", entity="user", source=CLICKS, features=[count().over("3d")])
MODEL = Model("buyer", features=[HABIT], label=BOUGHT, retrain=RetrainPolicy(history="10d", test="5d"))
ALONE = Project(name="shop", path=Path(), streams=(CLICKS,), labels=(), views=(HABIT,), requests=(), models=())
TRAINED = Project(
    name="shop", path=Path(), streams=(CLICKS,), labels=(BOUGHT,), views=(HABIT,), requests=(), models=(MODEL,)
)
LOG = LogRetention(kind="events", name="clicks", time="at", keep_us=10 * DAY)


def _write(root: Path, partition: int, first: int, days: list[float]) -> None:
    columns = {
        "user": [1] * len(days),
        "eur": [1.0] * len(days),
        "click": range(first, first + len(days)),
        "at": [round(day * DAY) for day in days],
        "_arrival": [round(day * DAY) for day in days],
        "_partition": [partition] * len(days),
        "_offset": range(first, first + len(days)),
        "_late": [False] * len(days),
    }
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in event_schema(CLICKS)})
    write_segment(table, log_folder(root, "shop", "events", "clicks", partition), first, first + len(days) - 1)


def _left(root: Path, partition: int) -> list[int]:
    return [segment.first for segment in segments(log_folder(root, "shop", "events", "clicks", partition))]


def test_whole_old_files_go_oldest_first_and_never_the_newest(tmp_path: Path) -> None:
    for first, days in ((0, [1, 2]), (2, [3]), (3, [4, 11]), (5, [5]), (6, [21])):
        _write(tmp_path, 0, first, days)
    _write(tmp_path, 1, 0, [1])

    gone = list(remove(due(tmp_path, ALONE, LOG)))

    assert [(removal.segment.first, removal.rows, removal.newest_us) for removal in gone] == [
        (0, 2, 2 * DAY),
        (2, 1, 3 * DAY),
    ]
    assert _left(tmp_path, 0) == [3, 5, 6]
    assert _left(tmp_path, 1) == [0]
    assert due(tmp_path, ALONE, LOG) == []


@pytest.mark.parametrize(
    ("settings", "project", "says"),
    [
        (OfflineSettings(event_retention="4d"), ALONE, r"'4d', and view 'habit' .* needs 4d1us of 'clicks'"),
        (OfflineSettings(feature_retention="4d"), ALONE, r"feature_retention is '4d', and view 'habit'"),
        (OfflineSettings(event_retention="20d"), TRAINED, r"model 'buyer' .* needs 20d1us of 'clicks'"),
        (OfflineSettings(label_retention="16d"), TRAINED, r"model 'buyer' .* needs 17d of 'bought'"),
        (OfflineSettings(event_retention="soon"), ALONE, r"offline.event_retention is 'soon', not a duration"),
    ],
)
def test_a_retention_shorter_than_somebody_needs_is_refused_by_name(
    settings: OfflineSettings, project: Project, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        retentions(settings, project)

    assert caught.value.hint


def test_a_long_enough_retention_stands_for_every_log_of_its_kind() -> None:
    found = retentions(OfflineSettings(event_retention="21d", feature_retention="5d"), TRAINED)

    assert [(log.kind, log.name, log.keep_us) for log in found] == [
        ("events", "clicks", 21 * DAY),
        ("features", "habit", 5 * DAY),
    ]
    assert retentions(OfflineSettings(), TRAINED) == []


def _manifest(start_day: int) -> DatasetManifest:
    return DatasetManifest(
        dataset_id="buyer-0123",
        model="buyer",
        content_hash="0" * 64,
        mode="as_served",
        start_us=start_day * DAY,
        end_us=(start_day + 5) * DAY,
        as_of_us=(start_day + 9) * DAY,
        rows=1,
        positives=0,
        features=(),
        definitions={},
        sources={"clicks:0": 9},
    )


def test_what_a_training_set_was_built_from_stays(tmp_path: Path) -> None:
    for first, days in ((0, [1, 6]), (2, [30])):
        _write(tmp_path, 0, first, days)
    removals = due(tmp_path, TRAINED, LOG)
    assert removals

    with pytest.raises(RejectedError, match="buyer-0123 was built from 'clicks'"):
        check_datasets(TRAINED, removals, [_manifest(9)])
    check_datasets(TRAINED, removals, [_manifest(10)])


def test_the_command_says_what_it_removed_and_then_that_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "clicks.py").write_text(
        "from headrace import EventStream, Float64, Int64\n"
        'clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "eur": Float64})\n'
    )
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADRACE_OFFLINE_EVENT_RETENTION", "10d")
    offline = tmp_path / "home" / "data" / "offline"
    for first, days in ((0, [1, 2]), (2, [30])):
        _write(offline, 0, first, days)

    def retain(*more: str) -> tuple[list[dict[str, object]], str]:
        assert main(["offline", "retain", "--project", str(tmp_path / "shop"), "--json", *more]) == 0
        printed = capsys.readouterr()
        return json.loads(printed.out)["retain"], printed.err

    tried, said = retain("--dry-run")
    assert (tried[0]["rows"], tried[0]["removed"]) == (2, False)
    assert "would be removed" in said
    assert _left(offline, 0) == [0, 2]
    done, said = retain()
    assert (done[0]["newest"], done[0]["removed"]) == ("1970-01-03T00:00:00Z", True)
    assert "2 rows up to 1970-01-03T00:00:00Z, removed" in said
    assert _left(offline, 0) == [2]
    assert retain()[0] == []
