"""What the demo promises, each a line with its value; the exit code is whether all of them held."""

from dataclasses import dataclass

__all__ = ["Promise", "all_held"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One claim and what was seen."""

    claim: str
    value: str
    held: bool


def all_held(promises: list[Promise]) -> bool:
    """Whether there are promises and none is broken."""
    return bool(promises) and all(promise.held for promise in promises)
