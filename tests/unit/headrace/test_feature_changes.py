"""``headrace features plan``, ``backfill`` and ``features retire`` say what is and what to do, without a server."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema
from feature_store.plan import compile_view
from headrace.cli.main import main
from headrace.config import Settings
from headrace.spec.project import load_project
from streams.views.open_views import OpenViews

STREAM = """
from headrace import EventStream, FeatureView, Int64, String, count, sum
clicks = EventStream("clicks", key="user", time="at", id="click", schema={"user": Int64, "page": String})
"""
USE = 'use = FeatureView("use", entity="page", source=clicks, features=[count().over("1h")])\n'


class Shop:
    """A project whose file changes, and a home in which workers have started."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder / "home")
        self.folder = folder / "shop"
        self.folder.mkdir()

    def define(self, *views: str) -> None:
        (self.folder / "clicks.py").write_text(STREAM + "".join(views), encoding="utf-8")

    def start_worker(self) -> None:
        OpenViews(self.settings, load_project(self.folder), plan_of=compile_view).at_start()

    def add_events(self, count: int) -> None:
        columns = {"_late": [False] * count, "page": ["a"] * count}
        schema = event_schema(load_project(self.folder).stream("clicks"))
        table = pa.table({f.name: pa.array(columns.get(f.name, range(count)), f.type) for f in schema})
        write_segment(table, log_folder(self.settings.offline_dir, "shop", "events", "clicks", 0), 0, count - 1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADRACE_REDIS_URL", "redis://127.0.0.1:1/0")
    made = Shop(tmp_path)
    made.define(USE)
    return made


def run(shop: Shop, *words: str) -> int:
    return main([*words, "--project", str(shop.folder)])


def test_the_plan_names_change_reason_cost_and_next_step(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.start_worker()
    shop.add_events(12_345)
    shop.define(USE.replace('"1h"', '"1h", "2h"'), USE.replace("use", "more"))

    assert run(shop, "features", "plan", "--json") == 0
    plan = {change["view"]: change for change in json.loads(capsys.readouterr().out)["plan"]}

    assert plan["use"]["change"] == "new version"
    assert plan["use"]["reasons"] == ["feature count_2h is new"]
    assert plan["use"]["next_step"] == "call it use_v2 and keep both, or headrace backfill use --replace"
    assert plan["more"]["change"] == "new"
    assert plan["more"]["next_step"] == "restart the worker, then headrace backfill more"
    assert plan["use"]["rows"] == plan["more"]["rows"] == 12_345
    assert 0 < plan["use"]["seconds"] < 10
    assert not plan["use"]["is_measured"]


def test_the_plan_of_one_view_is_the_dry_run_of_its_backfill(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.start_worker()
    shop.define(USE.replace('entity="page"', 'entity="user"'), USE.replace("use", "more"))

    assert run(shop, "backfill", "use", "--dry-run", "--json") == 1
    (change,) = json.loads(capsys.readouterr().out)["plan"]

    assert change["change"] == "breaking"
    assert change["reasons"] == ["entity page is user: rows have other keys"]


def test_a_plan_for_people_has_a_line_for_each_view(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.start_worker()

    assert run(shop, "features", "plan") == 0
    assert "unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says", "hint"),
    [
        (["backfill", "use"], "view 'use' is live with this definition", "nothing to compute"),
        (["backfill", "us"], "'us' is not defined", "['use']"),
        (["features", "retire", "use"], "view 'use' is defined", "out of the project first"),
        (["features", "retire", "us"], "view 'us' was never computed here", "['use']"),
    ],
)
def test_what_cannot_be_done_is_said_with_the_next_step(
    shop: Shop, capsys: pytest.CaptureFixture[str], words: list[str], says: str, hint: str
) -> None:
    shop.start_worker()

    assert run(shop, *words) == 1
    error = capsys.readouterr().err
    assert says in error
    assert hint in error


def test_rows_of_another_definition_are_not_taken_away_unasked(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.start_worker()
    shop.add_events(3)
    shop.define(USE.replace("1h", "2h"))

    assert run(shop, "backfill", "use") == 1
    assert "name the new one 'use_v2'" in capsys.readouterr().err
    assert run(shop, "backfill", "use", "--replace") == 1
    assert "a worker may still write the former 'use'" in capsys.readouterr().err


def test_a_home_in_which_no_worker_has_run_says_so(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shop, "backfill", "use") == 1
    assert "no stream worker of project 'shop' has run" in capsys.readouterr().err


def test_a_view_that_a_worker_may_still_write_is_not_retired(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.define(USE, USE.replace("use", "more"))
    shop.start_worker()
    shop.define(USE)

    assert run(shop, "features", "retire", "more") == 1
    assert "restart `headrace run stream` without it" in capsys.readouterr().err
