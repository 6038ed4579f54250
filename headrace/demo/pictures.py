"""The pictures of a run: quality by week, and what happened when."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from headrace.demo.summary import Summary

__all__ = ["draw_quality"]

INK, WATER, STONE, ALARM, LEAF = "#1d2b36", "#1f77b4", "#9aa5ad", "#c0392b", "#2e8b57"
_MARKS = {
    "champion": (WATER, "first model"),
    "promote": (LEAF, "promoted"),
    "rejected": (STONE, "refused by a gate"),
    "rollback": (ALARM, "rolled back"),
    "incident": ("#e08e0b", "incident"),
}


def draw_quality(summary: Summary, path: Path) -> None:
    """Average precision by week, frozen first model against the champion of the day, with the moments below."""
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _quality(top, summary)
    _moments(below, summary)
    figure.savefig(path, dpi=130, facecolor="white")


def _quality(axes: Any, summary: Summary) -> None:
    middles = [week.week * 7 + 3.5 for week in summary.weeks]
    for values, colour, label in (
        ([week.frozen for week in summary.weeks], STONE, "first model, frozen"),
        ([week.champion for week in summary.weeks], WATER, "champion of the day"),
    ):
        points = [(x, y) for x, y in zip(middles, values, strict=True) if y is not None]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", lw=2.2, color=colour, label=label)
    axes.set_ylabel("average precision")
    axes.set_ylim(0, 1)
    axes.set_title(summary.title, loc="left", color=INK, fontsize=12)
    axes.legend(frameon=False, loc="upper left")
    _clean(axes)


def _moments(axes: Any, summary: Summary) -> None:
    kinds = [kind for kind in _MARKS if any(moment.kind == kind for moment in summary.moments)]
    for row, kind in enumerate(kinds):
        days = [moment.day for moment in summary.moments if moment.kind == kind]
        axes.scatter(days, [row] * len(days), color=_MARKS[kind][0], s=42, zorder=3)
    axes.set_yticks(range(len(kinds)), [_MARKS[kind][1] for kind in kinds])
    axes.set_ylim(-0.6, max(len(kinds) - 0.4, 0.6))
    axes.set_xlim(0, summary.days)
    axes.set_xlabel("day of the data")
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e6eaed", zorder=0)
    _clean(axes)


def _clean(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
