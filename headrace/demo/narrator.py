"""Tells the story: one line for each thing that happens, with the day of the data in front."""

import time

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.demo.summary import Moment, Summary

__all__ = ["Narrator"]

_COLOURS = {
    "champion": "bold blue",
    "promote": "bold green",
    "rollback": "bold red",
    "incident": "yellow",
    "rejected": "magenta",
    "problem": "red",
}


class Narrator:
    """Prints as it goes and keeps the moments for the summary."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.moments: list[Moment] = []
        self._started = time.monotonic()

    @property
    def wall_s(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._started

    def chapter(self, title: str) -> None:
        """A heading."""
        self.console.print()
        self.console.rule(f"[bold]{title}", align="left", style="blue")

    def say(self, text: str, *, day: float | None = None, style: str = "") -> None:
        """A line of the story."""
        when = f"day {day:>4.0f}" if day is not None else " " * 8
        self.console.print(f"[dim]{self.wall_s:>5.0f} s  {when}[/]  {text}", style=style or None, soft_wrap=True)

    def moment(self, kind: str, text: str, *, day: float) -> None:
        """Something the summary should remember, without the marks for a terminal."""
        self.moments.append(Moment(day=day, kind=kind, text=Text.from_markup(text).plain))
        self.say(text, day=day, style=_COLOURS.get(kind, ""))

    def promises(self, summary: Summary) -> None:
        """The closing table."""
        self.chapter("Promises")
        table = Table(box=None, pad_edge=False, show_header=False)
        for promise in summary.promises:
            mark = "[green]kept[/]" if promise.held else "[bold red]BROKEN[/]"
            table.add_row(mark, promise.claim, promise.value)
        self.console.print(table)

    def facts(self, summary: Summary) -> None:
        """Quality by week, figures, links."""
        self.chapter("Average precision by week")
        table = Table(box=None, pad_edge=False)
        for name in ("week", "events", "frauds", "first model, frozen", "champion of the day"):
            table.add_column(name, justify="right")
        for week in summary.weeks:
            row = (week.frozen, week.champion)
            shown = ["–" if value is None else f"{value:.3f}" for value in row]
            table.add_row(str(week.week), f"{week.events:,}", f"{week.frauds:,}", *shown)
        self.console.print(table)
        self.chapter("Figures and links")
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in {**summary.facts, **summary.links}.items():
            table.add_row(name, value)
        self.console.print(table)
