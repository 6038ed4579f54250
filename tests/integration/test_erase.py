"""Erasing a subject on real servers: nothing of it is left anywhere, nothing comes back, and others never knew it."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_store.offline.log_lock import backfill_lock, upkeep_lock
from feature_store.offline.offline_log import covered, list_files, log_folder
from feature_store.online.lookup import NOT_FOUND
from feature_store.training.dataset import build_dataset
from feature_store.upkeep.compaction import compact, feature_order
from headrace.cli.main import main
from headrace.config import Settings
from headrace.dataset_format import read_dataset
from headrace.erasure import erase as erase_subjects
from headrace.errors import IntegrityError, RejectedError
from headrace.local.stack import EmbeddedStack
from headrace.spec.project import load_project
from streams.backfill.backfill_run import run_backfill
from streams.worker import StreamWorker
from streams.worker_lock import stopped_worker, take_place
from tests.integration.erase_world import (
    DEFINITIONS,
    SUBJECT,
    World,
    assert_others_are_equal,
    statuses,
    traces,
    traffic,
)
from tests.stream_world import (
    MINUTE_US,
    START_US,
    Traffic,
    expected_values,
    feature_log,
    log_values,
    make_project,
    make_traffic,
    online_values,
    publish,
)
from tests.training_cases import TINY, a_job
from trainers.job import RunFolder
from trainers.main import run_job
from trainers.registry import ModelRegistry

ANOTHER_VIEW = """
late_thought = FeatureView("late_thought", entity="shop", source=sales, features=[count().over("2h")])
"""


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Mortal:
    """Hears of each step, and is the last to."""

    left: int

    def told_of_a_step(self, place: str, sentence: str) -> None:
        self.left -= 1
        if not self.left:
            raise Crash


@pytest.fixture(scope="module")
def worlds(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, World, set[int]]:
    """The world with the subject, the one that never had it, and the subject's events."""
    root, name = tmp_path_factory.mktemp("projects"), os.urandom(4).hex()
    made = []
    for kind in ("with", "never"):
        folder = root / f"erase_{kind}_{name}"
        folder.mkdir()
        text = DEFINITIONS.format(stream=f"erase-{kind}-{name}", model=f"erase_{kind}_{name}")
        (folder / "shop.py").write_text(text)
        made.append(World(stack, load_project(folder)))
    sales, labels = traffic(0, 1_400, START_US, 1)
    ids = {row["sale"] for _, row in sales if row["card"] == SUBJECT}
    for world, all_of_it in zip(made, (True, False), strict=True):
        kept = [[(p, dict(r)) for p, r in rows if all_of_it or r["sale"] not in ids] for rows in (sales, labels)]
        world.publish(kept[0], world.project.streams[0].name)
        world.publish(kept[1], world.project.labels[0].name)
        world.run()
    return made[0], made[1], ids


