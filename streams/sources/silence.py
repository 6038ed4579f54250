"""Event time of a partition that has fallen silent; pure.

A window changes when nothing arrives, too: what is in it leaves. While events come they carry time forward; when the
stream is silent the wall clock does, from the newest event on and as far behind as that was:

    event time     10:00 ●   10:02 ●┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄► 10:07      goes on, 3 s behind the wall clock
    wall clock     10:00:02  10:02:03  (silent)           10:07:03

Only of a stream that was live: the newest event of a replay is long past, and its time stands still until more comes.
"""

__all__ = ["LIVE_WITHIN_US", "TELL_EVERY_S", "time_in_silence"]

LIVE_WITHIN_US = 3_600_000_000
"""A stream whose newest event is not older than this, when it falls silent, is live."""
TELL_EVERY_S = 1.0
"""How often silent partitions tell their time."""


def time_in_silence(newest_us: int, since_us: int, now_us: int) -> int | None:
    """Event time a silent partition has reached; None where the wall clock says nothing about it.

    Args:
        newest_us: time of its newest event.
        since_us: wall clock when it was found silent.
        now_us: wall clock.

    >>> time_in_silence(newest_us=100, since_us=103, now_us=403)
    400
    >>> time_in_silence(newest_us=100, since_us=100 + 2 * LIVE_WITHIN_US, now_us=100 + 3 * LIVE_WITHIN_US) is None
    True
    """
    behind_us = max(since_us - newest_us, 0)
    if behind_us > LIVE_WITHIN_US or now_us < since_us:
        return None
    return max(now_us - behind_us, newest_us)
