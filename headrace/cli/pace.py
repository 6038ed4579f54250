"""How far a piece of work is, at what rate it goes and how long the rest takes, in a sentence now and then."""

import time
from collections.abc import Callable

__all__ = ["Pace", "duration_text"]

_EVERY_S = 2.0
"""Shorter work than this is not worth a line, and nobody reads more of them."""


class Pace:
    """Call it with what is done, how many of it, and of how many; with 0 when such work begins.

    Args:
        say: receives the sentences.
        now_s: a clock that never goes back.
        every_s: shortest time between two sentences, and before the first.

    >>> clock = iter([0.0, 1.0, 4.0])
    >>> pace = Pace(print, now_s=lambda: next(clock))
    >>> for done in (0, 250, 1_000):
    ...     pace("rows read", done, 9_000)
    1,000 of 9,000 rows read (11%), 250 a second, 32 s left
    """

    def __init__(
        self, say: Callable[[str], None], *, now_s: Callable[[], float] = time.monotonic, every_s: float = _EVERY_S
    ) -> None:
        self._say, self._now_s, self._every_s = say, now_s, every_s
        self._what, self._first = "", 0
        self._began_s = self._said_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = self._now_s()
        if what != self._what or done < self._first:
            self._what, self._first = what, done
            self._began_s = self._said_s = now_s
        if done >= total or now_s - self._said_s < self._every_s:
            return
        self._said_s = now_s
        rate = (done - self._first) / (now_s - self._began_s)
        left = f"{duration_text((total - done) / rate)} left" if rate else "no telling how long it takes"
        self._say(f"{done:,} of {total:,} {what} ({done / total:.0%}), {_rate_text(rate)} a second, {left}")


def duration_text(seconds: float) -> str:
    """A duration to the two units that matter.

    >>> duration_text(0.2), duration_text(75), duration_text(7_260)
    ('1 s', '1 min 15 s', '2 h 1 min')
    """
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _rate_text(rate: float) -> str:
    """A rate with the digits that matter.

    >>> _rate_text(0.25), _rate_text(12_345.6)
    ('0.25', '12,346')
    """
    return f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.2g}"
