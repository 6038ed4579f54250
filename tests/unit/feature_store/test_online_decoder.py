"""What a read says about one row, case by case.

The view counts and averages over 10 minutes, own event included; lateness is 1 minute. Times are minutes here:

    events        1 ●       5 ●
    row           written at watermark 6: valid from 5 until 11 (the event of 1 leaves then)
"""

from dataclasses import replace

import numpy as np
import pytest

from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_layout import HEADER_WORDS, StoredRow, encode_row
from feature_store.online.view_rows import EXPIRED, NOT_FOUND, PRESENT, STALE, ViewRow
from feature_store.own_event import OwnEvent
from feature_store.plan import NEVER_US, ViewPlan, compile_view
from headrace import EventStream, FeatureView, Float64, Int64, count, last_k, mean
from headrace.errors import IntegrityError, RejectedError

MINUTE = 60_000_000
PAY = EventStream(
    "pay", key="card", time="at", id="id", schema={"card": Int64, "eur": Float64(resolution=0.01)}, lateness="1m"
)


def _plan(ttl: str | None = None) -> ViewPlan:
    features = [count().over("10m"), mean("eur").over("10m")]
    return compile_view(FeatureView("spend", entity="card", source=PAY, features=features, closed="right", ttl=ttl))


PLAN = _plan()
DECODER = RowDecoder(PLAN)
ROW = StoredRow(
    definition=int(PLAN.version, 16),
    version=42,
    valid_from_us=5 * MINUTE,
    valid_until_us=11 * MINUTE,
    watermark_us=6 * MINUTE,
    values=np.array([2.0, 3.0]),
    times_us=np.array([1 * MINUTE, 5 * MINUTE]),
    ids=np.array([101, 105]),
    inputs=np.array([[200, 400]]),
)
BARE = replace(ROW, times_us=None, ids=None, inputs=None)
OWN = OwnEvent(id=108, time_us=8 * MINUTE, fields={"eur": 9.0, "card": 1})


def _read(row: StoredRow | None, at_min: float | None = None, own: OwnEvent | None = None) -> ViewRow:
    at_us = None if at_min is None else round(at_min * MINUTE)
    return DECODER.decode([None if row is None else encode_row(row)], [at_us], [own])[0]


def _stored_part(row: StoredRow | None) -> bytes:
    """What ``_hr:<view>`` holds."""
    return b"" if row is None else encode_row(row)[: 8 * (HEADER_WORDS + len(row.values))]


def test_rows_as_stored_are_the_same_one_by_one_and_as_columns() -> None:
    nulls = replace(ROW, values=np.array([0.0, np.nan]), valid_until_us=NEVER_US)
    rows = [ROW, None, BARE, replace(ROW, definition=1), nulls]
    parts = [_stored_part(row) for row in rows]
    one_by_one = [DECODER.as_stored(part or None) for part in parts]
    assert one_by_one == DECODER.decode([part or None for part in parts], [None] * 5, [None] * 5)

    # As they lie in a reply: at any byte, with something before and behind.
    data, spans = b"*1", np.zeros((5, 2, 2), np.int64)
    for number, part in enumerate(parts):
        spans[number, 1] = (len(data), len(data) + len(part)) if part else (0, 0)
        data += part + b"\r\n$"
    columns = DECODER.stored_columns(np.frombuffer(data, np.uint8).copy(), spans, 1)
    assert columns.statuses == [row.status for row in one_by_one]
    for number, row in enumerate(one_by_one):
        assert [None if np.isnan(cell) else cell for cell in columns.cells[number]] == list(row.values.values())
        if row.status == PRESENT:
            there = (columns.event_time_us, columns.valid_until_us, columns.version, columns.watermark_us)
            assert [int(column[number]) for column in there] == [
                row.event_time_us,
                row.valid_until_us,
                row.version,
                row.watermark_us,
            ]


