"""Whoever waits is told what is done of what, at what rate, and how long the rest takes; nobody else is."""

from collections.abc import Iterable

from headrace.cli.pace import Pace


def _said(calls: Iterable[tuple[float, str, int, int]]) -> list[str]:
    """Sentences after calls of (second, what, done, total)."""
    calls, said = list(calls), []
    clock = iter([second for second, *_ in calls])
    pace = Pace(said.append, now_s=lambda: next(clock), every_s=2.0)
    for _, what, done, total in calls:
        pace(what, done, total)
    return said


def test_what_is_done_at_once_is_not_told() -> None:
    assert _said([(0.0, "rows read", 0, 10), (0.5, "rows read", 5, 10), (1.9, "rows read", 9, 10)]) == []


def test_a_line_has_share_rate_and_time_left_and_comes_now_and_then() -> None:
    calls = [(second / 2, "rows read", 500 * second, 12_000) for second in range(9)]

    assert _said(calls) == [
        "2,000 of 12,000 rows read (17%), 1,000 a second, 10 s left",
        "4,000 of 12,000 rows read (33%), 1,000 a second, 8 s left",
    ]


def test_every_piece_of_work_has_a_rate_of_its_own() -> None:
    calls = [(0.0, "files read", 0, 2), (9.0, "keys compared", 0, 100), (11.5, "keys compared", 5, 100)]

    assert _said(calls) == ["5 of 100 keys compared (5%), 2 a second, 48 s left"]


def test_where_it_begins_does_not_count_for_the_rate() -> None:
    calls = [(0.0, "messages read", 1_000, 2_000), (4.0, "messages read", 1_400, 2_000)]

    assert _said(calls) == ["1,400 of 2,000 messages read (70%), 100 a second, 6 s left"]


def test_work_that_stands_still_has_no_time_left() -> None:
    calls = [(0.0, "messages read", 0, 50), (3.0, "messages read", 0, 50)]

    assert _said(calls) == ["0 of 50 messages read (0%), 0 a second, no telling how long it takes"]
