"""Rows written to a real Valkey and read back; newer rows are never lost to older ones."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_store.online.lookup import NOT_FOUND, PRESENT, AsyncOnlineReader, LookupRequest, OnlineReader, ViewRow
from feature_store.online.online_layout import entity_key, state_field
from feature_store.online.redis_online import OnlineWriter
from feature_store.plan import ViewPlan, compile_view
from headrace import EventStream, FeatureView, Float64, Int64, Project, String, count, mean
from headrace.config import Settings
from headrace.errors import IntegrityError, RejectedError, UnavailableError
from tests.feature_rows import feature_rows

PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "shop": String, "eur": Float64(resolution=0.01)}
)
SPEND = FeatureView("spend", entity="card", source=PAY, features=[count().over("1d"), mean("eur").over("1d")])
SPEND_LONGER = FeatureView("spend", entity="card", source=PAY, features=[count().over("2d"), mean("eur").over("2d")])
SHOP = FeatureView("shop_visits", entity="shop", source=PAY, features=[count().over("1d", "7d")])


@dataclass(frozen=True)
class Store:
    """One project nobody else uses, on the shared server."""

    url: str
    project: Project
    writer: OnlineWriter
    reader: OnlineReader

    @property
    def spend(self) -> ViewPlan:
        return compile_view(SPEND)

    def put(self, key: int, n: float, *, version: int) -> int:
        return self.writer.write(
            self.spend, feature_rows(self.spend, [key], [[n, 1.5]]), version=version, watermark_us=0
        )

    def get(self, key: int) -> ViewRow:
        return self.reader.read([LookupRequest(views=(SPEND,), entities={"card": key})])[0]["spend"]


def _project(name: str) -> Project:
    return Project(name=name, path=Path(), streams=(PAY,), labels=(), views=(SPEND, SHOP), requests=(), models=())


@pytest.fixture
def store(stack: Settings, fresh_name: Callable[[str], str]) -> Iterator[Store]:
    project = _project(fresh_name("cards"))
    with OnlineWriter(stack.redis.url, project.name) as writer:
        reader = OnlineReader(stack.redis.url, project)
        yield Store(stack.redis.url, project, writer, reader)
        reader.close()


def test_rows_come_back_by_name_with_their_freshness(store: Store) -> None:
    shop = compile_view(SHOP)
    store.writer.write(
        store.spend,
        feature_rows(store.spend, [1, 2], [[3, 2.5], [0, None]], valid_from_us=[10, 20], valid_until_us=99),
        version=7,
        watermark_us=50,
    )
    store.writer.write(shop, feature_rows(shop, ["Köln", ""], [[1, 2], [3, 4]]), version=8, watermark_us=51)

    rows = store.reader.read(
        [
            LookupRequest(views=(SPEND, SHOP), entities={"card": 2, "shop": "Köln"}),
            LookupRequest(views=(SHOP,), entities={"shop": ""}),
            LookupRequest(views=(SPEND,), entities={"card": 3}),
        ]
    )

    assert rows[0]["spend"] == ViewRow(
        view="spend",
        status=PRESENT,
        values={"count_1d": 0, "mean_eur_1d": None},
        event_time_us=20,
        valid_until_us=99,
        version=7,
        watermark_us=50,
    )
    assert rows[0]["shop_visits"].values == {"count_1d": 1, "count_7d": 2}
    assert rows[1]["shop_visits"].values == {"count_1d": 3, "count_7d": 4}
    assert rows[2]["spend"].status == NOT_FOUND


@pytest.mark.parametrize("at_us", [None, 40, 2 * 86_400_000_000])
def test_columns_say_what_rows_say_one_by_one(store: Store, at_us: int | None) -> None:
    shop, plan = compile_view(SHOP), store.spend
    names, cards = [f"shop {number}" for number in range(150)], list(range(0, 300, 2))
    events = [[(t, 1000 * card + t) for t in range(10, 10 + card % 7)] for card in cards]
    values = [[float(len(of_card)), None if not of_card else 0.0] for of_card in events]
    rows = feature_rows(plan, cards, values, events=events, valid_from_us=16)
    store.writer.write(plan, rows, version=3, watermark_us=20)
    store.writer.write(shop, feature_rows(shop, names, [[1, 2]] * 150, valid_from_us=30), version=4, watermark_us=31)
    asked = {"card": list(range(300)), "shop": [f"shop {number // 3}" for number in range(300)]}

    found = store.reader.read_columns((SPEND, SHOP), asked, at_us=at_us)

    one_by_one = store.reader.read(
        [
            LookupRequest(views=(SPEND, SHOP), entities={"card": card, "shop": name}, at_us=at_us)
            for card, name in zip(asked["card"], asked["shop"], strict=True)
        ]
    )
    assert list(found) == ["spend", "shop_visits"]
    for view, columns in found.items():
        of_view = [row[view] for row in one_by_one]
        assert columns.statuses == [row.status for row in of_view]
        table = columns.table()
        for name in columns.plan.feature_names:
            assert table[name].to_pylist() == [row.values[name] for row in of_view]
        for name in ("event_time_us", "valid_until_us", "version", "watermark_us"):
            there = getattr(columns, name)[columns.is_found].tolist()
            assert there == [getattr(row, name) for row in of_view if row.status != NOT_FOUND]


def test_columns_of_an_instant_for_each_row(store: Store) -> None:
    rows = feature_rows(store.spend, [1], [[1, 0.0]], events=[[(50, 7)]], valid_from_us=51)
    store.writer.write(store.spend, rows, version=1, watermark_us=60)

    found = store.reader.read_columns((SPEND,), {"card": [1, 1, 1]}, at_us=[49, 51, 51 + 86_400_000_000])["spend"]

    assert found.statuses == [NOT_FOUND, PRESENT, PRESENT]
    assert found.table()["count_1d"].to_pylist() == [None, 1, 0]


@pytest.mark.parametrize(
    ("entities", "named"),
    [
        ({}, "'card' is missing"),
        ({"card": [1.5]}, "float64"),
        ({"card": ["1"]}, "'card'"),
        ({"card": [[1], [2]]}, "2 dimensions"),
        ({"card": [1], "shop": ["a", "b"]}, "'shop': 2"),
        ({"card": [1, 2], "shop": ["a", 2]}, "has key 2"),
    ],
)
def test_columns_need_fitting_keys(store: Store, entities: dict[str, list[Any]], named: str) -> None:
    with pytest.raises(RejectedError, match=named):
        store.reader.read_columns((SPEND, SHOP) if "shop" in entities else (SPEND,), entities)


def test_no_entities_are_no_rows(store: Store) -> None:
    assert len(store.reader.read_columns((SPEND,), {"card": []})["spend"]) == 0


def test_whatever_the_order_the_newest_version_stays(store: Store) -> None:
    orders = list(itertools.permutations([3, 5, 5, 9]))
    for key, order in enumerate(orders):
        written = [store.put(key, n=100 * version + place, version=version) for place, version in enumerate(order)]

        kept = store.get(key)
        last_of_newest = max(place for place, version in enumerate(order) if version == 9)
        assert (kept.version, kept.values["count_1d"]) == (9, 900 + last_of_newest)
        assert written == [int(version >= max(order[: place + 1])) for place, version in enumerate(order)]


def test_writers_side_by_side_never_lose_the_newest(store: Store) -> None:
    plan, keys = store.spend, list(range(300))

    def write(versions: range) -> None:
        with OnlineWriter(store.url, store.project.name) as writer:
            for version in versions:
                rows = feature_rows(plan, keys, [[version, float(version)]] * len(keys))
                writer.write(plan, rows, version=version, watermark_us=version)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, [range(0, 60, 2), range(59, 0, -2)]))

    rows = store.reader.read([LookupRequest(views=(SPEND,), entities={"card": key}) for key in keys])
    kept = {(row["spend"].version, row["spend"].values["count_1d"], row["spend"].values["mean_eur_1d"]) for row in rows}
    assert kept == {(59, 59, 59.0)}


def test_a_row_of_another_definition_is_replaced_whatever_its_version(store: Store) -> None:
    longer = compile_view(SPEND_LONGER)
    store.writer.write(longer, feature_rows(longer, [1], [[8, 8.0]]), version=1000, watermark_us=0)
    assert store.get(1).status == NOT_FOUND

    assert store.put(1, n=2, version=3) == 1
    assert store.get(1).values["count_1d"] == 2


def test_batches_larger_than_a_command_are_written_whole(store: Store) -> None:
    plan, n = store.spend, 3000
    events = [[(t, t) for t in range(key % 90)] for key in range(n)]
    rows = feature_rows(plan, range(n), [[key, key / 4] for key in range(n)], events=events)

    assert store.writer.write(plan, rows, version=1, watermark_us=0) == n

    found = store.reader.read([LookupRequest(views=(SPEND,), entities={"card": key}) for key in range(n)])
    assert [row["spend"].values for row in found] == [{"count_1d": key, "mean_eur_1d": key / 4} for key in range(n)]


def test_a_server_that_forgot_the_script_is_taught_again(store: Store) -> None:
    store.put(1, n=1, version=1)
    redis.Redis.from_url(store.url).script_flush()

    assert store.put(1, n=2, version=2) == 1
    assert store.get(1).values["count_1d"] == 2


def test_a_connection_the_server_closed_is_opened_again(store: Store) -> None:
    store.put(1, n=1, version=1)
    server = redis.Redis.from_url(store.url)
    others = {client["id"] for client in server.client_list()}
    reader = OnlineReader(store.url, store.project)
    request = LookupRequest(views=(SPEND,), entities={"card": 1})
    reader.read([request])
    for client in server.client_list():
        if client["id"] not in others:
            server.client_kill_filter(_id=client["id"])

    assert reader.read([request])[0]["spend"].values["count_1d"] == 1
    reader.close()


def test_a_row_that_lost_its_state_is_damage(store: Store) -> None:
    store.put(1, n=1, version=1)
    redis.Redis.from_url(store.url).hdel(entity_key("card", 1, store.project.name), state_field("spend"))

    assert store.get(1).values["count_1d"] == 1, "who takes it as stored does not need it"
    with pytest.raises(IntegrityError, match="lost its state"):
        store.reader.read([LookupRequest(views=(SPEND,), entities={"card": 1}, at_us=5)])
    with pytest.raises(IntegrityError, match="lost its state"):
        store.reader.read_columns((SPEND,), {"card": [1]}, at_us=5)


def test_many_lookups_at_once_on_one_loop_each_get_their_own(store: Store) -> None:
    plan = store.spend
    store.writer.write(
        plan, feature_rows(plan, range(200), [[k, k / 2] for k in range(200)]), version=1, watermark_us=0
    )

    async def ask() -> list[object]:
        reader = AsyncOnlineReader(store.url, store.project)
        try:
            answers = await asyncio.gather(
                *(reader.read([LookupRequest(views=(SPEND,), entities={"card": key})]) for key in range(200))
            )
        finally:
            await reader.close()
        return [answer[0]["spend"].values["mean_eur_1d"] for answer in answers]

    assert asyncio.run(ask()) == [key / 2 for key in range(200)]


def test_a_cancelled_lookup_leaves_the_others_alone(store: Store) -> None:
    store.put(1, n=1, version=1)
    store.put(2, n=2, version=1)

    async def ask() -> object:
        reader = AsyncOnlineReader(store.url, store.project)
        try:
            first = asyncio.create_task(reader.read([LookupRequest(views=(SPEND,), entities={"card": 1})]))
            second = asyncio.create_task(reader.read([LookupRequest(views=(SPEND,), entities={"card": 2})]))
            await asyncio.sleep(0)
            first.cancel()
            return (await second)[0]["spend"].values["count_1d"]
        finally:
            await reader.close()

    assert asyncio.run(ask()) == 2


def test_a_foreign_key_is_damage_and_not_an_outage(store: Store) -> None:
    redis.Redis.from_url(store.url).set(entity_key("card", 5, store.project.name), b"mine")

    with pytest.raises(IntegrityError, match="no hash"):
        store.get(5)
    with pytest.raises(IntegrityError, match="no hash"):
        store.put(5, n=1, version=1)
    with pytest.raises(IntegrityError, match="no hash"):
        store.reader.read_columns((SPEND,), {"card": [4, 5, 6]})
    assert store.reader.read_columns((SPEND,), {"card": [4]})["spend"].statuses == [NOT_FOUND]
    assert store.put(6, n=1, version=1) == 1, "the connection is still in step"


def test_a_server_that_is_away_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://:secret@127.0.0.1:{taken.getsockname()[1]}/0"
        project, plan = _project("away"), compile_view(SPEND)
        request = LookupRequest(views=(SPEND,), entities={"card": 1})

        with pytest.raises(UnavailableError) as written:
            OnlineWriter(url, "away").write(plan, feature_rows(plan, [1], [[1, 1]]), version=1, watermark_us=0)
        with pytest.raises(UnavailableError):
            OnlineReader(url, project).read([request])
        with pytest.raises(UnavailableError):
            asyncio.run(AsyncOnlineReader(url, project).read([request]))
        assert "secret" not in str(written.value)
