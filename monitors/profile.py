"""What the columns of a table look like: shares of fixed bins, null rates, and a sample in time order.

Two grids per column, both cut at the reference's own values:

    fine     up to 100 bins at the percentiles, for ranks
    coarse   up to 10 bins at the deciles, for PSI; every coarse edge is a fine edge, so one count serves both

A column with few distinct values gets one bin for each of them.

Shapes: N rows, S sampled rows, C columns, B fine bins (padded with empty ones).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.statistics import shares

__all__ = ["DAY_US", "WEEK_US", "ColumnProfile", "profile_columns"]

Array = NDArray[Any]

FINE, COARSE = 100, 10
FEW_VALUES = 12
"""Up to this many distinct values each is a bin of its own."""
SAMPLE_ROWS = 40_000
"""Rows kept: enough for 200 rows of each hour of a week, small enough to lie beside a model (a few MB)."""
MIN_SEASON_ROWS = 300
"""Sampled rows a season needs to be compared with."""
DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColumnProfile:
    """The reference of C columns."""

    names: tuple[str, ...]
    rows: int
    """Rows the shares were taken from."""
    edges_CE: Array
    """(C, B - 1) upper edges of the fine bins, closed on the right, padded with +inf."""
    shares_CB: Array
    """Shares of the fine bins among values that are not null."""
    groups_CB: Array
    """Coarse bin of each fine bin."""
    null_rates_C: Array
    sample_SC: Array
    """Evenly spaced rows of the table, in time order."""
    sample_us_S: Array
    """Their event times."""

    def counts(self, values_NC: Array) -> Array:
        """Values per fine bin, nulls left out, (N, C) to (C, B)."""
        bins = self.shares_CB.shape[1]
        return np.stack(
            [np.bincount(self.codes(values_NC[:, c], c), minlength=bins)[:bins] for c in range(len(self.names))]
        )

    def codes(self, values_N: Array, column: int) -> Array:
        """Fine bin of each value of one column; the number of bins, one past the last, for a null."""
        bins = self.shares_CB.shape[1]
        codes = np.searchsorted(self.edges_CE[column], values_N, side="left")
        return np.where(np.isnan(values_N), bins, codes)

    def coarse(self, shares_CB: Array) -> Array:
        """Shares of the coarse bins from those of the fine ones, (..., C, B) to (..., C, COARSE slots)."""
        slots = int(self.groups_CB.max(initial=0)) + 1
        member_CBG = self.groups_CB[:, :, None] == np.arange(slots)
        return np.asarray(np.einsum("...cb,cbg->...cg", shares_CB, member_CBG.astype(np.float64)))

    def season(self, from_us: int, until_us: int) -> Array | None:
        """Fine shares of the reference at the same time of the week as a window, or else of the day.

        A daily window on a Saturday is compared with Saturdays. None when the window covers a week, or the
        reference holds too few rows of that time.
        """
        length_us = until_us - from_us
        for period_us in (WEEK_US, DAY_US):
            if length_us >= period_us:
                continue
            inside = (self.sample_us_S - from_us) % period_us < length_us
            if MIN_SEASON_ROWS <= int(inside.sum()) < len(inside):
                return shares(self.counts(self.sample_SC[inside]))
        return None


def profile_columns(names: Sequence[str], values_NC: Array, times_us_N: Array) -> ColumnProfile:
    """Measure a table whose rows are in time order; nulls are NaN."""
    grids = [_edges(values_NC[:, c]) for c in range(len(names))]
    width = max((len(fine) for fine, _ in grids), default=0) + 1
    edges_CE = np.full((len(names), max(width - 1, 1)), np.inf)
    groups_CB = np.zeros((len(names), edges_CE.shape[1] + 1), np.int64)
    for c, (fine, coarse) in enumerate(grids):
        edges_CE[c, : len(fine)] = fine
        upper = np.append(edges_CE[c], np.inf)
        groups_CB[c] = np.searchsorted(coarse, upper, side="left")
    chosen = np.unique(np.linspace(0, len(values_NC) - 1, min(SAMPLE_ROWS, len(values_NC))).astype(np.int64))
    empty = ColumnProfile(
        names=tuple(names),
        rows=len(values_NC),
        edges_CE=edges_CE,
        shares_CB=np.zeros(groups_CB.shape),
        groups_CB=groups_CB,
        null_rates_C=np.isnan(values_NC).mean(axis=0) if len(values_NC) else np.zeros(len(names)),
        sample_SC=values_NC[chosen],
        sample_us_S=times_us_N[chosen].astype(np.int64),
    )
    return replace(empty, shares_CB=shares(empty.counts(values_NC)))


def _edges(values_N: Array) -> tuple[Array, Array]:
    """Fine and coarse cuts of one column; the coarse ones are among the fine ones."""
    known = values_N[~np.isnan(values_N)]
    if not len(known):
        return np.zeros(0), np.zeros(0)
    distinct = np.unique(known)
    if len(distinct) <= FEW_VALUES:
        # Bins of their own below and above as well: a column that was constant can still drift.
        cuts = np.append(np.nextafter(distinct[0], -np.inf), distinct)
        return cuts, cuts
    # A cut must be a value of the column, or ties would fall between the two grids.
    coarse = np.unique(np.quantile(known, np.arange(1, COARSE) / COARSE, method="inverted_cdf"))
    fine = np.unique(np.quantile(known, np.arange(1, FINE) / FINE, method="inverted_cdf"))
    return np.union1d(fine, coarse), coarse
