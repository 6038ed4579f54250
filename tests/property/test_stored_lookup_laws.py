"""Rows read as stored: the answers of the decoder that knows instants, and the commands of the lookup that asks it."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.kernels import shape_of
from feature_store.online.lookup_wire import LookupRequest, LookupWire
from feature_store.online.online_decoder import NOT_FOUND, PRESENT, RowDecoder
from feature_store.online.online_layout import HEADER_WORDS, ROW_FORMAT, StoredRow, encode_row
from feature_store.online.stored_lookup import StoredLookup
from feature_store.plan import NULL, ViewPlan
from headrace import Project
from headrace.errors import IntegrityError
from tests.property.test_online_encoder import PLANS, STREAM

DECODERS = {name: RowDecoder(plan) for name, plan in PLANS.items()}
NUMBERED = ["both inputs", "no input"]
"""Views by numbers, without lists."""
INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def rows(draw: st.DrawFn, plan: ViewPlan) -> StoredRow:
    """A row of this definition or of another, with its events or without."""
    values = [
        draw(st.none() | (st.integers(-(2**53), 2**53) if whole else st.floats(allow_nan=False)))
        for whole in plan.is_int
    ]
    n, inputs = draw(st.none() | st.integers(0, 3)), len(plan.inputs)
    other = draw(st.booleans())
    shape = shape_of(plan)
    base = np.zeros(shape.width - shape.base if n is not None else 0, np.int64)
    return StoredRow(
        definition=int(plan.version, 16) ^ int(other),
        version=draw(st.integers(0, 2**53)),
        valid_from_us=draw(st.integers(0, 2**60)),
        valid_until_us=draw(INT64),
        watermark_us=draw(INT64),
        values=np.array(values[: draw(st.integers(0, 1)) - 1 or None] if other else values, np.float64),
        base=base,
        times_us=None if n is None else np.arange(n),
        ids=None if n is None else np.arange(n),
        inputs=None if n is None else np.zeros((inputs, n), np.int64),
    )


@pytest.mark.parametrize("name", PLANS)
@given(data=st.data())
def test_a_row_is_read_as_the_decoder_reads_it(name: str, data: st.DataObject) -> None:
    plan = PLANS[name]
    stored = [None if row is None else encode_row(row) for row in data.draw(st.lists(st.none() | rows(plan)))]
    lookup = StoredLookup([plan], "p")

    (found,) = lookup.read([[row] for row in stored])

    expected = DECODERS[name].decode(stored, [None] * len(stored), [None] * len(stored))
    for (valid_from_us, values), row in zip(found, expected, strict=True):
        assert valid_from_us == row.event_time_us
        assert (NOT_FOUND if valid_from_us is None else PRESENT) == row.status
        given_values = [None if value != value else value for value in values]
        assert [(type(value), value) for value in given_values] == [(type(v), v) for v in row.values.values()]
    assert repr([lookup.read_one([[row]]) for row in stored]) == repr([[one] for one in found])


@pytest.mark.parametrize("name", PLANS)
@given(data=st.data())
def test_a_damaged_row_is_damage_or_no_row(name: str, data: st.DataObject) -> None:
    plan = PLANS[name]
    whole = encode_row(data.draw(rows(plan)))
    cut = whole[: data.draw(st.integers(1, len(whole)))]
    try:
        ((row,),) = StoredLookup([plan], "p").read([[cut]])
    except IntegrityError:
        return
    if row[0] is not None:
        assert len(cut) >= 8 * (HEADER_WORDS + plan.width)
        assert row[0] == struct.unpack_from("<q", whole, 24)[0]


@pytest.mark.parametrize("layout", [ROW_FORMAT - 1, ROW_FORMAT + 1])
def test_a_row_of_another_format_is_damage(layout: int) -> None:
    plan = PLANS["both inputs"]
    row = bytes([layout]) + bytes(8 * (HEADER_WORDS + plan.width) - 1)

    with pytest.raises(IntegrityError, match="format"):
        StoredLookup([plan], "p").read([[row]])


@given(data=st.data(), size=st.integers(1, 5))
def test_many_rows_are_read_at_once_as_they_are_one_by_one(data: st.DataObject, size: int) -> None:
    plans = [PLANS[name] for name in data.draw(st.permutations(NUMBERED))]
    lookup = StoredLookup(plans, "p")
    replies = [
        [data.draw(st.none() | rows(plan).map(encode_row)) for plan in plans if plan.view.entity == entity]
        for entity in lookup.entities
        for _ in range(size)
    ]
    found = lookup.read_columns(replies)

    assert found is not None
    at = 0
    for place, expected in enumerate(lookup.read(replies)):
        plan = next(plan for plan in plans if plan.view.name == lookup.views[place])
        for row, (valid_from_us, values) in enumerate(expected):
            assert found.valid_from_us[row, place] == (NULL if valid_from_us is None else valid_from_us)
            cells = [np.nan if value is None else value for value in values]
            np.testing.assert_array_equal(found.cells[row, at : at + plan.width], cells)
        at += plan.width


@given(data=st.data())
def test_a_damaged_row_is_not_read_at_once(data: st.DataObject) -> None:
    plan = PLANS["both inputs"]
    whole = encode_row(data.draw(rows(plan)))
    cut = whole[: data.draw(st.integers(1, len(whole)))]
    lookup = StoredLookup([plan], "p")
    found = lookup.read_columns([[cut]])
    if found is not None:
        ((expected,),) = lookup.read([[cut]])
        assert found.valid_from_us[0, 0] == (NULL if expected[0] is None else expected[0])


@given(keys=st.lists(INT64, min_size=1, max_size=4), data=st.data())
def test_commands_are_the_same_made_at_once(keys: list[int], data: st.DataObject) -> None:
    lookup = StoredLookup([PLANS[name] for name in NUMBERED], "p")
    columns = data.draw(st.lists(st.integers(0, 3), min_size=len(lookup.entities), max_size=len(lookup.entities)))
    table = np.array([[key + column if key < 2**62 else key - column for column in range(4)] for key in keys], np.int64)
    given_keys = {name: table[:, column].tolist() for name, column in zip(lookup.entities, columns, strict=True)}

    assert lookup.commands_of(table, columns) == b"".join(lookup.commands(given_keys))


@given(users=st.lists(INT64, min_size=1, max_size=4), data=st.data())
def test_the_commands_are_those_of_the_other_lookup(users: list[int], data: st.DataObject) -> None:
    towns = data.draw(st.lists(st.text(max_size=9), min_size=len(users), max_size=len(users)))
    views = tuple(plan.view for plan in PLANS.values())
    project = Project(name="p", path=Path(), streams=(STREAM,), labels=(), views=views, requests=(), models=())
    ours = StoredLookup(list(PLANS.values()), "p").commands({"user": users, "town": towns})

    theirs = LookupWire(project).encode(
        [
            LookupRequest(views=views, entities={"user": user, "town": town})
            for user, town in zip(users, towns, strict=True)
        ]
    )
    assert sorted(ours) == sorted(theirs)
