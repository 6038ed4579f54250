"""``headrace features plan``, ``backfill`` and ``features retire`` say what is and what to do, without a server."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.definitions.applied_views import AppliedView, change_applied
from feature_store.definitions.backfill_cost import rows_logged
from feature_store.definitions.registered_views import versions_of
from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema
from feature_store.plan import compile_view
from headrace.cli.main import main
from headrace.config import Settings
from headrace.spec.project import load_project
from headrace.spec.view_definition import describe_view
from streams.views.open_views import OpenViews
from streams.worker_lock import take_place

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

    @contextmanager
    def running_worker(self) -> Iterator[None]:
        """A worker, in this process, that began with the definitions of now."""
        place = take_place(self.settings, "shop")
        place.say(metrics="", views=versions_of(load_project(self.folder)))
        try:
            yield
        finally:
            place.give_up()

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


def test_a_backfill_is_refused_while_a_worker_runs_that_does_not_know_the_view(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.start_worker()
    shop.add_events(3)
    with shop.running_worker(), shop.running_worker():
        shop.define(USE, USE.replace("use", "more"))

        assert run(shop, "backfill", "more") == 1
        said = capsys.readouterr()

        pids = ", ".join([str(os.getpid())] * 2)
        assert f"the stream workers with the pids {pids} began without this definition of view 'more'" in said.err
        assert "stop and start `headrace run stream`, then run the command again" in said.err
        assert "live" not in said.out
        assert not (shop.settings.state_dir / "shop" / "backfill").exists(), "nothing was computed"


def test_a_view_in_place_of_another_waits_for_workers_that_know_it(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.start_worker()
    shop.add_events(3)
    with shop.running_worker():
        shop.define(USE.replace("1h", "2h"))

        assert run(shop, "backfill", "use", "--replace") == 1
        assert f"worker with pid {os.getpid()} began without this definition" in capsys.readouterr().err


def test_a_view_that_is_live_but_for_a_worker_is_not_called_live(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.start_worker()
    with shop.running_worker():
        shop.define(USE, USE.replace("use", "more"))
        view = load_project(shop.folder).view("more")
        with change_applied(shop.settings, "shop") as pen:
            assert pen.views is not None
            pen.views = pen.views.with_view(AppliedView(definition=describe_view(view)))

        assert run(shop, "backfill", "more") == 1
        assert f"pid {os.getpid()} began without this definition of view 'more'" in capsys.readouterr().err
        assert run(shop, "features", "plan", "--json") == 0
        (note,) = [note for note in json.loads(capsys.readouterr().out)["notes"] if "pid" in note]
        assert f"pid {os.getpid()} began with other definitions of more" in note

    assert run(shop, "backfill", "more") == 1
    assert "view 'more' is live with this definition" in capsys.readouterr().err


def test_the_name_for_another_version_is_one_that_is_free(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    shop.define(USE, USE.replace("use", "use_v2"), USE.replace("use", "use_v3"))
    shop.start_worker()
    shop.add_events(3)
    shop.define(USE.replace("1h", "2h"), USE.replace("use", "use_v2").replace("1h", "2h"))

    assert run(shop, "features", "plan", "--json") == 0
    plan = {change["view"]: change for change in json.loads(capsys.readouterr().out)["plan"]}

    assert plan["use"]["next_step"].startswith("call it use_v4 and keep both")
    assert plan["use_v2"]["next_step"].startswith("call it use_v4 and keep both"), "of use_v3 rows are left"
    assert run(shop, "backfill", "use") == 1
    assert "name the new one 'use_v4'" in capsys.readouterr().err


def test_what_is_left_of_a_log_is_counted_by_rows_and_not_by_files(shop: Shop) -> None:
    shop.add_events(1_000)
    project = load_project(shop.folder)

    left = [rows_logged(shop.settings, project, project.view("use"), {("clicks", 0): at}) for at in (0, 1, 990, 1_000)]

    assert left == [1_000, 999, 10, 0]
