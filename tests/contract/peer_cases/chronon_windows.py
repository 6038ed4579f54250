"""Chronon's windows: the head exact, the tail rounded down to a hop that follows from the window's length.

Its rule is ``floor(q - w, hop) <= t < q``; the hop is a day from 12 days on, an hour from 12 hours on, else 5 minutes.
Ours is the same where a definition asks for that hop, and exact where it asks for none.
"""

from headrace import count, first, last, last_k, max, mean, sliding, sum, tumbling, var
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES", "NOT_EXPRESSED"]

_NAIVE = "airbnb/chronon: aggregator NaiveAggregator.scala (a60a209a), SawtoothAggregatorTest.scala (01ed409d)"
_TAIL = "airbnb/chronon: ResolutionTest.scala (dae9cf05) and the rule of NaiveAggregator.scala (a60a209a)"
_STACK = "airbnb/chronon: aggregator TwoStackLiteAggregatorTest.scala (2858855)"
_VARIANCE = "airbnb/chronon: aggregator VarianceTest.scala (83feae5), MomentTest.scala (54583b07)"
_EXACT = "a window is exact unless its definition asks for a hop"

NOT_EXPRESSED = (
    ("skew", "third moments are not kept; MomentTest's skewness has no counterpart"),
    ("kurtosis", "nor are fourth"),
    ("histogram", "a map of counts; count_by gives one feature for each category named in the definition"),
    (
        "approx_unique_count",
        "distinct is exact, and so are all error bounds of ApproxDistinctTest; over a lifetime ours is approx_distinct",
    ),
    (
        "approx_percentile",
        "quantile is exact, and so are all error bounds of ApproxPercentilesTest; over a lifetime: approx_quantile",
    ),
)
"""Names of aggregations Chronon tests and we do not have."""

_SUM_5M = (count().over(sliding("1h", hop="5m")), sum("x").over(sliding("1h", hop="5m")))