@pytest.mark.parametrize("cut", [1, 8, 16, 17])
def test_a_damaged_row_among_columns_is_refused(cut: int) -> None:
    part = _stored_part(ROW)[:-cut]
    with pytest.raises(IntegrityError, match="cut off"):
        DECODER.stored_columns(np.frombuffer(part, np.uint8).copy(), np.array([[[0, len(part)]]]), 0)


def test_without_an_instant_a_row_is_given_as_stored() -> None:
    assert _read(ROW) == ViewRow(
        view="spend",
        status=PRESENT,
        values={"count_10m": 2, "mean_eur_10m": 3.0},
        event_time_us=5 * MINUTE,
        valid_until_us=11 * MINUTE,
        version=42,
        watermark_us=6 * MINUTE,
    )


def test_counts_are_integers_and_null_is_none() -> None:
    row = _read(replace(ROW, values=np.array([0.0, np.nan])))

    assert row.values == {"count_10m": 0, "mean_eur_10m": None}
    assert isinstance(row.values["count_10m"], int)


@pytest.mark.parametrize("eur", [[200], []])
def test_a_list_of_one_is_a_list(eur: list[int]) -> None:
    view = FeatureView("spend", entity="card", source=PAY, features=last_k("eur", 1).over("10m"), closed="right")
    plan = compile_view(view)
    row = replace(
        ROW,
        definition=int(plan.version, 16),
        values=np.array([value / 100 for value in eur] or [np.nan]),
        times_us=np.full(len(eur), 5 * MINUTE),
        ids=np.full(len(eur), 105),
        inputs=np.array([eur], np.int64),
    )

    for at_us in (None, 6 * MINUTE):
        (found,) = RowDecoder(plan).decode([encode_row(row)], [at_us], [None])
        assert list(found.values.values()) == [[value / 100 for value in eur]]


def test_a_key_never_seen_is_not_found() -> None:
    for at_min in (None, 7):
        row = _read(None, at_min)

        assert (row.status, set(row.values.values()), row.version) == (NOT_FOUND, {None}, None)


def test_nobody_can_say_whether_an_event_without_an_id_has_been_counted() -> None:
    clicks = replace(PAY, id=None)
    decoder = RowDecoder(compile_view(FeatureView("clicks", entity="card", source=clicks, features=count().over("1h"))))

    assert decoder.decode([None], [7 * MINUTE], [None])[0].status == NOT_FOUND
    with pytest.raises(RejectedError, match=r"'pay' have no id.*\n.*without an own event"):
        decoder.decode([None], [7 * MINUTE], [OWN])


def test_a_row_of_another_definition_is_not_found_even_with_an_own_event() -> None:
    other = replace(ROW, definition=1)

    assert [_read(other).status, _read(other, 7).status, _read(other, None, OWN).status] == [NOT_FOUND] * 3


@pytest.mark.parametrize(
    ("at_min", "values", "valid_from", "valid_until"),
    [
        (5, [2, 3.0], 5, 11),
        (10.99, [2, 3.0], 5, 11),
        (11, [1, 4.0], 11, 15),
        (15, [0, None], 15, None),
        (99, [0, None], 15, None),
    ],
)
def test_a_row_is_moved_to_any_later_instant(
    at_min: float, values: list[float | None], valid_from: int, valid_until: int | None
) -> None:
    row = _read(ROW, at_min)

    assert (row.status, list(row.values.values())) == (PRESENT, values)
    assert row.event_time_us == valid_from * MINUTE
    assert row.valid_until_us == (NEVER_US if valid_until is None else valid_until * MINUTE)


def test_an_instant_before_the_lateness_may_lack_events_and_is_stale() -> None:
    late_watermark = replace(ROW, watermark_us=9 * MINUTE)

    assert _read(late_watermark, 4.9).status == STALE
    assert _read(late_watermark, 7.9).status == PRESENT, "the stored row holds there as it is"
    assert _read(late_watermark, 8).status == PRESENT


