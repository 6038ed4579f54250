"""Lookups as commands: one for each entity, with the fields of its views, and replies sorted back by name."""

from pathlib import Path

import pytest

from feature_store.online.lookup_wire import LookupRequest, LookupWire
from feature_store.online.online_layout import entity_key
from headrace import EventStream, FeatureView, Int64, Project, String, count
from headrace.errors import RejectedError

VISITS = EventStream("visits", key="user", time="at", id="id", schema={"user": Int64, "town": String})
DAILY = FeatureView("daily", entity="user", source=VISITS, features=[count().over("1d")])
WEEKLY = FeatureView("weekly", entity="user", source=VISITS, features=[count().over("7d")])
TOWN = FeatureView("town", entity="town", source=VISITS, features=[count().over("1d")])
PROJECT = Project(
    name="walks", path=Path(), streams=(VISITS,), labels=(), views=(DAILY, WEEKLY, TOWN), requests=(), models=()
)
WIRE = LookupWire(PROJECT)


def _resp(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def test_views_of_one_entity_share_a_command() -> None:
    request = LookupRequest(views=(DAILY, TOWN, WEEKLY), entities={"user": 7, "town": "Köln"})

    assert WIRE.encode([request]) == [
        _resp(b"HMGET", entity_key("user", 7, "walks"), b"_hr:daily", b"_hr:weekly"),
        _resp(b"HMGET", entity_key("town", "Köln", "walks"), b"_hr:town"),
    ]


def test_the_state_is_fetched_only_where_an_instant_is_given() -> None:
    request = LookupRequest(views=(DAILY,), entities={"user": 7}, at_us=1)

    assert WIRE.encode([request]) == [_resp(b"HMGET", entity_key("user", 7, "walks"), b"_hr:daily", b"_hs:daily")]


def test_replies_come_back_by_request_and_view() -> None:
    requests = [
        LookupRequest(views=(DAILY, WEEKLY), entities={"user": 7}),
        LookupRequest(views=(TOWN,), entities={"town": "x"}),
    ]

    rows = WIRE.decode(requests, [[None, None], [None]])

    assert [{name: row.view for name, row in found.items()} for found in rows] == [
        {"daily": "daily", "weekly": "weekly"},
        {"town": "town"},
    ]


@pytest.mark.parametrize(
    ("entities", "named"),
    [({}, "user"), ({"user": "7"}, "'7'"), ({"user": True}, "True"), ({"user": 2**63}, "9223372036854775808")],
)
def test_a_key_of_the_wrong_type_is_named(entities: dict[str, int | str], named: str) -> None:
    with pytest.raises(RejectedError, match=named):
        WIRE.encode([LookupRequest(views=(DAILY,), entities=entities)])


def test_an_unknown_view_is_named() -> None:
    other = FeatureView("other", entity="user", source=VISITS, features=[count().over("1d")])

    with pytest.raises(RejectedError, match="'other' is unknown"):
        WIRE.encode([LookupRequest(views=(other,), entities={"user": 1})])
