"""Fennel's windows, deduplication and joins, on a grid of seconds there and of microseconds here.

Its continuous window has both edges closed. Its hopping and tumbling windows answer with the newest window that is
over; our hop rounds the old edge only, and a tumbling window that is over is asked for with completed=True.
"""

from headrace import count, decayed_sum, last, lifetime, mean, quantile, session, sliding, sum, tumbling
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES", "NOT_EXPRESSED"]

_EDGES = "fennel-ai/client: testing/execute_aggregation.py and data_engine.py (46f9fbb6)"
_DISCRETE = "fennel-ai/client: client_tests/test_discrete_window_aggregation.py (3ec9bfc5)"
_SESSIONS = "fennel-ai/client: client_tests/test_session_window_operator.py (21162608)"
_HEAD = "a hop rounds the old edge only; the new one is exact, so the value is not up to an hour old"

NOT_EXPRESSED = (
    ("forever_quantile", "a quantile needs every value, so it has no lifetime; the case takes 30 days"),
    ("dedup", "by fields within a time; an event is known by its id, so its producer gives the same id again"),
)

_STARS = (1, 2, 3, 2, 4, 5, 1, 4, 2, 3, 1, 5, 3, 1, 5, 2, 3, 5, 2, 4)
_SECONDS = (1, 2, 3, 7, 8, 9, 10, 11, 15, 20, 25, 26, 27, 28, 29, 30, 32, 33, 37, 38)
_PAGES = {
    1: ("01 00", "01 16", "01 18", "02 13", "02 14", "03 13", "03 14", "03 15", "03 00"),
    2: ("01 14", "01 16", "01 18", "02 13", "03 13", "04 13", "05 14", "05 15", "05 16"),
    3: ("01 14", "01 16", "01 18", "02 13", "03 13", "04 13", "05 14", "05 15", "06 00"),
}

