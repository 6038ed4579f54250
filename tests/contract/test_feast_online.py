"""Any Feast client reads what we write: the same bytes, the same answers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis
from feast import FeatureStore
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import DoubleList, Value
from google.protobuf.timestamp_pb2 import Timestamp

from feature_store.definitions.feast_registry import FeastRegistry, open_feast
from feature_store.online.online_layout import (
    encode_timestamp,
    encode_value,
    entity_key,
    feature_field,
    row_field,
    state_field,
)
from feature_store.online.redis_online import OnlineWriter
from feature_store.plan import compile_view
from feature_store.state.view_state import ViewState
from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    LabelStream,
    Model,
    Project,
    String,
    approx_distinct,
    approx_quantile,
    approx_top_k,
    count,
    last_k,
    lifetime,
    mean,
)
from headrace.config import RedisSettings, Settings
from headrace.errors import ConfigError
from tests.feature_rows import feature_rows

PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "shop": String, "eur": Float64(resolution=0.01)}
)
FRAUD = LabelStream("pay-fraud", of=PAY, value="fraud", delay="1d")
SPEND = FeatureView("spend", entity="card", source=PAY, features=[count().over("1d"), mean("eur").over("1d")])
WEEK = FeatureView("week", entity="card", source=PAY, features=[count().over("7d")])
RECENT = FeatureView(
    "recent", entity="card", source=PAY, features=[last_k("eur", 3).over("1d"), count().over(lifetime())]
)
REACH = FeatureView(
    "reach",
    entity="card",
    source=PAY,
    features=[
        approx_distinct("shop").over(lifetime()),
        approx_quantile("eur", 0.5).over(lifetime()),
        approx_top_k("eur", 2).over(lifetime()),
    ],
)
SHOP = FeatureView("shop_visits", entity="shop", source=PAY, features=[count().over("1d")])
MODEL = Model("judge", features=(SPEND, SHOP), label=FRAUD)
VIEWS = (SPEND, WEEK, RECENT, REACH, SHOP)
INSTANT_US = 1_522_540_800_123_456
KEYS = [0, 1, -1, 610, 2**63 - 1, -(2**63), "", "a", "Köln", "x" * 300]
NUMBERS = [0.0, 1.0, -1.0, 127.0, 128.0, 300.0, 2.0**53, -(2.0**53)]
DECIMALS = [0.0, -0.0, 1.5, 1e-300, float("inf"), 57.16]


@pytest.mark.parametrize("key", KEYS)
def test_entity_keys_have_feasts_bytes(key: int | str) -> None:
    value = Value(string_val=key) if isinstance(key, str) else Value(int64_val=key)
    proto = EntityKey(join_keys=["card"], entity_values=[value])

    assert entity_key("card", key, "shop") == serialize_entity_key(proto, entity_key_serialization_version=3) + b"shop"


def test_values_and_times_have_feasts_bytes() -> None:
    for number in NUMBERS:
        assert encode_value(number, is_int=True) == Value(int64_val=int(number)).SerializeToString()
    for decimal in DECIMALS:
        assert encode_value(decimal, is_int=False) == Value(double_val=decimal).SerializeToString()
    assert encode_value(None, is_int=True) == Value().SerializeToString()
    for items in ([], [1.5], DECIMALS * 4):
        assert encode_value(items, is_int=False) == Value(double_list_val=DoubleList(val=items)).SerializeToString()
    for instant_us in (0, 1, 999_999, 1_000_000, INSTANT_US, -1, -1_500_000):
        expected = Timestamp()
        expected.FromMicroseconds(instant_us)
        assert encode_timestamp(instant_us) == expected.SerializeToString()
    assert feature_field("spend", "count_1d") == _mmh3("spend:count_1d")


@pytest.mark.parametrize(
    ("url", "host", "options"),
    [
        ("redis://h:7/2", {"host": "h", "port": "7"}, {"db": 2}),
        ("redis://user:123@h", {"host": "h", "port": "6379"}, {"db": 0, "username": "user", "password": "123"}),
        ("rediss://:p%40ss=@h:1/0", {"host": "h", "port": "1"}, {"db": 0, "password": "p@ss=", "ssl": True}),
    ],
)
def test_the_redis_address_reaches_feast(
    url: str, host: dict[str, str], options: dict[str, object], tmp_path: Path
) -> None:
    opened = open_feast(Settings(home=tmp_path, redis=RedisSettings(url=url)), "cards")

    parsed = RedisOnlineStore._parse_connection_string(opened.config.online_store.connection_string)

    assert parsed == ([host], options)


def test_a_redis_address_feast_cannot_read_is_refused(tmp_path: Path) -> None:
    for url in ("unix:///tmp/socket", "redis://:a,b@h:1/0"):
        with pytest.raises(ConfigError):
            open_feast(Settings(home=tmp_path, redis=RedisSettings(url=url)), "cards")


@pytest.fixture
def project(fresh_name: Callable[[str], str], tmp_path: Path) -> Project:
    return Project(
        name=fresh_name("feastcards"), path=tmp_path, streams=(PAY,), labels=(FRAUD,), views=VIEWS, requests=(),
        models=(MODEL,),
    )  # fmt: skip


@pytest.fixture
def feast(stack: Settings, project: Project, tmp_path: Path) -> FeatureStore:
    settings = replace(stack, home=tmp_path)
    FeastRegistry(settings, project).apply()
    return open_feast(settings, project.name)


@pytest.fixture
def writer(stack: Settings, project: Project):
    with OnlineWriter(stack.redis.url, project.name) as opened:
        yield opened


def _answers(feast: FeatureStore, features: Any, rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return feast.get_online_features(features=features, entity_rows=rows, full_feature_names=True).to_dict()


def test_a_row_of_ours_is_a_row_of_feasts(
    feast: FeatureStore, writer: OnlineWriter, stack: Settings, project: Project
) -> None:
    """Field by field the hash Feast itself writes, and two fields more."""
    plan = compile_view(SPEND)
    writer.write(plan, feature_rows(plan, [1], [[3, 2.5]], valid_from_us=INSTANT_US), version=1, watermark_us=0)
    moment = datetime.fromtimestamp(INSTANT_US // 1_000_000, UTC).replace(microsecond=INSTANT_US % 1_000_000)
    row = {"card": 2, "event_timestamp": moment, "created_timestamp": moment, "count_1d": 3, "mean_eur_1d": 2.5}
    feast.write_to_online_store("spend", pd.DataFrame([row]))

    server = redis.Redis.from_url(stack.redis.url)
    ours = server.hgetall(entity_key("card", 1, project.name))
    assert ours.pop(row_field("spend"))
    assert ours.pop(state_field("spend")) == b"", "a row made by hand, without events"
    assert ours == server.hgetall(entity_key("card", 2, project.name))


def test_feast_reads_our_lists_as_lists(feast: FeatureStore, writer: OnlineWriter) -> None:
    """The newest first, as many as there are; none is an empty list, a key never seen is null."""
    plan = compile_view(RECENT)
    rows = feature_rows(plan, [1, 2, 3], [[2.5, 2.0, 1.25, 9], [7.0, None, None, 1], [None, None, None, 0]])
    writer.write(plan, rows, version=1, watermark_us=0)

    found = _answers(feast, ["recent:last_3_eur_1d", "recent:count_lifetime"], [{"card": key} for key in (1, 2, 3, 4)])

    assert found["recent__last_3_eur_1d"] == [[2.5, 2.0, 1.25], [7.0], [], None]
    assert found["recent__count_lifetime"] == [9, 1, 0, None]


def test_feast_reads_estimates_from_sketches_as_it_reads_all_else(
    feast: FeatureStore, writer: OnlineWriter, stack: Settings, project: Project
) -> None:
    """Rows of a live state, whose sketches lie in a field that Feast does not ask for."""
    plan, minute_us = compile_view(REACH), 60_000_000
    state = ViewState(plan)
    amounts = (np.arange(300) % 7 + 1) * 100
    shops = np.arange(300) % 200
    for first in (0, 150):  # by the second half, the first is in the sketches
        some = np.arange(first, first + 150)
        times_us = INSTANT_US + some * minute_us * 60
        state.apply(np.ones(150, np.int64), times_us, some, np.stack([shops[some], amounts[some]]))
        state.advance(int(times_us[-1]))
        writer.write(plan, state.drain(log=False).latest, version=1 + first, watermark_us=state.watermark_us)

    names = [f"reach:{name}" for name in REACH.feature_names]
    found = _answers(feast, names, [{"card": 1}, {"card": 2}])

    server = redis.Redis.from_url(stack.redis.url)
    assert len(server.hget(entity_key("card", 1, project.name), state_field("reach")) or b"") > 1_000
    (distinct, none), (median, _), (top, _) = (found[name] for name in REACH.full_names)
    assert (abs(distinct - 200) <= 1, none) == (True, None)
    assert median == 4.0
    assert top == [1.0, 2.0]


def test_feast_reads_our_values_nulls_and_unknown_keys(feast: FeatureStore, writer: OnlineWriter) -> None:
    plan = compile_view(SPEND)
    rows = feature_rows(plan, [1, 2, 3], [[3, 2.5], [0, None], [0, 0.0]], valid_from_us=INSTANT_US)
    writer.write(plan, rows, version=1, watermark_us=0)

    found = _answers(feast, ["spend:count_1d", "spend:mean_eur_1d"], [{"card": key} for key in (1, 2, 3, 4)])

    assert found == {
        "card": [1, 2, 3, 4],
        "spend__count_1d": [3, 0, 0, None],
        "spend__mean_eur_1d": [2.5, None, 0.0, None],
    }


def test_feast_sees_our_event_time(feast: FeatureStore, writer: OnlineWriter) -> None:
    plan = compile_view(SPEND)
    writer.write(plan, feature_rows(plan, [1], [[1, 1.0]], valid_from_us=INSTANT_US), version=1, watermark_us=0)

    response = feast.get_online_features(features=["spend:count_1d"], entity_rows=[{"card": 1}]).proto

    column = list(response.metadata.feature_names.val).index("count_1d")
    assert response.results[column].event_timestamps[0].ToMicroseconds() == INSTANT_US


def test_a_newer_null_replaces_an_older_value_for_feast_too(feast: FeatureStore, writer: OnlineWriter) -> None:
    plan = compile_view(SPEND)
    writer.write(plan, feature_rows(plan, [1], [[3, 2.5]], valid_from_us=1), version=1, watermark_us=0)
    writer.write(plan, feature_rows(plan, [1], [[0, None]], valid_from_us=2), version=2, watermark_us=0)

    assert _answers(feast, ["spend:mean_eur_1d"], [{"card": 1}])["spend__mean_eur_1d"] == [None]


def test_views_of_one_key_share_its_hash_and_a_model_is_a_service(feast: FeatureStore, writer: OnlineWriter) -> None:
    for view, key, values in ((SPEND, 7, [1, 2.0]), (WEEK, 7, [5]), (SHOP, "Köln", [9])):
        plan = compile_view(view)
        writer.write(plan, feature_rows(plan, [key], [values]), version=1, watermark_us=0)

    together = _answers(feast, ["spend:count_1d", "week:count_7d"], [{"card": 7}])
    service = _answers(feast, feast.get_feature_service("judge"), [{"card": 7, "shop": "Köln"}])

    assert (together["spend__count_1d"], together["week__count_7d"]) == ([1], [5])
    assert (service["spend__mean_eur_1d"], service["shop_visits__count_1d"]) == ([2.0], [9])
