"""A view that is backfilled at any moment ends as one that was live from the first message on, byte for byte.

    whole     ●══════════════════════════════════════════●      live from the beginning
    late      ├ events only ┤ keyed, closed ┤ log ▷ switch ●═════●   defined, backfilled, live

``HEADRACE_BACKFILL_SCHEDULES`` says how many schedules run.
"""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_store.offline.offline_log import log_folder, segments_below
from headrace.config import RedisSettings, Settings, StreamSettings
from headrace.spec.features import FeatureView
from headrace.spec.project import Project, load_project
from streams.backfill.switch_point import BehindError
from tests.drills.backfill_world import BackfillProcess, backfill, backfill_of, final_rows
from tests.drills.simulated_world import Broker, Store
from tests.integration.test_stream_kill import comparable, different
from tests.stream_world import HOUR_US, START_US, Traffic, feature_log, make_project, make_traffic

_EVENTS = 250


def settings_of(folder: Path, rows: int = 40) -> Settings:
    return Settings(
        home=folder,
        redis=RedisSettings(url="redis://nobody:1/0"),
        stream=StreamSettings(batch_rows=rows, flush_rows=90),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Traffic, Settings, Store]:
    """The traffic, and the run in which every view was live from the beginning."""
    folder = tmp_path_factory.mktemp("backfill")
    project, traffic = make_project(folder / "shop", "late"), make_traffic(_EVENTS, seed=8)
    settings, store = settings_of(folder / "whole"), Store()
    BackfillProcess(settings, project, Broker.with_traffic(project, traffic), store, np.random.default_rng(0)).live()
    return project, traffic, settings, store


def without(project: Project, folder: Path, view: str) -> Project:
    """The project as it was before the view was defined."""
    other = {"card_use": "shop_risk", "shop_risk": "card_use"}[view]
    text = (project.path / "shop.py").read_text(encoding="utf-8")
    folder.mkdir(parents=True)
    parts = text.split("\n" + view + " = ")
    rest = parts[1].split("\n)\n", 1)[1]
    (folder / "shop.py").write_text(parts[0] + "\n" + rest, encoding="utf-8")
    before = load_project(folder)
    assert [known.name for known in before.views] == [other]
    return before


@pytest.mark.parametrize("name", ["card_use", "shop_risk"])
def test_a_backfilled_view_ends_like_one_that_was_always_live(
    world: tuple[Project, Traffic, Settings, Store], tmp_path: Path, name: str
) -> None:
    project, traffic, whole, calm = world
    view, other = project.view(name), next(view for view in project.views if view.name != name)
    schedules = int(os.environ.get("HEADRACE_BACKFILL_SCHEDULES", "6"))
    expected, log = final_rows(whole, project, view), comparable(feature_log(whole, project, view))

    for seed in range(schedules):
        rng = np.random.default_rng(seed)
        settings, store = settings_of(tmp_path / str(seed), int(rng.integers(5, 120))), Store()
        broker = Broker.with_traffic(project, traffic)
        if seed % 2:  # defined later: until then its keyed log did not exist, or had other columns
            before = BackfillProcess(
                settings, without(project, tmp_path / f"{seed}p" / "shop", name), broker, store, rng
            )
            before.turns(int(rng.integers(5, 60)))
            before.leave()
        process = BackfillProcess(settings, project, broker, store, rng, closed=name)
        process.turns(int(rng.integers(0, 60)))
        process.flush()
        process.turns(int(rng.integers(0, 20)))
        _hand_over(settings, project, view, broker, process)
        process.live()

        assert final_rows(settings, project, view) == expected, seed
        assert not different(comparable(feature_log(settings, project, view)), log, view.entity), seed
        assert final_rows(settings, project, other) == final_rows(whole, project, other), seed
        assert store.content() == calm.content(), seed


def _hand_over(
    settings: Settings,
    project: Project,
    view: FeatureView,
    broker: Broker,
    process: BackfillProcess,
    since_us: int | None = None,
) -> None:
    while True:
        try:
            switches = backfill(settings, project, view, broker, process, since_us)
        except BehindError:  # what was forwarded is not durable yet, as of a worker that flushes now and then
            process.flush()
            continue
        break
    assert all(switch.offset >= 0 for switch in switches)
    process.open(view)


def test_a_stopped_backfill_goes_on_where_it_was(
    world: tuple[Project, Traffic, Settings, Store], tmp_path: Path
) -> None:
    """Killed after any stretch: what is not saved is computed again, what is saved is not."""
    project, traffic, whole, calm = world
    rng = np.random.default_rng(3)
    for view in project.views:
        settings, store = settings_of(tmp_path / view.name, 20), Store()
        broker = Broker.with_traffic(project, traffic)
        process = BackfillProcess(settings, project, broker, store, rng, closed=view.name)
        process.turns(120)
        process.flush()
        rows, lives = 0, 0
        while True:
            run, lives = backfill_of(settings, project, view), lives + 1
            left = int(rng.integers(1, 5))
            countdown = iter(range(left - 1, -2, -1))
            if run.run(save_every_s=0.0 if lives % 2 else 1e9, look=lambda countdown=countdown: next(countdown) > 0):
                break
            rows += run.progress.rows
        assert lives > 3
        assert rows < 3 * _EVENTS
        _hand_over(settings, project, view, broker, process)
        process.live()

        assert final_rows(settings, project, view) == final_rows(whole, project, view)
        log, expected = (comparable(feature_log(of, project, view)) for of in (settings, whole))
        assert not different(log, expected, view.entity)
        assert store.content() == calm.content()


def test_nothing_is_left_behind(world: tuple[Project, Traffic, Settings, Store], tmp_path: Path) -> None:
    project, traffic, *_ = world
    view = project.view("card_use")
    settings, broker = settings_of(tmp_path), Broker.with_traffic(project, traffic)
    process = BackfillProcess(settings, project, broker, Store(), np.random.default_rng(1), closed=view.name)
    process.turns(60)
    _hand_over(settings, project, view, broker, process)
    files = segments_below(log_folder(settings.offline_dir, project.name, "features", view.name))

    assert not list((settings.state_dir / project.name / "backfill").rglob("*.snapshot"))
    assert files
    assert all(segment.first == 0 or any(f.last == segment.first - 1 for f in files) for segment in files)


def test_from_an_instant_on_it_is_the_same(world: tuple[Project, Traffic, Settings, Store], tmp_path: Path) -> None:
    """Rows online of keys with events, and every change of the feature log since."""
    project, traffic, whole, calm = world
    since_us = START_US + 20 * HOUR_US
    for view in project.views:
        settings, store = settings_of(tmp_path / view.name, 30), Store()
        broker = Broker.with_traffic(project, traffic)
        process = BackfillProcess(settings, project, broker, store, np.random.default_rng(9), closed=view.name)
        process.turns(150)
        process.flush()
        _hand_over(settings, project, view, broker, process, since_us)
        process.live()

        assert final_rows(settings, project, view) == final_rows(whole, project, view)
        assert all(calm.content()[place] == row for place, row in store.content().items())
        found, expected = (comparable(feature_log(of, project, view)) for of in (settings, whole))
        late = pc.greater_equal(expected["event_timestamp"], pa.scalar(since_us, pa.timestamp("us", tz="UTC")))
        assert not different(found, expected.filter(late), view.entity)
        assert 100 < found.num_rows < expected.num_rows