CASES = (
    Case(
        name="continuous: both edges closed",
        source=_EDGES,
        features=(count().over("10m"), sum("x").over("10m")),
        closed="both",
        events=(e("12:00", 1, x=5),),
        asks=(
            Ask(at="12:00", says={"count_10m": 1, "sum_x_10m": 5.0}),
            Ask(at="12:10", says={"count_10m": 1, "sum_x_10m": 5.0}),
            Ask(
                at="12:10:00.500",
                says={"count_10m": 0, "sum_x_10m": 0.0},
                peer={"count_10m": 1, "sum_x_10m": 5.0},
                why="an event leaves a second after the edge there, at the next microsecond here",
            ),
            Ask(at="12:10:01", says={"count_10m": 0, "sum_x_10m": 0.0}),
        ),
    ),
    Case(
        name="tumbling days: the newest that is over",
        source=_DISCRETE,
        features=(count().over(tumbling("1d", completed=True)), sum("x").over(tumbling("1d", completed=True))),
        events=(
            e("14:27", 1, x=100),
            *(e("2024-05-13 14:27", 2 + i, x=x) for i, x in enumerate((200, 300, 500))),
            e("2024-05-12 14:27", 5, x=400),
            e("2024-05-13 14:27", 6, key=2, x=600),
            e("2024-05-12 14:27", 7, key=2, x=700),
            e("2024-05-11 14:27", 8, key=2, x=800),
            *(e("2024-05-11 14:27", 9 + i, key=3, x=x) for i, x in enumerate((900, 1000))),
        ),
        asks=(
            Ask(at="14:28", says={"count_last_tumbling_1d": 3, "sum_x_last_tumbling_1d": 1000.0}),
            Ask(at="14:28", key=2, says={"count_last_tumbling_1d": 1, "sum_x_last_tumbling_1d": 600.0}),
            Ask(at="14:28", key=3, says={"count_last_tumbling_1d": 0, "sum_x_last_tumbling_1d": 0.0}),
        ),
    ),
    Case(
        name="a day that hops by an hour",
        source=_DISCRETE,
        features=(count().over(sliding("1d", hop="1h")),),
        events=tuple(
            e(f"2023-05-{at}:00", 100 * key + i, key=key) for key, ats in _PAGES.items() for i, at in enumerate(ats)
        ),
        asks=(
            Ask(at="2023-05-02 13:00", says={"count_1d_hop_1h": 2}),
            Ask(at="2023-05-02 13:30", says={"count_1d_hop_1h": 3}, peer={"count_1d_hop_1h": 2}, why=_HEAD),
            Ask(at="2023-05-03 14:00", says={"count_1d_hop_1h": 3}),
            Ask(at="2023-05-03 14:30", says={"count_1d_hop_1h": 4}, peer={"count_1d_hop_1h": 3}, why=_HEAD),
            Ask(at="2023-05-03 13:00", key=2, says={"count_1d_hop_1h": 1}),
            Ask(at="2023-05-03 13:30", key=2, says={"count_1d_hop_1h": 2}, peer={"count_1d_hop_1h": 1}, why=_HEAD),
            Ask(at="2023-05-05 15:00", key=3, says={"count_1d_hop_1h": 1}),
            Ask(at="2023-05-05 15:30", key=3, says={"count_1d_hop_1h": 2}, peer={"count_1d_hop_1h": 1}, why=_HEAD),
            Ask(at="2024-05-05 15:30", says={"count_1d_hop_1h": 0}),
        ),
    ),
    Case(
        name="sessions with pauses of up to a minute",
        source=_DISCRETE,
        features=(count().over(session("1m")),),
        closed="both",
        events=(
            *(e(f"12:{at}", i) for i, at in enumerate(("06", "05", "04", "01", "00"))),
            *(e(f"12:{at}", 10 + i, key=2) for i, at in enumerate(("04", "05", "04"))),
            *(e(f"12:{at}", 20 + i, key=3) for i, at in enumerate(("04", "05"))),
        ),
        asks=(
            Ask(at="12:06", says={"count_session_1m": 3}),
            Ask(at="12:06", key=2, says={"count_session_1m": 3}),
            Ask(at="12:06", key=3, says={"count_session_1m": 2}),
            Ask(
                at="12:06:00.001",
                key=2,
                says={"count_session_1m": 0},
                peer={"count_session_1m": 3},
                why="a session is over when its newest event is longer ago than the gap, and nothing takes its place",
            ),
        ),
    ),
    Case(
        name="sessions with pauses of up to three seconds",
        source=_SESSIONS,
        features=(count().over(session("3s")), mean("n").over(session("3s"))),
        closed="both",
        events=tuple(
            e(f"11:00:{second:02}", i, n=star) for i, (second, star) in enumerate(zip(_SECONDS, _STARS, strict=True))
        ),
        asks=(
            Ask(at="11:00:03", says={"count_session_3s": 3, "mean_n_session_3s": 2.0}),
            Ask(at="11:00:11", says={"count_session_3s": 5, "mean_n_session_3s": 3.2}),
            Ask(at="11:00:14", says={"count_session_3s": 5, "mean_n_session_3s": 3.2}),
            Ask(at="11:00:14.000001", says={"count_session_3s": 0, "mean_n_session_3s": None}),
            Ask(at="11:00:15", says={"count_session_3s": 1, "mean_n_session_3s": 2.0}),
            Ask(at="11:00:33", says={"count_session_3s": 8, "mean_n_session_3s": 3.125}),
            Ask(at="11:00:38", says={"count_session_3s": 2, "mean_n_session_3s": 3.0}),
        ),
    ),
    Case(
        name="an event told twice counts once, for ever",
        source="fennel-ai/client: client_tests/test_dedup_session.py (6e7e9fd8)",
        features=(count().over(lifetime()), sum("n").over(lifetime())),
        closed="both",
        events=(
            e("2024-05-14 12:00", 1, n=1),
            e("2024-05-14 12:00", 1, n=1, arrives="2024-05-14 12:00:02"),
            e("2024-05-15 12:00:02", 2, n=1),
            e("2024-05-15 12:00:02", 3, n=2),
            e("2024-05-16 12:01:02", 4, n=5),
        ),
        asks=(
            Ask(at="2024-05-14 12:01", says={"count_lifetime": 1, "sum_n_lifetime": 1.0}),
            Ask(at="2024-05-15 12:01:02", says={"count_lifetime": 3, "sum_n_lifetime": 4.0}),
            Ask(at="2024-05-16 12:02:02", says={"count_lifetime": 4, "sum_n_lifetime": 9.0}),
        ),
    ),
    Case(
        name="medians, and a value for nothing",
        source="fennel-ai/client: client_tests/test_quantile.py (e6c6d54c)",
        features=(quantile("n", 0.5).over("30d", empty=-1.0),),
        closed="both",
        events=(
            *(e("12:00", i, n=n) for i, n in enumerate((10, 20, 30))),
            *(e("12:00", 10 + i, key=2, n=n) for i, n in enumerate((40, 50, 60))),
            *(e("12:00", 20 + i, key=3, n=n) for i, n in enumerate((70, 8, 90))),
            e("12:00", 30, key=4, n=100),
            e("12:00", 40, key=5),
        ),
        asks=(
            Ask(at="12:00", says={"p50_n_30d": 20.0}),
            Ask(at="12:00", key=2, says={"p50_n_30d": 50.0}),
            Ask(at="12:00", key=3, says={"p50_n_30d": 70.0}),
            Ask(at="12:00", key=4, says={"p50_n_30d": 100.0}),
            Ask(at="12:00", key=5, says={"p50_n_30d": -1.0}),
        ),
    ),
    Case(
        name="a sum that halves every hour",
        source="fennel-ai/client: documentation of ExpDecaySum (46f9fbb6)",
        features=(decayed_sum("n", "1h").over("1d"),),
        closed="both",
        events=(e("12:00", 1, n=8), e("13:00", 2, n=4)),
        asks=(
            Ask(at="12:00", says={"decayed_sum_n_1h_1d": 8.0}),
            Ask(at="13:00", says={"decayed_sum_n_1h_1d": 8.0}),
            Ask(at="15:00", says={"decayed_sum_n_1h_1d": 2.0}),
        ),
    ),
    Case(
        name="a join as of a time, within ten minutes",
        source=_EDGES,
        features=(last("n").over("10m"),),
        closed="both",
        events=(e("12:00", 1, n=1), e("12:08", 2, n=2)),
        asks=(
            Ask(at="12:07:59.999999", says={"last_n_10m": 1.0}),
            Ask(at="12:08", says={"last_n_10m": 2.0}),
            Ask(at="12:18", says={"last_n_10m": 2.0}),
            Ask(at="12:18:00.000001", says={"last_n_10m": None}),
        ),
    ),
)