CASES = (
    Case(
        name="1 hour, hop 5 minutes: the tail snaps down, never up",
        source=_NAIVE,
        features=_SUM_5M,
        events=(
            e("13:24:59.999", 1, x=1),
            e("13:25", 2, x=10),
            e("13:29:59.999", 3, x=100),
            e("13:30", 4, x=1000),
        ),
        asks=(
            Ask(at="14:24:59.999", says={"count_1h_hop_5m": 4, "sum_x_1h_hop_5m": 1111.0}),
            Ask(at="14:25", says={"count_1h_hop_5m": 3, "sum_x_1h_hop_5m": 1110.0}),
            Ask(at="14:27", says={"count_1h_hop_5m": 3, "sum_x_1h_hop_5m": 1110.0}),
            Ask(at="14:29:59.999", says={"count_1h_hop_5m": 3, "sum_x_1h_hop_5m": 1110.0}),
            Ask(at="14:30", says={"count_1h_hop_5m": 1, "sum_x_1h_hop_5m": 1000.0}),
            Ask(at="14:35", says={"count_1h_hop_5m": 0, "sum_x_1h_hop_5m": 0.0}),
        ),
    ),
    Case(
        name="the head is exact to the millisecond, and to the microsecond",
        source=_NAIVE,
        features=_SUM_5M,
        events=(e("14:26:59.999", 1, x=1), e("14:26:59.999999", 2, x=10), e("14:27", 3, x=100)),
        asks=(
            Ask(at="14:26:59.999", says={"count_1h_hop_5m": 0}),
            Ask(at="14:27", says={"count_1h_hop_5m": 2, "sum_x_1h_hop_5m": 11.0}),
            Ask(at="14:27:00.001", says={"count_1h_hop_5m": 3, "sum_x_1h_hop_5m": 111.0}),
        ),
    ),
    Case(
        name="without a hop the same hour is exact at both ends",
        source=_NAIVE,
        features=(count().over("1h"), sum("x").over("1h")),
        events=(e("13:25", 1, x=1), e("13:26:59.999", 2, x=10), e("13:27", 3, x=100)),
        asks=(
            Ask(
                at="14:27",
                says={"count_1h": 1, "sum_x_1h": 100.0},
                peer={"count_1h": 3, "sum_x_1h": 111.0},
                why=_EXACT,
            ),
        ),
    ),
    Case(
        name="12 hours, hop 1 hour",
        source=_TAIL,
        features=(count().over(sliding("12h", hop="1h")),),
        events=(e("01:59:59.999", 1), e("02:00", 2), e("02:26:59", 3)),
        asks=(
            Ask(at="14:27", says={"count_12h_hop_1h": 2}),
            Ask(at="14:59:59.999", says={"count_12h_hop_1h": 2}),
            Ask(at="15:00", says={"count_12h_hop_1h": 0}),
        ),
    ),
    Case(
        name="1 day, hop 1 hour, over midnight",
        source=_TAIL,
        features=(count().over(sliding("1d", hop="1h")), mean("x").over(sliding("1d", hop="1h"))),
        events=(e("2024-05-13 13:59:59.999", 1, x=100), e("2024-05-13 14:00", 2, x=1), e("00:00", 3, x=2)),
        asks=(Ask(at="14:27", says={"count_1d_hop_1h": 2, "mean_x_1d_hop_1h": 1.5}),),
    ),
    Case(
        name="30 days, hop 1 day: days are those of UTC",
        source=_TAIL,
        features=(count().over(sliding("30d", hop="1d")),),
        events=(e("2024-04-13 23:59:59.999", 1), e("2024-04-14 00:00", 2), e("2024-04-14 23:00", 3)),
        asks=(
            Ask(at="14:27", says={"count_30d_hop_1d": 2}),
            Ask(at="23:59:59.999999", says={"count_30d_hop_1d": 2}),
            Ask(at="2024-05-15 00:00", says={"count_30d_hop_1d": 0}),
        ),
    ),
    Case(
        name="nothing in the window",
        source=_NAIVE,
        features=(count().over("1h"), sum("x").over("1h"), mean("x").over("1h")),
        events=(e("10:00", 1, x=1),),
        asks=(
            Ask(
                at="14:27",
                says={"count_1h": 0, "sum_x_1h": 0.0, "mean_x_1h": None},
                peer={"count_1h": None, "sum_x_1h": None},
                why="no event is a count of 0, and a sum of nothing is 0, in both stores and in tests",
            ),
        ),
    ),
    Case(
        name="snapshot accuracy: values as of the last midnight",
        source="airbnb/chronon: accuracy SNAPSHOT as documented in Join.md (5edd4fc9)",
        features=(count().over(tumbling("1d", completed=True)), sum("x").over(tumbling("1d", completed=True))),
        events=(
            e("2024-05-12 23:59:59.999", 1, x=1),
            e("2024-05-13 00:00", 2, x=10),
            e("2024-05-13 23:59:59.999", 3, x=100),
            e("00:00", 4, x=1000),
        ),
        asks=(
            Ask(at="00:00", says={"count_last_tumbling_1d": 2, "sum_x_last_tumbling_1d": 110.0}),
            Ask(at="14:27", says={"count_last_tumbling_1d": 2, "sum_x_last_tumbling_1d": 110.0}),
            Ask(at="2024-05-15 00:00", says={"count_last_tumbling_1d": 1, "sum_x_last_tumbling_1d": 1000.0}),
        ),
    ),
    Case(
        name="an event right on the old edge at midnight, where a batch ends there",
        source="airbnb/chronon: the upload keeps t > end - w and the fetcher t >= end - w (5edd4fc9), as read",
        features=(count().over(sliding("1d", hop="1h")),),
        events=(e("2024-05-13 00:00", 1),),
        asks=(
            Ask(at="2024-05-13 23:59:59.999999", says={"count_1d_hop_1h": 1}),
            Ask(
                at="00:00",
                says={"count_1d_hop_1h": 1},
                peer={"count_1d_hop_1h": None},
                why="one rule for both stores; there, the event is offline and not online",
            ),
            Ask(at="01:00", says={"count_1d_hop_1h": 0}),
        ),
    ),
    Case(
        name="of one instant, the newest and the oldest are two events",
        source="airbnb/chronon: First and Last of TimedAggregators.scala (5edd4fc9)",
        features=(first("x").over("1h"), last("x").over("1h")),
        events=(e("12:00", 1, x=5, arrives="12:00:01"), e("12:00", 2, x=7, arrives="12:00:02")),
        asks=(
            Ask(
                at="12:01",
                says={"first_x_1h": 5.0, "last_x_1h": 7.0},
                peer={"last_x_1h": 5.0},
                why="ties follow the ids; there, whoever was first in memory is both",
            ),
        ),
    ),
    Case(
        name="a late event counts in the long window and does not bring the short one back",
        source="zipline-ai/chronon: the rules of its MegaTile (pull requests 1627 and 1680)",
        features=(count().over("1h", "1d"), sum("x").over("1h", "1d")),
        events=(e("10:00", 1, x=1), e("12:00", 2, x=10, arrives="14:00"), e("13:55", 3, key=2)),
        asks=(
            Ask(
                at="14:00",
                mode="as_served",
                says={"count_1h": 0, "count_1d": 2, "sum_x_1h": 0.0, "sum_x_1d": 11.0},
            ),
            Ask(at="13:59:59.999999", mode="as_served", says={"count_1h": 0, "count_1d": 1}),
            Ask(at="12:30", says={"count_1h": 1, "count_1d": 2}),
        ),
    ),
    Case(
        name="a queue that is pushed to and popped from: the greatest is found again when it has left",
        source=_STACK,
        features=(max("n").over("10m"), last_k("n", 2).over("10m")),
        events=(e("12:00", 1, n=7), e("12:01", 2, n=8), e("12:02", 3, n=9), e("12:25", 4, n=10)),
        asks=(
            Ask(
                at="12:03",
                says={"max_n_10m": 9.0, "last_2_n_10m": [9.0, 8.0]},
                peer={"last_2_n_10m": [8, 9]},
                why="theirs are the two greatest, least first; these happen to be the two newest, newest first",
            ),
            Ask(at="12:10:30", says={"max_n_10m": 9.0, "last_2_n_10m": [9.0, 8.0]}),
            Ask(at="12:11:30", says={"max_n_10m": 9.0, "last_2_n_10m": [9.0]}),
            Ask(at="12:12:30", says={"max_n_10m": None, "last_2_n_10m": []}),
            Ask(at="12:26", says={"max_n_10m": 10.0, "last_2_n_10m": [10.0]}),
        ),
    ),
    Case(
        name="the greatest that leaves first, the least that leaves last",
        source=_STACK,
        features=(max("n").over("10m"),),
        events=(e("12:00", 1, n=9), e("12:01", 2, n=8), e("12:02", 3, n=7)),
        asks=(
            Ask(at="12:03", says={"max_n_10m": 9.0}),
            Ask(at="12:10:30", says={"max_n_10m": 8.0}),
            Ask(at="12:11:30", says={"max_n_10m": 7.0}),
            Ask(at="12:12:30", says={"max_n_10m": None}),
        ),
    ),
    Case(
        name="variance far from zero keeps every digit: 100000.25 and 100000.75",
        source=_VARIANCE,
        features=(var("x", ddof=0).over("1h"),),
        events=(e("12:00", 1, x=100000.25), e("12:01", 2, x=100000.75)),
        asks=(Ask(at="12:02", says={"var_x_1h": 0.0625}),),
    ),
    Case(
        name="variance of 1.1, 2.2, 3.3, 4.4, 5.5 as a sample; too few values have none; equal ones have 0",
        source=_VARIANCE,
        features=(var("x").over("10m"),),
        events=(
            *(e(f"12:0{i}", i, x=1.1 * i) for i in range(1, 6)),
            e("13:00", 6, x=1),
            e("13:01", 7, x=1),
            e("13:02", 8, x=1),
        ),
        asks=(
            Ask(at="12:06", says={"var_x_10m": 3.025}),
            Ask(at="12:14:30", says={"var_x_10m": None}),
            Ask(at="13:01", says={"var_x_10m": None}),
            Ask(at="13:05", says={"var_x_10m": 0.0}),
        ),
    ),
)
