"""Chronon's temporal joins of ratings, as far as events can tell them.

Its rows can be changed and deleted afterwards: a row is seen where its time and the time of the change both lie before
``q``. An event of ours happens once; a second message with its id is a duplicate, and the first one stands. What can
change afterwards is an outcome, by a label. So where a rating is corrected in Chronon, both values stand in the row.

    rating 2 at 05:45, said at 07:00 to have been 5:     06:30 reads 2 in both,   08:30 reads 5 there and 2 here
"""

from feature_store.online.view_rows import NOT_FOUND
from headrace import lifetime, mean, sliding
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES"]

_SOURCE = "airbnb/chronon: spark MutationsTest.scala (01ed409d)"
_WINDOW = sliding("4d", hop="1h")
_NAME = "mean_x_4d_hop_1h"
_STANDS = "an event stands as it was first told; what is corrected later is a label"

CASES = (
    Case(
        name="a window of four days decays with nothing new",
        source=_SOURCE,
        features=(mean("x").over(_WINDOW),),
        events=(
            e("2021-04-04 01:40", 1, x=3),
            e("2021-04-05 03:40", 2, x=3),
            e("2021-04-06 03:45", 3, x=4),
            e("2021-04-09 05:45", 4, x=5),
        ),
        asks=(
            Ask(at="2021-04-10 01:00", says={_NAME: 4.5}),
            Ask(at="2021-04-10 23:00", says={_NAME: 5.0}),
        ),
    ),
    Case(
        name="a window of four days decays while a rating is corrected",
        source=_SOURCE,
        features=(mean("x").over(_WINDOW),),
        events=(
            e("2021-04-04 01:40", 1, x=3),
            e("2021-04-05 03:40", 2, x=3),
            e("2021-04-06 03:45", 3, x=4),
            e("2021-04-09 05:45", 4, x=2),
            e("2021-04-09 05:45", 4, x=5, arrives="2021-04-09 07:00"),
            e("2021-04-10 10:00", 5, x=4),
        ),
        asks=(
            Ask(at="2021-04-09 01:30", says={_NAME: 3.5}),
            Ask(at="2021-04-09 04:30", says={_NAME: 4.0}),
            Ask(at="2021-04-09 06:30", says={_NAME: 3.0}),
            Ask(at="2021-04-09 08:30", says={_NAME: 3.0}, peer={_NAME: 4.5}, why=_STANDS),
            Ask(at="2021-04-10 09:00", says={_NAME: 2.0}, peer={_NAME: 5.0}, why=_STANDS),
            Ask(at="2021-04-10 23:00", says={_NAME: 3.0}, peer={_NAME: 4.5}, why=_STANDS),
        ),
    ),
    Case(
        name="no history but today's",
        source=_SOURCE,
        features=(mean("x").over(_WINDOW),),
        events=(e("2021-04-10 00:30", 1, x=5), e("2021-04-10 04:30", 2, x=2)),
        asks=(
            Ask(at="2021-04-10 00:07", says={_NAME: None}, status=NOT_FOUND),
            Ask(at="2021-04-10 01:07", says={_NAME: 5.0}),
            Ask(at="2021-04-10 05:00", says={_NAME: 3.5}),
            Ask(at="2021-04-10 23:00", says={_NAME: 3.5}, peer={_NAME: 4.5}, why=_STANDS),
        ),
    ),
    Case(
        name="ratings that are only added, since ever",
        source=_SOURCE,
        features=(mean("x").over(lifetime()),),
        events=(
            e("2021-04-04 00:30", 1, x=4),
            e("2021-04-04 12:30", 2, x=5),
            e("2021-04-05 00:30", 3, x=4),
            e("2021-04-05 02:30", 4, x=5),
            e("2021-04-10 02:00", 5, x=2),
            e("2021-04-04 01:40", 11, key=2, x=3),
            e("2021-04-05 03:40", 12, key=2, x=3),
            e("2021-04-10 10:00", 13, key=2, x=3),
        ),
        asks=(
            Ask(at="2021-04-10 01:00", says={"mean_x_lifetime": 4.5}),
            Ask(at="2021-04-10 02:30", says={"mean_x_lifetime": 4.0}),
            Ask(at="2021-04-10 23:00", key=2, says={"mean_x_lifetime": 3.0}),
        ),
    ),
    Case(
        name="a rating of five days ago that becomes known today",
        source=_SOURCE,
        features=(mean("x").over(lifetime()),),
        events=(
            e("2021-04-04 01:40", 1, x=3),
            e("2021-04-05 03:40", 2, x=3),
            e("2021-04-06 03:45", 3, x=3),
            e("2021-04-05 00:30", 4, x=5, arrives="2021-04-10 00:30"),
            e("2021-04-10 10:00", 5, x=3),
        ),
        asks=(
            Ask(at="2021-04-10 00:29:59.999", mode="as_served", says={"mean_x_lifetime": 3.0}),
            Ask(
                at="2021-04-10 00:30",
                mode="as_served",
                says={"mean_x_lifetime": 3.5},
                peer={"mean_x_lifetime": 3.0},
                why="what had arrived by q is seen; there, what had arrived before q",
            ),
            Ask(at="2021-04-10 02:30", mode="as_served", says={"mean_x_lifetime": 3.5}),
            Ask(at="2021-04-10 02:30", says={"mean_x_lifetime": 3.5}),
            Ask(at="2021-04-10 23:00", says={"mean_x_lifetime": 3.4}),
            Ask(
                at="2021-04-06 12:00",
                says={"mean_x_lifetime": 3.5},
                peer={"mean_x_lifetime": 3.0},
                why="corrected sees what came late at its own time; as_served does not",
            ),
            Ask(at="2021-04-06 12:00", mode="as_served", says={"mean_x_lifetime": 3.0}),
        ),
    ),
    Case(
        name="a rating moved from one key to another: it is added there, and stays here",
        source=_SOURCE,
        features=(mean("x").over(lifetime()),),
        events=(
            e("2021-04-04 00:30", 1, x=4),
            e("2021-04-04 12:30", 2, x=4),
            e("2021-04-05 00:30", 3, x=4),
            e("2021-04-05 02:30", 4, x=5),
        ),
        asks=(
            Ask(
                at="2021-04-10 01:00",
                says={"mean_x_lifetime": 4.25},
                peer={"mean_x_lifetime": 4.0},
                why="an event cannot be taken away from its key",
            ),
        ),
    ),
    Case(
        name="two keys that change on different days, asked on both",
        source=_SOURCE,
        features=(mean("x").over(lifetime()),),
        events=(
            e("2021-04-04 00:30", 1, x=4),
            e("2021-04-04 12:30", 2, x=4),
            e("2021-04-05 00:30", 3, x=4),
            e("2021-04-05 02:30", 4, x=5),
            e("2021-04-10 00:30", 5, x=5),
            e("2021-04-04 01:40", 11, key=2, x=3),
            e("2021-04-05 03:40", 12, key=2, x=3),
            e("2021-04-06 03:45", 13, key=2, x=3),
            e("2021-04-09 05:45", 14, key=2, x=4),
            e("2021-04-09 05:45", 14, key=2, x=5, arrives="2021-04-09 07:00"),
            e("2021-04-10 10:00", 15, key=2, x=3),
        ),
        asks=(
            Ask(at="2021-04-10 01:00", says={"mean_x_lifetime": 4.4}),
            Ask(at="2021-04-09 04:30", key=2, says={"mean_x_lifetime": 3.0}),
            Ask(at="2021-04-09 06:30", key=2, says={"mean_x_lifetime": 3.25}),
            Ask(
                at="2021-04-09 08:30",
                key=2,
                says={"mean_x_lifetime": 3.25},
                peer={"mean_x_lifetime": 3.5},
                why=_STANDS,
            ),
            Ask(
                at="2021-04-10 23:00",
                key=2,
                says={"mean_x_lifetime": 3.2},
                peer={"mean_x_lifetime": 3.4},
                why=_STANDS,
            ),
        ),
    ),
)
