"""How large a distance must be to mean something, for the size the window really has.

A stable stream gives small windows large distances by chance alone. So the null distribution of every distance is
simulated: windows are drawn from the reference itself, in blocks of neighbouring rows, and measured like real ones.

    false-page budget ──► alarm level of one window ──► Benjamini-Hochberg over columns ──► threshold of one column
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.profile import ColumnProfile
from monitors.statistics import psi, rank_distance, shares

__all__ = ["NullCache", "NullDistribution", "alarm_level", "false_page_rate", "simulate_null", "size_bucket"]

Array = NDArray[Any]

STATISTICS = ("psi", "rank_distance")
MAX_ROWS = 4096
"""Larger windows are judged as if they had this size: their noise is far below any effect floor anyway."""
BLOCKS = 20
"""Blocks a simulated window is made of; neighbours stay together, so autocorrelation widens the null."""
MAX_DRAWS = 1500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NullDistribution:
    """Simulated distances of windows without drift."""

    rows: int
    sorted_CSD: Array
    """(C columns, statistics, D draws), ascending."""

    def p_values(self, distances_CS: Array) -> Array:
        """Share of simulated windows at least as far, add-one corrected (Phipson and Smyth 2010).

        Beyond the largest simulated distance the tail falls exponentially (the limit law of excesses, Pickands 1975,
        with shape 0); without it no number of draws would reach the level of one column among hundreds.
        """
        draws = self.sorted_CSD.shape[-1]
        at_least = (self.sorted_CSD >= distances_CS[:, :, None]).sum(axis=-1)
        beyond = np.maximum(distances_CS - self.sorted_CSD[:, :, -1], 0.0)
        return np.asarray((1 + at_least) / (1 + draws) * np.exp(-beyond / self._tail_CS()))

    def quantile(self, level: float) -> Array:
        """Smallest distance whose p-value is at most ``level``, (C, S)."""
        draws = self.sorted_CSD.shape[-1]
        allowed = math.floor(level * (1 + draws) * (1 + 1e-12)) - 1
        if allowed >= 0:
            return np.asarray(np.nextafter(self.sorted_CSD[:, :, max(draws - 1 - allowed, 0)], np.inf))
        return np.asarray(self.sorted_CSD[:, :, -1] - self._tail_CS() * math.log(max(level, 1e-300) * (1 + draws)))

    def _tail_CS(self) -> Array:
        """Mean excess over the 95 % quantile."""
        top = self.sorted_CSD[:, :, int(0.95 * self.sorted_CSD.shape[-1]) :]
        return np.asarray(np.maximum((top - top[:, :, :1]).mean(axis=-1), 1e-9))


def false_page_rate(level: float, persistence: tuple[int, int]) -> float:
    """Chance that a window confirms when each alarms independently with ``level``.

    It alarms itself, and at least k - 1 of the m - 1 before it did.

    >>> round(false_page_rate(0.1, (2, 3)), 4)  # 0.1 * (1 - 0.9 ** 2)
    0.019
    """
    k, m = persistence
    before = sum(math.comb(m - 1, i) * level**i * (1 - level) ** (m - 1 - i) for i in range(k - 1, m))
    return level * before


def alarm_level(false_pages_per_window: float, persistence: tuple[int, int]) -> float:
    """Largest alarm level of one window that keeps the budget of confirmed ones, at most one half.

    >>> round(alarm_level(0.019, (2, 3)), 3)
    0.1
    """
    low, high = 0.0, 0.5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if false_page_rate(middle, persistence) <= false_pages_per_window else (low, middle)
    return low


def size_bucket(rows: int) -> int:
    """The size a window is judged as: the next lower power of the square root of two, so never too strict.

    >>> size_bucket(200), size_bucket(300), size_bucket(10**6)
    (181, 256, 4096)
    """
    return min(MAX_ROWS, int(2 ** (math.floor(2 * math.log2(max(rows, 2))) / 2)))


def simulate_null(profile: ColumnProfile, rows: int, *, level: float, seed: int) -> NullDistribution:
    """Distances of windows of ``rows`` rows drawn from the reference.

    Three draws per hypothesis and level, so that Benjamini-Hochberg can reject a single column among all.
    """
    columns, bins = profile.shares_CB.shape
    hypotheses = columns * len(STATISTICS)
    draws = int(min(MAX_DRAWS, max(400, math.ceil(3 * hypotheses / max(level, 1e-6)))))
    rng = np.random.default_rng(seed)
    sampled = len(profile.sample_SC)
    slots = bins + 1  # the last one takes nulls
    codes_SC = np.stack([profile.codes(profile.sample_SC[:, c], c) for c in range(columns)], axis=1)
    codes_SC = codes_SC + np.arange(columns) * slots
    length = max(1, min(rows, sampled) // BLOCKS)
    blocks = math.ceil(rows / length)
    found = np.empty((columns, len(STATISTICS), draws))
    expected = profile.shares_CB
    expected_coarse = profile.coarse(expected)
    for draw in range(draws):
        starts = rng.integers(0, sampled - length + 1, blocks)
        chosen = (starts[:, None] + np.arange(length)).ravel()[:rows]
        counts = np.bincount(codes_SC[chosen].ravel(), minlength=columns * slots).reshape(columns, slots)[:, :bins]
        actual = shares(counts)
        found[:, 0, draw] = psi(expected_coarse, profile.coarse(actual))
        found[:, 1, draw] = rank_distance(expected, actual)
    return NullDistribution(rows=rows, sorted_CSD=np.sort(found, axis=-1))


class NullCache:
    """Null distributions by model version, kind of column and size bucket; the oldest are forgotten."""

    def __init__(self, capacity: int = 32) -> None:
        self._kept: OrderedDict[tuple[str, int], NullDistribution] = OrderedDict()
        self._capacity = capacity

    def get(self, name: str, profile: ColumnProfile, rows: int, *, level: float) -> NullDistribution:
        """The null for windows of ``rows`` rows; simulated once per size bucket, the same in every process."""
        key = (name, size_bucket(rows))
        if key not in self._kept:
            seed = int.from_bytes(hashlib.blake2b(f"{name}/{key[1]}".encode(), digest_size=8).digest(), "big")
            self._kept[key] = simulate_null(profile, key[1], level=level, seed=seed)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
