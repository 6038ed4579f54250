"""The seven cases of the design that a person can work out by hand, asked of every engine.

Windows are ten minutes, closed at the old edge. ``●`` is an event, ``q`` the instant asked for:

        [════════10 min════════)
    ────●──────────────────────q────► time
        counts                 would not
"""

import json

import numpy as np

from feature_store.online.view_rows import NOT_FOUND, PRESENT
from headrace import EventStream, FeatureView, Float64, Int64, col, count, first, last, last_k, max, mean, sum
from headrace.clock import parse_us
from headrace.spec.aggregations import Feature
from streams.formats.decode import event_decoder
from streams.logs.keyed_log import EVENTS, NO_TIME_US, KeyedBatch, SourceMark
from streams.messages.payloads import Payloads
from streams.sources.lateness import EVENT, NOTHING, mark_late
from streams.views.source_marks import SourceMarks
from tests.every_engine import Event, ask

PAYMENTS = EventStream(
    "payments",
    key="card",
    time="at",
    id="id",
    schema={"card": Int64, "eur": Float64(resolution=0.01, nullable=True)},
    lateness="6h",
    future="30m",
)


def us(text: str) -> int:
    return parse_us(f"2024-05-14 {text}+00:00")


def paid(at: str, id: int, eur: float | None, *, arrives: str | None = None) -> Event:
    return Event(id=id, t=us(at), fields={"eur": eur}, arrival=us(arrives) if arrives else None)


def spend(*features: tuple[Feature, ...]) -> FeatureView:
    return FeatureView("spend", entity="card", source=PAYMENTS, features=list(features))


def test_case_1_an_event_counts_from_just_after_it_up_to_and_with_ten_minutes_later() -> None:
    """
    12:00:00              12:10:00
    ●─────────────────────│──────────►
    q  sum 0
     q  sum 5
                          q  sum 5
                           q  sum 0
    """
    view, events = spend(sum("eur").over("10m")), [paid("12:00", 1, 5)]
    instants = ("12:00:00", "12:00:00.000001", "12:10:00", "12:10:00.000001")

    sums = [ask(view, events, us(at)).values["sum_eur_10m"] for at in instants]

    assert sums == [0.0, 5.0, 5.0, 0.0]


def test_case_2_events_of_one_instant_have_an_order_whoever_arrives_first() -> None:
    view = spend(last("eur").over("10m"), first("eur").over("10m"), last_k("eur", 2).over("10m"))
    a, b = ("12:00", 1, 5), ("12:00", 2, 7)
    forth = [paid(*a, arrives="12:00:01"), paid(*b, arrives="12:00:02")]
    back = [paid(*b, arrives="12:00:01"), paid(*a, arrives="12:00:02")]

    for events in (forth, back):
        answer = ask(view, events, us("12:01"))
        assert answer.values == {"last_eur_10m": 7.0, "first_eur_10m": 5.0, "last_2_eur_10m": [7.0, 5.0]}


def test_case_3_an_event_delivered_twice_counts_once() -> None:
    view = spend(count().over("10m"), sum("eur").over("10m"))
    events = [paid("12:00", 1, 5), paid("12:00", 1, 5, arrives="12:00:30")]

    assert ask(view, events, us("12:01")).values == {"count_10m": 1, "sum_eur_10m": 5.0}


def test_case_4_a_late_event_takes_its_place_and_only_who_asks_for_it_sees_it_before_it_came() -> None:
    """
    12:02     12:03     12:05     12:05:30   12:06
    ○9        q         ●1        9 arrives  q
              as served: nothing             max 9, last 1
              corrected: 9
    """
    view = spend(max("eur").over("10m"), last("eur").over("10m"), count().over("10m"))
    events = [paid("12:05", 1, 1), paid("12:02", 2, 9, arrives="12:05:30")]

    afterwards = ask(view, events, us("12:06"))
    served = ask(view, events, us("12:03"), mode="as_served")
    corrected = ask(view, events, us("12:03"))

    assert afterwards.values == {"max_eur_10m": 9.0, "last_eur_10m": 1.0, "count_10m": 2}
    assert served.values == {"max_eur_10m": None, "last_eur_10m": None, "count_10m": 0}
    assert served.status == NOT_FOUND
    assert corrected.values == {"max_eur_10m": 9.0, "last_eur_10m": 9.0, "count_10m": 1}
    assert corrected.status == PRESENT


