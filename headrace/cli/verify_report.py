"""What ``headrace verify`` found, for people."""

import sys
from typing import Any

from headrace.clock import format_us

__all__ = ["show_found"]

_PLAIN_WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""


def show_found(found: dict[str, Any]) -> None:
    """Print a table of each part, its mismatches by name, and the sum."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for part in found["parts"]:
        if part["compared"]:
            console.print(_table(part))
        for reason, count in part["skipped"].items():
            console.print(f"not compared: {count:,} {reason}")
        for example in part["examples"]:
            console.print(_sentence(part["values"], example), style="red", soft_wrap=True)
    console.print(f"{found['compared']:,} values compared, {found['mismatches']:,} mismatches")


def _table(part: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"{part['rows']:,} {part['of']}, recomputed offline", title_justify="left")
    table.add_column("feature", min_width=max(len(check["name"]) for check in part["features"]))
    for name in ("compared", "mismatches", "missing", "late data", "largest"):
        table.add_column(name, justify="right")
    for check in part["features"]:
        counts = (check[name] for name in ("compared", "mismatches", "missing", "late"))
        style = "red" if check["mismatches"] else ""
        table.add_row(check["name"], *(f"{n:,}" for n in counts), f"{check['largest']:.3g}", style=style)
    return table


def _sentence(values: str, example: dict[str, Any]) -> str:
    name = example["feature"]
    logged, recomputed = (_value(name, example[side]) for side in ("logged", "recomputed"))
    return f"{example['of']} at {format_us(example['at_us'])}: {name} {values} {logged}, recomputed {recomputed}"


def _value(name: str, value: float | None) -> str:
    return format_us(int(value)) if name.startswith("_ts:") and value is not None else str(value)
