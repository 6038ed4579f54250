"""The notebook's verbs on real servers: each does what the command of its name does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.clock import format_us
from headrace.config import Settings
from headrace.notebook import Answer, Notebook
from headrace.spec.project import load_project
from streams.worker import StreamWorker
from tests.integration.erase_world import DEFINITIONS, SUBJECT, World, traffic
from tests.stream_world import MINUTE_US, START_US

ANOTHER_VIEW = """
late_thought = FeatureView("late_thought", entity="shop", source=sales, features=[count().over("2h")])
"""
_EVENTS = 300


@pytest.fixture
def world(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str]) -> Iterator[World]:
    name = fresh_name("verbs")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "shop.py").write_text(DEFINITIONS.format(stream=name.replace("_", "-"), model=name))
    made = World(stack, load_project(folder))
    sales, labels = traffic(0, _EVENTS, START_US, 1)
    made.publish(sales, made.project.streams[0].name)
    made.publish(labels, made.project.labels[0].name)
    made.run()
    return made


def removed(answer: Answer) -> dict[str, int]:
    return {row["name"]: row["count"] for row in answer.arrow.to_pylist() if row["what"] == "removed"}


def test_verbs_do_what_the_commands_do(world: World) -> None:
    house = Notebook(world.project, world.settings)

    built = house.build_dataset(format_us(START_US), format_us(START_US + _EVENTS * MINUTE_US), mode="corrected")
    assert house.show_dataset(built.dataset_id) == house.verify_dataset(built.dataset_id, recompute=True) == built
    assert len(house.dataset(built.dataset_id)) == built.rows > 0

    online = house.verify(online=True, wait_s=0)
    assert online.compared > 0
    assert (online.mismatches, len(online.examples)) == (0, 0)
    assert set(online.arrow.column_names) >= {"of", "name", "compared", "mismatches"}
    assert house.verify(wait_s=0).compared == 0, "no prediction was made"

    with (world.project.path / "shop.py").open("a") as file:
        file.write(ANOTHER_VIEW)
    later = Notebook(load_project(world.project.path), world.settings)
    worker = StreamWorker(later.settings, later.project)
    worker.stop()
    worker.run()
    (cost,) = later.backfill("late_thought", dry_run=True).arrow.to_pylist()
    assert (cost["change"], cost["rows"] > 0, "late_thought" in cost["next_step"]) == ("new", True, True)
    (done,) = later.backfill("late_thought").arrow.to_pylist()
    assert (done["view"], done["is_live"], done["rows"] > 0) == ("late_thought", True, True)

    assert house.lookup(card=[SUBJECT]).arrow["card_use__status"].to_pylist() == ["PRESENT"]
    planned = removed(later.erase("card", [SUBJECT, SUBJECT], dry_run=True))
    assert house.lookup(card=[SUBJECT]).arrow["card_use__status"].to_pylist() == ["PRESENT"]
    erased = later.erase("card", SUBJECT)
    assert planned == removed(erased)
    assert planned["keys online"] == 1
    assert built.dataset_id in erased.arrow["name"].to_pylist()
    assert house.lookup(card=[SUBJECT]).arrow["card_use__status"].to_pylist() == ["NOT_FOUND"]
