"""The fifteen edge cases of our own notes on the peers, but the last, which is about labels (see label_cases.py).

Windows are ten minutes, closed at the old edge, unless a case says otherwise.
"""

from feature_store.online.view_rows import NOT_FOUND
from headrace import col, count, first, last, last_k, max, mean, sliding, sum
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES"]

_NOTES = "our notes on the peers, table of edge cases"
_TOTALS = (sum("x").over("10m"), count().over("10m"))
_ENDS = (first("x").over("10m"), last("x").over("10m"), last_k("x", 2).over("10m"), sum("x").over("10m"))
_BOTH = {"first_x_10m": 5.0, "last_x_10m": 7.0, "last_2_x_10m": [7.0, 5.0], "sum_x_10m": 12.0}

CASES = (
    Case(
        name="rows 1 to 4: an event is seen from just after it until ten minutes after it",
        source=_NOTES,
        features=_TOTALS,
        events=(e("12:00", 1, x=5),),
        asks=(
            Ask(at="12:00:00", says={"sum_x_10m": 0.0, "count_10m": 0}),
            Ask(at="12:00:00.000001", says={"sum_x_10m": 5.0, "count_10m": 1}),
            Ask(at="12:00:00.001", says={"sum_x_10m": 5.0, "count_10m": 1}),
            Ask(at="12:10:00", says={"sum_x_10m": 5.0, "count_10m": 1}),
            Ask(at="12:10:00.000001", says={"sum_x_10m": 0.0, "count_10m": 0}),
            Ask(at="12:10:00.001", says={"sum_x_10m": 0.0, "count_10m": 0}),
        ),
    ),
    Case(
        name="row 5: of two events of one instant the greater id is the newer",
        source=_NOTES,
        features=_ENDS,
        events=(e("12:00", 1, x=5), e("12:00", 2, x=7)),
        asks=(Ask(at="12:01", says=_BOTH),),
    ),
    Case(
        name="row 6: in whichever order they arrive",
        source=_NOTES,
        features=_ENDS,
        events=(e("12:00", 2, x=7, arrives="12:00:01"), e("12:00", 1, x=5, arrives="12:00:02")),
        asks=(Ask(at="12:01", says=_BOTH), Ask(at="12:01", mode="as_served", says=_BOTH)),
    ),
    Case(
        name="row 7: what is delivered twice counts once",
        source=_NOTES,
        features=_TOTALS,
        events=(e("12:00", 1, x=5), e("12:00", 1, x=5, arrives="12:00:30")),
        asks=(
            Ask(at="12:01", says={"sum_x_10m": 5.0, "count_10m": 1}),
            Ask(at="12:01", mode="as_served", says={"sum_x_10m": 5.0, "count_10m": 1}),
        ),
    ),
    Case(
        name="rows 8 and 9: a late event takes its own place in time",
        source=_NOTES,
        features=(max("x").over("10m"), last("x").over("10m"), count().over("10m")),
        events=(e("12:05", 1, x=1), e("12:02", 2, x=9, arrives="12:05:30")),
        asks=(
            Ask(at="12:06", says={"max_x_10m": 9.0, "last_x_10m": 1.0, "count_10m": 2}),
            Ask(at="12:06", mode="as_served", says={"max_x_10m": 9.0, "last_x_10m": 1.0, "count_10m": 2}),
            Ask(
                at="12:03",
                mode="as_served",
                says={"max_x_10m": None, "last_x_10m": None, "count_10m": 0},
                status=NOT_FOUND,
            ),
            Ask(at="12:03", says={"max_x_10m": 9.0, "last_x_10m": 9.0, "count_10m": 1}),
        ),
    ),
    Case(
        name="row 10: an event from the future is not counted before its time (the stream refuses it, see hand case 5)",
        source=_NOTES,
        features=_TOTALS,
        events=(e("13:00", 1, x=5, arrives="12:00"),),
        asks=(
            Ask(at="12:01", says={"sum_x_10m": 0.0, "count_10m": 0}, status=NOT_FOUND),
            Ask(at="12:01", mode="as_served", says={"sum_x_10m": 0.0, "count_10m": 0}, status=NOT_FOUND),
        ),
    ),
    Case(
        name="row 11: a hop rounds the old edge of 13:27 down to 13:25",
        source=_NOTES,
        features=(count().over(sliding("1h", hop="5m")), sum("x").over(sliding("1h", hop="5m"))),
        events=(e("13:24:59.999", 1, x=100), e("13:25", 2, x=1)),
        asks=(Ask(at="14:27", says={"count_1h_hop_5m": 1, "sum_x_1h_hop_5m": 1.0}),),
    ),
    Case(
        name="row 12: a delay hides an event until it is that old",
        source=_NOTES,
        features=(count().over("10m", delay="5m"),),
        events=(e("12:00", 1),),
        asks=(
            Ask(at="12:04", says={"count_10m": 0}),
            Ask(at="12:05", says={"count_10m": 0}),
            Ask(at="12:06", says={"count_10m": 1}),
            Ask(at="12:15", says={"count_10m": 1}),
            Ask(at="12:15:00.000001", says={"count_10m": 0}),
        ),
    ),
    Case(
        name="row 13: nulls are skipped, and the events that carry them are still events",
        source=_NOTES,
        features=(
            mean("x").over("10m"),
            sum("x").over("10m"),
            count(where=~col("x").is_null()).over("10m"),
            count().over("10m"),
        ),
        events=(e("12:00", 1), e("12:01", 2)),
        asks=(
            Ask(
                at="12:05",
                says={"mean_x_10m": None, "sum_x_10m": 0.0, "count_not_x_is_null_10m": 0, "count_10m": 2},
            ),
        ),
    ),
    Case(
        name="row 14: a key nobody has seen is not found, which is not the same as zero",
        source=_NOTES,
        features=_TOTALS,
        events=(e("12:00", 1, x=5),),
        asks=(Ask(at="12:01", key=99, says={"sum_x_10m": 0.0, "count_10m": 0}, status=NOT_FOUND),),
    ),
)
