"""Chronon's known answers for five rows, recomputed by hand.

    t        1     2     3     4     5
    views    4     3     5     7     3       22 of 5
    rating   5.0   4.0   7.0   1.0   1.0     18 of 5
    title    A     B     D     A     B       as a number: 1, 2, 4, 1, 2

Chronon then takes two rows back (views 2 and 1, rating 1.0 and 2.0): 19 of 3, and 15.0. An event of ours cannot be
taken back, so those rows hold both numbers. A title is a text; only distinct and conditions take texts, so first, last
and the like look at its number.
"""

from dataclasses import replace

from headrace import col, count_by, distinct, first, last, last_k, lifetime, max, mean, min, sum, top_k
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES", "NOT_EXPRESSED"]

_SOURCE = "airbnb/chronon: aggregator RowAggregatorTest.scala (12af0522)"
_ALL, _ONE_DAY = lifetime(), "1d"

NOT_EXPRESSED = (
    ("first_k", "the oldest k; last_k has the newest"),
    ("bottom_k", "the least k; min has the least"),
    ("largest_k", "the greatest k, Chronon's top_k; ours has the most frequent"),
    ("element_wise", "fields are numbers and texts, not lists, so nothing is averaged place by place"),
    ("bucket", "a map by title; a view has one feature for each title named, by where="),
)

_KNOWN = Case(
    name="five rows",
    source=_SOURCE,
    features=(
        mean("n").over(_ALL),
        sum("x").over(_ALL),
        last("good").over(_ALL),
        distinct("text").over(_ONE_DAY),
        count_by("text", ["A", "B", "D"]).over(_ALL),
        mean("n", where=col("text") == "A").over(_ALL),
    ),
    events=(
        e("00:00:00.001", 1, n=4, x=5.0, text="A", good=True),
        e("00:00:00.002", 2, n=3, x=4.0, text="B", good=True),
        e("00:00:00.003", 3, n=5, x=7.0, text="D"),
        e("00:00:00.004", 4, n=7, x=1.0, text="A", good=False),
        e("00:00:00.005", 5, n=3, x=1.0, text="B"),
    ),
    asks=(
        Ask(
            at="00:00:01",
            says={"mean_n_lifetime": 22 / 5, "sum_x_lifetime": 18.0},
            peer={"mean_n_lifetime": 19 / 3, "sum_x_lifetime": 15.0},
            why="two rows are taken back there; an event cannot be taken back here",
        ),
        Ask(
            at="00:00:01",
            says={
                "distinct_text_1d": 3,
                "count_text_is_a_lifetime": 2,
                "count_text_is_b_lifetime": 2,
                "count_text_is_d_lifetime": 1,
                "last_good_lifetime": 0.0,
                "mean_n_text_is_a_lifetime": 5.5,
            },
        ),
    ),
)
_TITLES = replace(
    _KNOWN,
    name="titles by number",
    features=(
        last("n").over(_ALL),
        first("n").over(_ALL),
        last_k("n", 2).over(_ALL),
        max("n").over(_ALL),
        min("n").over(_ALL),
        distinct("n").over(_ONE_DAY),
        top_k("n", 2).over(_ONE_DAY),
    ),
    events=tuple(e(f"00:00:00.00{i}", i, n=n) for i, n in enumerate((1, 2, 4, 1, 2), start=1)),
    asks=(
        Ask(
            at="00:00:01",
            says={
                "last_n_lifetime": 2.0,
                "first_n_lifetime": 1.0,
                "last_2_n_lifetime": [2.0, 1.0],
                "max_n_lifetime": 4.0,
                "min_n_lifetime": 1.0,
                "distinct_n_1d": 3,
            },
        ),
        Ask(
            at="00:00:01",
            says={"top_2_n_1d": [2.0, 1.0]},
            peer={"top_2_n_1d": [4, 2]},
            why="theirs are the greatest; ours the most frequent, of A and B (twice each) first the one seen last",
        ),
    ),
)
_HALVES = replace(
    _KNOWN,
    name="five rows, the second half arriving before the first: merging is the same in any order",
    events=tuple(replace(event, arrival=event.t + (1000 if event.id > 3 else 5000) * 1000) for event in _KNOWN.events),
    asks=tuple(replace(question, at="00:00:10", mode="as_served") for question in _KNOWN.asks),
)

CASES = (_KNOWN, _TITLES, _HALVES)
