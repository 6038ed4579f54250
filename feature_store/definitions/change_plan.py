"""What the definitions of today would change, what that costs, and what to do: before anything runs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import count

from feature_store.definitions.applied_views import AppliedViews, read_applied
from feature_store.definitions.backfill_cost import cost_of
from headrace.config import Settings
from headrace.spec.definition_changes import ChangeKind, ViewChange, compare_views
from headrace.spec.project import Project
from headrace.spec.view_definition import describe_views

__all__ = ["PlannedChange", "plan_changes", "successor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One view, for people and for programs."""

    view: str
    change: ChangeKind
    reasons: tuple[str, ...]
    readers: tuple[str, ...]
    """Models that read the view as it is computed now."""
    rows: int
    """Events and labels of the offline log that have to be read."""
    seconds: float
    """What reading and computing them takes."""
    is_measured: bool
    """Whether the rate was measured in this home, or is that of another machine."""
    next_step: str
    """Empty when there is nothing to do."""


def plan_changes(settings: Settings, project: Project, readers: Mapping[str, tuple[str, ...]]) -> list[PlannedChange]:
    """Every view that is defined, or was.

    Args:
        settings: where state and logs are.
        project: as it is defined now.
        readers: view -> models in service that read it; those the project had are known.

    Raises:
        IntegrityError: what was applied, or a file of the log, cannot be read.
    """
    applied = read_applied(settings, project.name) or AppliedViews()
    reading = dict(applied.readers)
    for name, models in readers.items():
        reading[name] = tuple(dict.fromkeys((*reading.get(name, ()), *models)))
    changes = compare_views(applied.definitions, describe_views(project), reading)
    return [_planned(settings, project, change, applied) for change in changes]


def successor(name: str, taken: Collection[str]) -> str:
    """The next version of a view whose name is free.

    >>> successor("card_use", ()), successor("card_use_v2", ("card_use", "card_use_v3"))
    ('card_use_v2', 'card_use_v4')
    """
    stem, found, number = name.rpartition("_v")
    stem, first = (stem, int(number) + 1) if found and number.isdigit() else (name, 2)
    return next(free for version in count(first) if (free := f"{stem}_v{version}") not in taken)


def _planned(settings: Settings, project: Project, change: ViewChange, applied: AppliedViews) -> PlannedChange:
    rows, seconds, measured = 0, 0.0, True
    if change.needs_history and any(view.name == change.view for view in project.views):
        cost = cost_of(settings, project, project.view(change.view), applied)
        rows, seconds, measured = cost.rows, cost.seconds, cost.is_measured
    return PlannedChange(
        view=change.view,
        change=change.kind,
        reasons=tuple(reason.text for reason in change.reasons),
        readers=change.readers,
        rows=rows,
        seconds=seconds,
        is_measured=measured,
        next_step=_next_step(project, change, rows, applied),
    )


def _next_step(project: Project, change: ViewChange, rows: int, applied: AppliedViews) -> str:
    name = change.view
    if change.kind == "unchanged":
        return ""
    if change.kind == "compatible":
        return "restart the worker; its state goes on"
    if change.kind == "new":
        return f"restart the worker, then headrace backfill {name}" if rows else "restart the worker"
    if all(view.name != name for view in project.views):
        return "define it again until no model reads it" if change.readers else f"headrace features retire {name}"
    free = successor(name, {*applied.views, *(view.name for view in project.views)})
    return f"call it {free} and keep both, or headrace backfill {name} --replace"
