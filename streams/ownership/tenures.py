"""Which owner's files count where, when former owners may still be writing; pure.

A worker that is paused between asking whether it still owns a partition and finishing its file finishes it after the
next owner has begun. Nothing can stop it, so its file is told from the others afterwards:

    owner 7   ───────────────┐ paused ················►  a file of 7 up to 140: not believed
    owner 8         begins at 101 ─────┐  killed
    owner 9                    begins at 151 ──────►

An owner begins behind what it found of those before it. What they say about offsets from there on they said too late.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from headrace.errors import HeadraceError

__all__ = ["FencedError", "Tenure", "Tenures"]

_KEPT = 16
"""Owners remembered; a zombie would have to sleep through as many others to be believed."""


class FencedError(HeadraceError):
    """Somebody else has become the owner since."""


class Tenure(NamedTuple):
    """One owner."""

    epoch: int
    first: int
    """Offset it began at."""


@dataclass(frozen=True, slots=True)
class Tenures:
    """The owners of a partition as the newest of them knows them, oldest first."""

    every: tuple[Tenure, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[int, int]]) -> "Tenures":
        """From pairs of epoch and first offset."""
        return cls(tuple(Tenure(*pair) for pair in pairs))

    @property
    def epoch(self) -> int:
        """Of the newest owner; 0 when there was none."""
        return self.every[-1].epoch if self.every else 0

    def followed_by(self, epoch: int, first: int) -> "Tenures":
        """With an owner more, who begins at an offset.

        >>> Tenures.of([(7, 0)]).followed_by(8, 101).every[-1]
        Tenure(epoch=8, first=101)
        """
        return Tenures((*self.every, Tenure(epoch, first))[-_KEPT:])

    def believes(self, epoch: int, offset: int) -> bool:
        """Whether what an owner says about an offset counts.

        Args:
            epoch: the owner's; 0 for files that no owner wrote.
            offset: what its file is about.

        >>> known = Tenures.of([(7, 0), (9, 101)])
        >>> known.believes(7, 100), known.believes(7, 101), known.believes(8, 50), known.believes(9, 500)
        (True, False, False, True)
        """
        if not self.every:
            return True
        is_known = epoch < self.every[0].epoch or any(owner.epoch == epoch for owner in self.every)
        return is_known and all(offset < owner.first for owner in self.every if owner.epoch > epoch)