def test_before_its_first_event_a_key_is_not_found() -> None:
    assert _read(replace(ROW, watermark_us=1 * MINUTE), 0.5).status == NOT_FOUND


def test_an_own_event_is_merged_at_its_own_time() -> None:
    row = _read(ROW, None, OWN)

    assert (row.status, row.own_event) == (PRESENT, "merged")
    assert row.values == {"count_10m": 3, "mean_eur_10m": 5.0}
    assert row.event_time_us == 8 * MINUTE


def test_an_own_event_the_stream_has_applied_counts_once() -> None:
    row = _read(ROW, 8, replace(OWN, id=105))

    assert (row.values["count_10m"], row.own_event) == (2, "applied")


def test_the_first_event_of_a_key_is_its_own_row() -> None:
    row = _read(None, None, OWN)

    assert (row.status, row.own_event, row.version) == (PRESENT, "merged", None)
    assert row.values == {"count_10m": 1, "mean_eur_10m": 9.0}


def test_a_row_without_its_events_is_stale_where_it_does_not_hold() -> None:
    assert [_read(BARE, at).status for at in (4.9, 5, 10.9, 11)] == [STALE, PRESENT, PRESENT, STALE]
    assert _read(BARE, 11).values == {"count_10m": 2, "mean_eur_10m": 3.0}


def test_a_row_without_its_events_cannot_take_an_own_event() -> None:
    row = _read(BARE, None, OWN)

    assert (row.status, row.own_event) == (STALE, "")


def test_a_row_whose_events_have_all_left_keeps_the_instant_of_the_last_change() -> None:
    nothing = np.empty(0, np.int64)
    idle = replace(ROW, values=np.array([0.0, np.nan]), times_us=nothing, ids=nothing, inputs=nothing.reshape(1, 0))

    row = _read(idle, 20)

    assert (row.status, row.event_time_us, row.values["count_10m"]) == (PRESENT, 5 * MINUTE, 0)


def test_a_row_older_than_ttl_is_expired_and_exactly_ttl_is_not() -> None:
    plan = _plan(ttl="3m")
    decoder = RowDecoder(plan)
    data = encode_row(replace(ROW, definition=int(plan.version, 16)))

    rows = decoder.decode([data, data], [8 * MINUTE, 8 * MINUTE + 1], [None, None])

    assert [row.status for row in rows] == [PRESENT, EXPIRED]
    assert set(rows[1].values.values()) == {None}


def test_many_rows_are_decoded_as_each_alone() -> None:
    cases = [
        (ROW, 7.0, None),
        (None, 7.0, OWN),
        (BARE, 12.0, None),
        (None, None, None),
        (ROW, None, OWN),
        (ROW, None, None),
    ]

    together = DECODER.decode(
        [None if row is None else encode_row(row) for row, _, _ in cases],
        [None if at is None else round(at * MINUTE) for _, at, _ in cases],
        [own for _, _, own in cases],
    )

    assert together == [_read(*case) for case in cases]


@pytest.mark.parametrize("cut", [7, 47, 48, 60, 103])
def test_a_damaged_row_is_refused(cut: int) -> None:
    good = encode_row(ROW)

    with pytest.raises(IntegrityError, match="'spend'"):
        DECODER.decode([good, good[:cut]], [None, None], [None, None])


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(IntegrityError, match="format"):
        DECODER.decode([b"\x63" + encode_row(ROW)[1:]], [None], [None])


@pytest.mark.parametrize(
    "fields", [{}, {"eur": None}, {"eur": "9"}, {"eur": True}, {"eur": float("nan")}, {"eur": 1e300}, {"eur": 1e14}]
)
def test_an_own_event_must_be_one_of_its_stream(fields: dict[str, object]) -> None:
    with pytest.raises(RejectedError, match="eur"):
        _read(ROW, None, replace(OWN, fields=fields))
