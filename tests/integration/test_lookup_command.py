"""``headrace features lookup`` and the notebook's lookup say how fresh a row is, and when it holds no more."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import redis

from feature_store.online.redis_online import OnlineWriter
from feature_store.plan import NEVER_US, compile_view
from headrace.cli.main import main
from headrace.clock import format_us, parse_us
from headrace.config import Settings
from headrace.contracts.codec import encode
from headrace.contracts.redis_keys import sources_key
from headrace.contracts.streams import SourceProgress
from headrace.notebook import Notebook
from headrace.spec.project import load_project
from tests.feature_rows import feature_rows

NOON, HOUR = parse_us("2024-05-01T12:00:00Z"), 3_600_000_000
DEFINITIONS = """
from headrace import EventStream, FeatureView, Float64, Int64, String, count, mean

pay = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "shop": String, "eur": Float64(resolution=0.01)}
)
spend = FeatureView("spend", entity="card", source=pay, features=[count().over("1h"), mean("eur").over("1h")])
visits = FeatureView("visits", entity="shop", source=pay, features=[count().over("1d")])
"""


@dataclass
class House:
    """A project of its own, with rows online."""

    notebook: Notebook

    def write(self, view: str, key: int | str, values: list[float | None], *, until_us: int, version: int) -> None:
        plan = compile_view(self.notebook.project.view(view))
        rows = feature_rows(plan, [key], [values], valid_from_us=NOON, valid_until_us=until_us)
        with OnlineWriter(self.notebook.settings.redis.url, self.notebook.project.name) as writer:
            writer.write(plan, rows, version=version, watermark_us=NOON + HOUR // 2)

    def stream_is_at(self, newest_us: int) -> None:
        report = SourceProgress(
            topic="pay", partition=0, offset=9, newest_us=newest_us, rows=9, dead_letters={}, at_us=newest_us
        )
        client = redis.Redis.from_url(self.notebook.settings.redis.url)
        client.hset(sources_key(self.notebook.project.name), "pay:0", encode(report))
        client.close()

    def look_up(self, *words: str) -> int:
        return main(["features", "lookup", "--project", str(self.notebook.project.path), *words])


@pytest.fixture
def house(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> House:
    folder = tmp_path / fresh_name("cards")
    folder.mkdir()
    (folder / "cards.py").write_text(DEFINITIONS)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HEADRACE_REDIS_URL", stack.redis.url)
    made = House(Notebook(load_project(folder), replace(stack, home=tmp_path / "home")))
    made.write("spend", 7, [2, None], until_us=NOON + HOUR, version=3)
    made.write("visits", "Köln", [5], until_us=NEVER_US, version=4)
    return made


def test_json_says_how_fresh_each_view_is(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.look_up("card=7", "shop=Köln", "--json") == 0
    found = json.loads(capsys.readouterr().out)

    assert found["spend"] == {
        "status": "PRESENT",
        "event_time": "2024-05-01T12:00:00Z",
        "valid_until": "2024-05-01T13:00:00Z",
        "watermark": "2024-05-01T12:30:00Z",
        "version": 3,
        "values": {"count_1h": 2, "mean_eur_1h": None},
    }
    assert (found["visits"]["valid_until"], found["visits"]["version"]) == (None, 4)

    assert house.look_up("card=8", "--json") == 0
    absent = json.loads(capsys.readouterr().out)["spend"]
    assert absent["status"] == "NOT_FOUND"
    assert [absent[name] for name in ("event_time", "valid_until", "watermark", "version")] == [None] * 4


def test_people_see_that_a_row_holds_no_more(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    since = "since 2024-05-01T12:00:00Z, until"

    house.stream_is_at(NOON + HOUR - 1)
    assert house.look_up("card=7", "shop=Köln") == 0
    text = capsys.readouterr().out
    assert f"spend: PRESENT {since} 2024-05-01T13:00:00Z, watermark 2024-05-01T12:30:00Z\n" in text
    assert f"visits: PRESENT {since} the next event, watermark 2024-05-01T12:30:00Z\n" in text

    house.stream_is_at(NOON + 2 * HOUR)
    assert house.look_up("card=7") == 0
    assert f"{since} 2024-05-01T13:00:00Z (over: it is 2024-05-01T14:00:00Z), watermark" in capsys.readouterr().out

    assert house.look_up("card=7", "--at", format_us(NOON + HOUR)) == 0
    text = capsys.readouterr().out
    assert "spend: STALE" in text
    assert "(over: it is 2024-05-01T13:00:00Z)" in text


def test_a_notebook_has_freshness_beside_the_status(house: House) -> None:
    found = house.notebook.lookup(card=np.array([7, 8]), shop=pa.array(["Köln", "Ulm"])).arrow

    assert found.column_names == [
        "card", "shop",
        "spend__count_1h", "spend__mean_eur_1h",
        "spend__status", "spend__event_time", "spend__valid_until", "spend__watermark", "spend__version",
        "visits__count_1d",
        "visits__status", "visits__event_time", "visits__valid_until", "visits__watermark", "visits__version",
    ]  # fmt: skip
    spend = found.select([name for name in found.column_names if name.startswith("spend")]).to_pydict()
    times = [spend[f"spend__{name}"] for name in ("event_time", "valid_until", "watermark")]
    assert [[value and format_us(round(value.timestamp() * 1e6)) for value in column] for column in times] == [
        ["2024-05-01T12:00:00Z", None],
        ["2024-05-01T13:00:00Z", None],
        ["2024-05-01T12:30:00Z", None],
    ]
    assert spend["spend__status"] == ["PRESENT", "NOT_FOUND"]
    assert (spend["spend__count_1h"], spend["spend__version"]) == ([2, None], [3, None])
    assert found["visits__valid_until"].to_pylist() == [None, None]


def test_a_notebook_takes_one_key_and_another_views_keys(house: House) -> None:
    one = house.notebook.lookup(card=7, views=["spend"])
    assert one.arrow["spend__count_1h"].to_pylist() == [2]
    assert one.pandas()["spend__valid_until"][0].isoformat() == "2024-05-01T13:00:00+00:00"

    both = house.notebook.lookup(card=7, shop="Köln", views="spend").arrow
    assert both["shop"].to_pylist() == ["Köln"]
    assert house.notebook.lookup(at=format_us(NOON + HOUR), card=[7]).arrow["spend__status"].to_pylist() == ["STALE"]
    assert len(house.notebook.lookup(card=[])) == 0