def test_case_5_an_event_from_the_future_is_not_counted_before_its_time() -> None:
    view, events = spend(count().over("10m")), [paid("13:00", 1, 5, arrives="12:00")]

    answer = ask(view, events, us("12:01"))

    assert answer.values == {"count_10m": 0}
    assert answer.status == NOT_FOUND


def test_case_5_the_stream_refuses_it_with_a_reason() -> None:
    """Half an hour ahead is allowed here; the bound itself is in time."""
    times = ["13:00", "12:30:00.000001", "12:30", "12:00"]
    messages = [json.dumps({"id": i, "card": 1, "eur": 5, "at": us(at)}).encode() for i, at in enumerate(times)]

    decoded = event_decoder(PAYMENTS).decode(Payloads.of(messages), np.full(4, us("12:00")))

    assert [(refusal.row, refusal.reason) for refusal in decoded.refused] == [(0, "future"), (1, "future")]
    assert decoded.rows.tolist() == [2, 3]


def test_case_5_the_watermark_does_not_move() -> None:
    """What is refused is no event to its partition: it raises no newest time, and makes nobody late."""
    times = np.array([us("12:00"), us("13:00"), us("12:00:30")])
    messages = [json.dumps({"id": i, "card": 1, "eur": 5, "at": at}).encode() for i, at in enumerate(times.tolist())]
    decoded = event_decoder(PAYMENTS).decode(Payloads.of(messages), np.full(3, us("12:00:30")))
    kinds, read = np.full(3, NOTHING, dtype=np.uint8), np.full(3, NO_TIME_US)
    kinds[decoded.rows], read[decoded.rows] = EVENT, decoded.columns["at"]
    newest, late = np.array([NO_TIME_US]), np.empty(3, dtype=np.bool_)
    mark_late(kinds, np.zeros(3, dtype=np.int32), read, 0, newest, late)
    marks = SourceMarks("payments", None)

    marks.update(
        KeyedBatch(
            kind=EVENTS,
            topic="payments",
            partitions=1,
            marks=(SourceMark(partition=0, offset=2, newest_us=int(newest[0]), idle=False),),
            sources=np.zeros(2, dtype=np.int32),
            offsets=np.array([0, 2]),
            ids=np.array([0, 2]),
        )
    )

    assert marks.watermark_us() == us("12:00:30")
    assert not late.any()


def test_case_6_a_delay_hides_an_event_until_it_is_that_old() -> None:
    """
    12:00            12:05           12:15
    ●────────────────[═══════════════]──►      seen after 12:05, up to and with 12:15
    """
    view, events = spend(count().over("10m", delay="5m")), [paid("12:00", 1, 5)]
    instants = ("12:04", "12:05", "12:05:00.000001", "12:06", "12:15", "12:15:00.000001")

    counts = [ask(view, events, us(at)).values["count_10m"] for at in instants]

    assert counts == [0, 0, 1, 1, 1, 0]


def test_case_7_nulls_are_skipped() -> None:
    """At any instant there is nothing to add, to average or to count; the events themselves are there."""
    view = spend(
        mean("eur").over("10m"),
        sum("eur").over("10m"),
        last("eur").over("10m"),
        count(where=~col("eur").is_null()).over("10m"),
        count().over("10m"),
    )
    events = [paid("12:00", 1, None), paid("12:01", 2, None)]

    for at, there in (("12:00", 0), ("12:00:30", 1), ("12:05", 2), ("12:10:30", 1), ("12:20", 0)):
        assert ask(view, events, us(at)).values == {
            "mean_eur_10m": None,
            "sum_eur_10m": 0.0,
            "last_eur_10m": None,
            "count_not_eur_is_null_10m": 0,
            "count_10m": there,
        }
