"""One event at 12:00 and a window of ten minutes: the edges of five more systems, each by the value of closed= it is.

Feathr, Materialize    (q - w, q]     right
Quix, sliding          [q - w, q]     both
Chronon, Zipline       [q - w, q)     left
Quix, Bytewax          [start, end)   tumbling, left
"""

from headrace import count, tumbling
from tests.contract.peer_cases.case import Ask, Case, e

__all__ = ["CASES"]

_EVENT = (e("12:00", 1),)
_AT, _LAST, _AFTER = "12:00", "12:10", "12:10:00.000001"
_SLIDING = (count().over("10m"),)


def _tumbling(at: str, seen: int) -> Ask:
    return Ask(at=at, says={"count_tumbling_10s": seen})


CASES = (
    Case(
        name="open at the old edge, closed at the new",
        source="feathr-ai/feathr: SlidingWindowJoinIterator.scala (45e44afc); Materialize: ts <= now < ts + w",
        features=_SLIDING,
        closed="right",
        events=_EVENT,
        asks=(
            Ask(at=_AT, says={"count_10m": 1}),
            Ask(at="12:09:59.999999", says={"count_10m": 1}),
            Ask(at=_LAST, says={"count_10m": 0}),
        ),
    ),
    Case(
        name="with a simulated delay both edges move by it",
        source="feathr-ai/feathr: SlidingWindowAggIntegTest (45e44afc)",
        features=(count().over("10m", delay="5m"),),
        closed="right",
        events=_EVENT,
        asks=(
            Ask(at="12:04:59.999999", says={"count_10m": 0}),
            Ask(at="12:05", says={"count_10m": 1}),
            Ask(at="12:14:59.999999", says={"count_10m": 1}),
            Ask(at="12:15", says={"count_10m": 0}),
        ),
    ),
    Case(
        name="closed at both edges",
        source="quixio/quix-streams: sliding windows (dfb63318)",
        features=_SLIDING,
        closed="both",
        events=_EVENT,
        asks=(
            Ask(at=_AT, says={"count_10m": 1}),
            Ask(at=_LAST, says={"count_10m": 1}),
            Ask(at=_AFTER, says={"count_10m": 0}),
        ),
    ),
    Case(
        name="closed at neither edge",
        source="pandas: rolling(closed='neither')",
        features=_SLIDING,
        closed="neither",
        events=_EVENT,
        asks=(
            Ask(at=_AT, says={"count_10m": 0}),
            Ask(at="12:00:00.000001", says={"count_10m": 1}),
            Ask(at="12:09:59.999999", says={"count_10m": 1}),
            Ask(at=_LAST, says={"count_10m": 0}),
        ),
    ),
    Case(
        name="a grid of ten seconds: the multiple belongs to the window it begins",
        source="quixio/quix-streams: tumbling windows (dfb63318); bytewax/bytewax: pytests/operators (9fce5b6e)",
        features=(count().over(tumbling("10s")),),
        events=(e("12:00:00", 1), e("12:00:09.999999", 2), e("12:00:10", 3)),
        asks=(
            _tumbling("12:00:09.999999", 1),
            _tumbling("12:00:10", 0),
            _tumbling("12:00:10.000001", 1),
            _tumbling("12:00:20", 0),
        ),
    ),
    Case(
        name="no part of a window is lost to a step of a tenth",
        source="faust-streaming/faust: windows (181b1840), measured: a window ends at start + size - 0.1 s there",
        features=(count().over(tumbling("10s")),),
        events=(e("12:00:09.950", 1),),
        asks=(_tumbling("12:00:09.950001", 1), _tumbling("12:00:09.999999", 1), _tumbling("12:00:10", 0)),
    ),
)
