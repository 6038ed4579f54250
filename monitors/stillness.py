"""For how long each partition of a log brought nothing (wall clock, monotonic)."""

import time

__all__ = ["Stillness"]


class Stillness:
    """Remembers when something came last."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last: dict[int, float] = {}

    def stir(self, partition: int) -> None:
        """Something came."""
        self._last[partition] = time.monotonic()

    def lasts_s(self, partition: int) -> float:
        """Seconds since something came, or since the start."""
        return time.monotonic() - self._last.get(partition, self._began)
