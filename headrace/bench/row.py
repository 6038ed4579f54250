"""One line of a benchmark: ours, the peer's, and how they compare."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BenchRow", "as_json", "print_rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """A value and the peer's, measured in the same run."""

    name: str
    value: float
    unit: str
    goal: float
    peer: str
    peer_value: float
    less_is_better: bool = False
    """Of times; the ratio is above 1 where ours is better, either way."""
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times better than the peer."""
        better, worse = (self.peer_value, self.value) if self.less_is_better else (self.value, self.peer_value)
        return better / worse


def as_json(row: BenchRow, machine: str) -> dict[str, Any]:
    """The row as one JSON object."""
    return {**asdict(row), "ratio": round(row.ratio, 2), "machine": machine}


def print_rows(rows: list[BenchRow], machine: str) -> None:
    """A table, and the machine under it."""
    width = max(len(row.name) for row in rows) + 2
    print(f"{'':<{width}}{'ours':>14}{'goal':>14}  {'unit':<16}{'ratio':>8}  peer")
    for row in rows:
        peer = f"{row.peer} {_number(row.peer_value)}" + (f"; {row.note}" if row.note else "")
        numbers = f"{_number(row.value):>14}{_number(row.goal):>14}  {row.unit:<16}{row.ratio:>8.1f}"
        print(f"{row.name:<{width}}{numbers}  {peer}")
    print(machine)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