def erase(world: World, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_HOME", str(world.settings.home))
        assert main(["erase", "--project", str(world.project.path), "--entity", "card", "--json", *more]) == 0
    printed = capsys.readouterr()
    assert str(SUBJECT) not in printed.out + printed.err
    report: dict[str, Any] = json.loads(printed.out)
    return report


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Servers of its own: every byte they leave is looked at."""
    servers = EmbeddedStack(tmp_path_factory.mktemp("erase"))
    try:
        yield servers.up()
    finally:
        servers.down()


def train(world: World) -> str:
    """A model version trained on everything so far; gives the training set."""
    settings, model = world.settings, world.project.models[0]
    manifest = build_dataset(
        settings,
        world.project,
        model,
        start_us=START_US,
        end_us=START_US + 40 * 60 * MINUTE_US,
        as_of_us=START_US + 90 * 60 * MINUTE_US,
        mode="corrected",
    )
    folder = RunFolder(settings.runs_dir / manifest.dataset_id)
    job = a_job(
        settings.datasets_dir / manifest.dataset_id, model=model.name, trainer=dataclasses.replace(TINY, epochs=1)
    )
    folder.write_job(job)
    run_job(folder)
    registry = ModelRegistry(settings)
    registry.register(folder.artifact, registry.record_run(folder.artifact))
    registry.set_aliases(model.name, {"champion": "v1"})
    return manifest.dataset_id


def assert_nothing_comes_back(world: World, never: World, ids: set[int]) -> None:
    """Old messages again, new ones of the subject, and a new view computed from the beginning."""
    old_sales, old_labels = traffic(0, 1_400, START_US, 1)
    new_sales, new_labels = traffic(2_000, 200, START_US + 2_800 * MINUTE_US, 2)
    new_ids = {row["sale"] for _, row in new_sales if row["card"] == SUBJECT}
    repeated = (
        [row for row in old_sales if row[1]["sale"] in ids][-20:],
        [row for row in old_labels if row[1]["sale"] in ids][-20:],
    )
    for each, all_of_it in ((world, True), (never, False)):
        gone = set() if all_of_it else new_ids
        sales = [(p, dict(r)) for p, r in new_sales if r["sale"] not in gone]
        labels = [(p, dict(r)) for p, r in new_labels if r["sale"] not in gone]
        each.publish(
            ([(p, dict(r)) for p, r in repeated[0]] if all_of_it else []) + sales, each.project.streams[0].name
        )
        each.publish(
            ([(p, dict(r)) for p, r in repeated[1]] if all_of_it else []) + labels, each.project.labels[0].name
        )
        each.run()

    assert traces(world, ids | new_ids) == []
    assert_others_are_equal(world, never)
    assert world.erased_counted() >= len(repeated[0]) + len(new_ids)
    assert statuses(world, "card", [SUBJECT]) == {NOT_FOUND}

    with (world.project.path / "shop.py").open("a") as file:
        file.write(ANOTHER_VIEW)
    later = World(world.settings, load_project(world.project.path), world.newest_us)
    worker = StreamWorker(later.settings, later.project)
    worker.stop()
    worker.run()
    assert run_backfill(later.settings, later.project, later.project.views[-1]).is_live
    later.run()

    assert traces(later, ids | new_ids) == []
    assert statuses(later, "shop", [777_000, 777_001, 777_002]) == {NOT_FOUND}


@pytest.mark.slow
def test_nothing_is_left_nothing_comes_back_and_others_are_as_if_the_subject_had_never_been(
    worlds: tuple[World, World, set[int]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    world, never, ids = worlds
    dataset = train(world)
    folder = log_folder(world.settings.offline_dir, world.project.name, "features", "shop_risk")
    for partition in folder.glob("partition=*"):
        list(compact(partition, below=10**9, order=feature_order("shop")))
    before_it = traces(world, ids)
    assert {Path(place.removesuffix(" as Parquet")).suffix for place in before_it} >= {".parquet", ".snapshot", ".aof"}
    assert any(place.startswith("redis") for place in before_it)
    before = {path: path.stat().st_mtime_ns for path in world.settings.home.rglob("*.parquet")}

    offline, name = world.settings.offline_dir, world.project.name
    place = take_place(world.settings, name)
    place.say(metrics="", views={})
    with upkeep_lock(offline, name), backfill_lock(offline, name, "shop_risk"):
        tried = erase(world, capsys, "--key", str(SUBJECT), "--dry-run")
    place.mark_saved()
    place.give_up()
    assert tried["dry_run"]
    assert f"counted beside the stream (pid {os.getpid()})" in tried["notes"][0]
    assert tried["removed"]["rows of the event log"] == len(ids)
    assert tried["removed"]["keys online"] == 1
    assert all(tried["removed"][place] for place in ("keys in the state of views", "events in the state of views"))
    assert tried["datasets"] == [dataset]
    assert before == {path: path.stat().st_mtime_ns for path in world.settings.home.rglob("*.parquet")}

    for steps in (2, 4, 5, 7, 9):
        with pytest.raises(Crash):
            erase_subjects(
                world.settings, world.project, "card", [SUBJECT], dry_run=False, tell=Mortal(steps).told_of_a_step
            )

    (tmp_path / "keys.txt").write_text(f"{SUBJECT}\n\n")
    report = erase(world, capsys, "--from-file", str(tmp_path / "keys.txt"))

    assert report["removed"]["rows of the event log"] == len(ids)
    assert report["models"] == [f"{world.project.models[0].name} v1 (champion)"]
    assert world.project.streams[0].name in report["kafka"]
    with pytest.raises(IntegrityError, match="removed with a subject"):
        read_dataset(world.settings.datasets_dir / dataset)
    assert traces(world, ids) == []
    assert statuses(world, "card", [SUBJECT]) == {NOT_FOUND}
    assert statuses(world, "shop", [777_000, 777_001, 777_002]) == {NOT_FOUND}
    assert_others_are_equal(world, never)
    assert not [each for partition in folder.glob("partition=*") for each in covered(list_files(partition))]

    again = erase(world, capsys, "--key", str(SUBJECT))
    assert not any(again["removed"].values())
    assert again["models"] == report["models"]

    assert_nothing_comes_back(world, never, ids)


@pytest.mark.slow
def test_in_disorder_with_texts_as_keys_what_is_left_is_what_the_file_engine_computes_without_the_subject(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    stream = fresh_name("texts").replace("_", "-")
    project, everything = make_project(tmp_path / fresh_name("texts"), stream), make_traffic(4_000, seed=8)
    publish(stack, project, everything)
    newest_us = max(row["us"] for row in everything.clean.values())
    World(stack, project, newest_us).run()
    clean = {sale: row for sale, row in everything.clean.items() if row["card"] != "card 3"}
    left = Traffic(
        clean=clean, outcomes={sale: everything.outcomes[sale] for sale in clean if sale in everything.outcomes}
    )

    report = erase_subjects(stack, project, "card", ["card 3"], dry_run=False, tell=lambda *_: None)

    assert report["removed"]["rows of the event log"] >= len(everything.clean) - len(clean) > 50
    for view in project.views:
        keys = sorted({row[view.entity] for row in clean.values()})
        now_us = np.full(len(keys), newest_us)
        stored = online_values(stack, project, view, keys, newest_us)
        np.testing.assert_array_equal(stored, expected_values(left, view, keys, now_us))
        asked = [row[view.entity] for row in clean.values()]
        at_us = np.array([row["us"] for row in clean.values()])
        values, found = log_values(feature_log(stack, project, view), view, asked, at_us)
        np.testing.assert_array_equal(values[found], expected_values(left, view, asked, at_us)[found])
        assert found.all() or view.name == "shop_risk"
    assert statuses(World(stack, project), "card", ["card 3"]) == {NOT_FOUND}


def test_it_refuses_beside_a_worker_and_after_one_that_was_killed(
    stack: Settings, fresh_name: Callable[[str], str]
) -> None:
    project = fresh_name("busy")
    with (
        stopped_worker(stack, project),
        pytest.raises(RejectedError, match="`headrace erase` needs the files") as caught,
        stopped_worker(stack, project),
    ):
        pass
    assert "stop `headrace run stream`" in caught.value.hint

    with stopped_worker(stack, project), pytest.raises(RejectedError, match="are being changed"):
        take_place(stack, project)

    place = take_place(stack, project)
    place.give_up()
    with pytest.raises(RejectedError, match="was killed") as caught, stopped_worker(stack, project):
        pass
    assert "start `headrace run stream`" in caught.value.hint

    again = take_place(stack, project)
    assert again.name == place.name, "a worker that comes back has the name of the one that was killed"
    again.mark_saved()
    again.give_up()
    with stopped_worker(stack, project):
        pass
