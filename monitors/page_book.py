"""Which incident was paged where: one page per incident, told of its end once, whatever is delivered twice.

Pure: the book is a value that agents keep in Redis.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from headrace.contracts.monitoring import Incident, IncidentState
from monitors.sinks import PageAction

__all__ = ["PageEntry", "due_action", "entry_name", "is_pageable", "note", "with_latest"]

_ACTION_OF = {
    IncidentState.CONFIRMED: PageAction.TRIGGER,
    IncidentState.ACKNOWLEDGED: PageAction.ACKNOWLEDGE,
    IncidentState.RESOLVED: PageAction.RESOLVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PageEntry:
    """What was paged about one incident."""

    incident: Incident
    """As it was when first paged; the end of the incident is told under the same labels."""
    latest: Incident
    """Its newest known state: what an agent that was killed had still to tell."""
    told: dict[str, dict[str, str]] = field(default_factory=dict)
    """Action -> sink -> ``delivered`` or ``fallback``."""
    finished: tuple[str, ...] = ()
    """Actions every sink knows of."""


def entry_name(incident: Incident) -> str:
    """Name of the incident's entry; the next incident under the same key opens at another time."""
    return f"{incident.dedup_key}:{incident.opened_us}"


def is_pageable(incident: Incident, entry: PageEntry | None) -> bool:
    """Whether pagers may ever have to hear of this state: a page, or something about an incident that is one."""
    return incident.state is IncidentState.CONFIRMED or (entry is not None and incident.state in _ACTION_OF)


def with_latest(entry: PageEntry | None, incident: Incident) -> PageEntry:
    """The entry that also knows of this state; an incident only goes forward."""
    if entry is None:
        return PageEntry(incident=incident, latest=incident)
    order = list(_ACTION_OF)
    is_forward = order.index(incident.state) >= order.index(entry.latest.state)
    return replace(entry, latest=incident) if is_forward else entry


def due_action(incident: Incident, entry: PageEntry | None) -> PageAction | None:
    """What pagers still have to be told after this state of an incident.

    A person's acknowledgement and the end are told only of what was paged; an update of a paged incident is no page.
    """
    action = _ACTION_OF.get(incident.state)
    if action is None:
        return None
    if action is PageAction.TRIGGER:
        return action if entry is None or action not in entry.finished else None
    if entry is None or PageAction.TRIGGER not in entry.told or action in entry.finished:
        return None
    if PageAction.RESOLVE in entry.finished:
        return None
    return action


def note(
    entry: PageEntry | None, incident: Incident, action: PageAction, told: Mapping[str, str], sinks: int
) -> PageEntry:
    """The entry after sinks were told; finished when all of ``sinks`` were."""
    entry = entry or PageEntry(incident=incident, latest=incident)
    known = {**entry.told.get(action, {}), **told}
    finished = entry.finished if len(known) < sinks or action in entry.finished else (*entry.finished, action.value)
    return replace(entry, told={**entry.told, action.value: known}, finished=finished)
