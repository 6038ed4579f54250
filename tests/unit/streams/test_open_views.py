"""Which views a worker opens, when it starts and after."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_store.definitions.applied_views import AppliedView, change_applied, read_applied
from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from headrace.config import Settings
from headrace.spec.project import Project, load_project
from headrace.spec.view_definition import describe_view
from streams.snapshots.snapshot_chain import read_newest, write_only
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_places import snapshot_store
from streams.views.open_views import OpenViews

DEFINITION = """
from headrace import EventStream, FeatureView, Int64, count
tx = EventStream("tx", key="card", time="at", id="id", schema={"card": Int64})
"""
USE = 'use = FeatureView("use", entity="card", source=tx, features=[count().over("1h")]%s)\n'
MORE = 'more = FeatureView("more", entity="card", source=tx, features=[count().over("2h")])\n'


class Home:
    """A project whose file changes, and its home."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder / "home")
        self._file = folder / "shop" / "shop.py"
        self._file.parent.mkdir(parents=True)

    def define(self, *views: str) -> Project:
        self._file.write_text(DEFINITION + "".join(views), encoding="utf-8")
        return load_project(self._file.parent)

    def start(self, *views: str) -> tuple[OpenViews, list[str]]:
        opened = OpenViews(self.settings, self.define(*views), plan_of=compile_view)
        return opened, [view.name for view in opened.at_start()]

    def add_events(self) -> None:
        folder = log_folder(self.settings.offline_dir, "shop", "events", "tx", 0)
        write_segment(pa.table({"card": [1]}), folder, 0, 0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_first_worker_opens_all_and_writes_it_down(home: Home) -> None:
    home.add_events()
    _, opened = home.start(USE % "", MORE)

    assert opened == ["use", "more"]
    applied = read_applied(home.settings, "shop")
    assert applied is not None
    assert not any(view.waiting_for for view in applied.views.values())


def test_of_a_home_older_than_the_file_state_of_another_definition_is_noticed(home: Home) -> None:
    view = home.define(USE % "").view("use")
    (home.settings.state_dir / "shop" / "views" / "use" / compile_view(view).version).mkdir(parents=True)

    assert home.start(USE % ', closed="right"')[1] == []
    assert home.start(USE % ', closed="right"', MORE)[1] == ["more"]


def test_a_new_view_waits_only_when_there_are_events(home: Home) -> None:
    home.start(USE % "")
    assert home.start(USE % "", MORE)[1] == ["use", "more"]


def test_a_new_view_with_events_waits_until_its_backfill_has_ended(home: Home) -> None:
    home.start(USE % "")
    home.add_events()
    open_views, opened = home.start(USE % "", MORE)
    more = home.define(USE % "", MORE).view("more")

    assert opened == ["use"]
    assert open_views.now_ready() == []
    assert home.start(USE % "", MORE)[1] == ["use"], "it waits for as long as it takes"
    with change_applied(home.settings, "shop") as pen:
        assert pen.views is not None
        pen.views = pen.views.with_view(AppliedView(definition=describe_view(more)))
    assert [view.name for view in open_views.now_ready()] == ["more"]
    assert open_views.now_ready() == [], "once"
    assert home.start(USE % "", MORE)[1] == ["use", "more"]


def test_a_changed_view_waits_and_comes_back_with_its_old_definition(home: Home) -> None:
    home.start(USE % "", MORE)
    home.add_events()

    assert home.start(USE % ', closed="right"', MORE)[1] == ["more"]
    assert home.start(USE % "", MORE)[1] == ["use", "more"]


def test_a_view_no_longer_defined_stays_written_down(home: Home) -> None:
    home.start(USE % "", MORE)
    home.start(MORE)
    applied = read_applied(home.settings, "shop")

    assert applied is not None
    assert applied.views.keys() == {"use", "more"}


def test_the_state_of_a_compatible_definition_goes_on(home: Home) -> None:
    before = compile_view(home.define(USE % "").view("use"))
    home.start(USE % "")
    home.add_events()
    state = ViewState(before)
    keys, times = np.array([7, 8]), np.array([10**15, 10**15 + 5])
    state.apply(keys, times, np.array([1, 2]), np.empty((0, 2), dtype=np.int64))
    state.advance(10**15 + 9)
    expected = state.drain(log=False).latest
    snapshot = Snapshot(
        offset=41,
        definition=before.version,
        facts={"created_us": 3},
        state=state.snapshot(),
        marks={},
    )
    write_only(snapshot_store(home.settings, "shop", "use", before.version, 0), snapshot)
    _, opened = home.start(USE % ', ttl="3d"')
    after = compile_view(home.define(USE % ', ttl="3d"').view("use"))
    found = read_newest(snapshot_store(home.settings, "shop", "use", after.version, 0), after.version)

    assert opened == ["use"]
    assert after.version != before.version
    assert found is not None
    assert (found.offset, found.facts) == (41, {"created_us": 3})
    rows = ViewState.restore(after, dict(found.state)).drain(log=False).latest
    assert rows.keys.tolist() == [7, 8], "every row is due, so that it is written under the new definition"
    assert rows.values.tobytes() == expected.values.tobytes()
    assert rows.state_t.tobytes() == expected.state_t.tobytes()
