"""How long to wait before a dead server is started again: quickly at first, then patiently."""

from dataclasses import dataclass

__all__ = ["NEVER_DIED", "Deaths"]

_QUICK_DEATH_S = 30.0
"""A server that lived longer than this had started properly."""
_PAUSES_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_FAILING_AFTER = 4
"""Quick deaths in a row that make a server count as failing."""


@dataclass(frozen=True, slots=True)
class Deaths:
    """How often a server died."""

    total: int = 0
    in_a_row: int = 0
    """Deaths soon after the start, one after the other."""

    def after(self, lived_s: float) -> "Deaths":
        """The history after one more death.

        >>> Deaths().after(lived_s=3.0).after(lived_s=3.0)
        Deaths(total=2, in_a_row=2)
        >>> Deaths(total=9, in_a_row=9).after(lived_s=3600.0)
        Deaths(total=10, in_a_row=1)
        """
        return Deaths(self.total + 1, self.in_a_row + 1 if lived_s < _QUICK_DEATH_S else 1)

    @property
    def pause_s(self) -> float:
        """Seconds until the next start.

        >>> [Deaths(n, n).pause_s for n in (1, 2, 3, 100)]
        [0.1, 0.5, 1.0, 30.0]
        """
        return _PAUSES_S[min(self.in_a_row, len(_PAUSES_S)) - 1] if self.in_a_row else 0.0

    @property
    def is_failing(self) -> bool:
        return self.in_a_row >= _FAILING_AFTER


NEVER_DIED = Deaths()
