"""Feast's point-in-time join: the newest row with ``ts <= q <= ts + ttl``, both edges closed; without a ttl the newest.

That is ``last`` over a window of the ttl's length with closed="both", or over a lifetime with closed="right".
A view's own ``ttl`` is another thing: it says how old a row of features may be, see the cases at the end.
"""

from feature_store.online.view_rows import EXPIRED, NOT_FOUND, PRESENT
from headrace import count, last, lifetime, max, mean, min, sliding, std, sum, var
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES"]

_JOIN = "feast-dev/feast: test_universal_historical_retrieval.py (f0bc0700), and the edges measured on 0.67.0"
_ONLINE = "feast-dev/feast: issue 6821, and the same measured on 0.67.0"
_BACKFILL = "feast-dev/feast: test_universal_historical_retrieval.py (f0bc0700), issue 6615"
_TILES = "feast-dev/feast: tiling of Spark and Ray engines (f0bc0700), measured on 0.66.0 and 0.67.0"
_TILED = sliding("15m", hop="5m")
_TTL = (last("x").over("10m"),)

CASES = (
    Case(
        name="both edges of the ttl are closed; a microsecond beyond there is nothing",
        source=_JOIN,
        features=_TTL,
        closed="both",
        events=(e("12:00", 1, x=5),),
        asks=(
            Ask(at="11:59:59.999999", says={"last_x_10m": None}, status=NOT_FOUND),
            Ask(at="12:00", says={"last_x_10m": 5.0}),
            Ask(at="12:10", says={"last_x_10m": 5.0}),
            Ask(at="12:10:00.000001", says={"last_x_10m": None}),
        ),
    ),
    Case(
        name="without a ttl the newest row counts for ever",
        source=_JOIN,
        features=(last("x").over(lifetime()),),
        closed="right",
        events=(e("12:00", 1, x=5), e("12:30", 2, x=7)),
        asks=(
            Ask(at="12:29:59.999999", says={"last_x_lifetime": 5.0}),
            Ask(at="12:30", says={"last_x_lifetime": 7.0}),
            Ask(at="2024-07-01 00:00", says={"last_x_lifetime": 7.0}),
        ),
    ),
    Case(
        name="of two rows of one time the one created later counts: ids that grow say so",
        source=_JOIN,
        features=_TTL,
        closed="both",
        events=(e("12:00", 1, x=5, arrives="12:00:01"), e("12:00", 2, x=7, arrives="12:00:02")),
        asks=(Ask(at="12:05", says={"last_x_10m": 7.0}), Ask(at="12:05", mode="as_served", says={"last_x_10m": 7.0})),
    ),
    Case(
        name="ids that do not grow say otherwise",
        source=_JOIN,
        features=_TTL,
        closed="both",
        events=(e("12:00", 2, x=5, arrives="12:00:01"), e("12:00", 1, x=7, arrives="12:00:02")),
        asks=(
            Ask(
                at="12:05",
                says={"last_x_10m": 5.0},
                peer={"last_x_10m": 7.0},
                why="the order of events is (time, id) and never that of arrival, so a replay gives the same",
            ),
        ),
    ),
    Case(
        name="a value filled in afterwards is used by default there, with mode corrected here",
        source=_BACKFILL,
        features=_TTL,
        closed="both",
        events=(e("12:00", 1, x=5), e("12:04", 2, x=7, arrives="13:00")),
        asks=(
            Ask(at="12:05", says={"last_x_10m": 7.0}),
            Ask(
                at="12:05",
                mode="as_served",
                says={"last_x_10m": 5.0},
                peer={"last_x_10m": 7.0},
                why="nobody knew it then; there it takes filter_by_created_timestamp, here it is the default",
            ),
        ),
    ),
    Case(
        name="a null is a value there",
        source=_JOIN,
        features=_TTL,
        closed="both",
        events=(e("12:00", 1, x=5), e("12:04", 2)),
        asks=(
            Ask(
                at="12:05",
                says={"last_x_10m": 5.0},
                peer={"last_x_10m": None},
                why="nulls are skipped by every aggregation",
            ),
        ),
    ),
    Case(
        name="what has an inverse and what has none, over three tiles",
        source=_TILES,
        features=(
            min("n").over(_TILED),
            max("n").over(_TILED),
            sum("n").over(_TILED),
            mean("n").over(_TILED),
            var("n").over(_TILED),
            std("n").over(_TILED),
        ),
        events=(e("11:51", 1, n=1), e("11:56", 2, n=2), e("12:01", 3, n=4)),
        asks=(
            Ask(
                at="12:05",
                says={
                    "min_n_15m_hop_5m": 1.0,
                    "max_n_15m_hop_5m": 4.0,
                    "sum_n_15m_hop_5m": 7.0,
                    "mean_n_15m_hop_5m": 7 / 3,
                    "var_n_15m_hop_5m": 14 / 6,
                    "std_n_15m_hop_5m": (14 / 6) ** 0.5,
                },
            ),
        ),
    ),
    Case(
        name="inside a tile",
        source=_TILES,
        features=(count().over(sliding("10m", hop="5m")),),
        events=(e("11:54", 1), e("11:56", 2), e("12:04", 3), e("12:06", 4)),
        asks=(
            Ask(at="12:05", says={"count_10m_hop_5m": 2}),
            Ask(
                at="12:07",
                says={"count_10m_hop_5m": 3},
                peer={"count_10m_hop_5m": 2},
                why="the new edge is exact; there, the value is that of the last tile's end until the next",
            ),
        ),
    ),
    Case(
        name="nothing in any tile",
        source=_TILES,
        features=(count().over(sliding("10m", hop="5m")), mean("n").over(sliding("10m", hop="5m"))),
        events=(e("11:00", 1, n=1),),
        asks=(Ask(at="12:05", says={"count_10m_hop_5m": 0, "mean_n_10m_hop_5m": None}),),
    ),
    Case(
        name="a view's ttl: a row is EXPIRED when it has stood unchanged for longer, and its edge is closed",
        source=_ONLINE,
        features=(count().over("1h"),),
        ttl="10m",
        events=(e("12:00", 1),),
        asks=(
            Ask(at="12:00:00.000001", says={"count_1h": 1}),
            Ask(at="12:10:00.000001", says={"count_1h": 1}),
            Ask(
                at="12:10:00.000002",
                says={"count_1h": 1},
                status=EXPIRED,
                peer_status=PRESENT,
                why="the row began to hold at 12:00:00.000001; Feast keeps the ttl offline and forgets it online",
            ),
            Ask(at="13:00:00.000001", says={"count_1h": 0}),
            Ask(at="13:10:00.000002", says={"count_1h": 0}, status=EXPIRED),
        ),
    ),
)
