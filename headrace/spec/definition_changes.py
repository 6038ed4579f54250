"""What a change of a view means, before anything runs: nothing, the same state, a new version, or something broken.

    unchanged     same content
    compatible    same numbers from the same events: state and rows go on
    new           never seen; computed from the event log
    new version   other numbers: computed from the event log under a new version
    breaking      somebody who reads the view today is left with nothing, or with numbers of another meaning
    removed       no longer defined; what was stored stays until it is retired

Of several changes of one view the gravest counts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from headrace.spec.durations import format_duration
from headrace.spec.view_definition import NO_ID, FeatureDefinition, FieldDefinition, ViewDefinition

__all__ = ["ChangeKind", "Reason", "ViewChange", "compare_view", "compare_views"]

ChangeKind = Literal["unchanged", "compatible", "new", "new version", "breaking", "removed"]
_GRAVITY: tuple[ChangeKind, ...] = ("unchanged", "compatible", "new", "new version", "removed", "breaking")
Readers = Mapping[str, tuple[str, ...]]
"""View -> models that read its features; who reads a view reads all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One difference, and how grave it is."""

    kind: ChangeKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewChange:
    """What became of one view."""

    view: str
    kind: ChangeKind
    reasons: tuple[Reason, ...] = ()
    readers: tuple[str, ...] = ()
    """Models that read the view as it was."""

    @property
    def needs_history(self) -> bool:
        """Whether its rows must be computed from the event log."""
        return self.kind in ("new", "new version", "breaking")


def compare_views(
    applied: Mapping[str, ViewDefinition], defined: Mapping[str, ViewDefinition], readers: Readers
) -> list[ViewChange]:
    """Every view of either side, those that are defined first.

    Args:
        applied: views as they were last accepted, by name.
        defined: views as they are now.
        readers: who reads the applied ones.
    """
    changes = [
        compare_view(applied[name], view, readers)
        if name in applied
        else ViewChange(view=name, kind="new", reasons=(Reason(kind="new", text="never computed before"),))
        for name, view in defined.items()
    ]
    return changes + [_removed(view, readers) for name, view in applied.items() if name not in defined]


def compare_view(before: ViewDefinition, after: ViewDefinition, readers: Readers) -> ViewChange:
    """One view of two days."""
    reading = readers.get(before.name, ())
    if before == after:
        return ViewChange(view=after.name, kind="unchanged", readers=reading)
    reasons = (*_of_identity(before, after), *_of_fields(before, after), *_of_features(before, after, reading))
    reasons = (*reasons, *_of_settings(before, after))
    return ViewChange(
        view=after.name,
        kind=max((reason.kind for reason in reasons), key=_GRAVITY.index, default="compatible"),
        reasons=reasons,
        readers=reading,
    )


def _of_identity(before: ViewDefinition, after: ViewDefinition) -> Iterator[Reason]:
    """Which rows there are, and of what."""
    if before.entity != after.entity:
        yield Reason(kind="breaking", text=f"entity {before.entity} is {after.entity}: rows have other keys")
    if before.stream != after.stream:
        yield Reason(kind="breaking", text=f"stream {before.stream} is {after.stream}: other events")
    if before.id != after.id:
        text = f"id {before.id} is {after.id}: events are told apart otherwise"
        is_new_stream = NO_ID in (before.id, after.id)
        yield Reason(kind="breaking", text=f"{text}: give the stream a new name" if is_new_stream else text)
    if before.time != after.time:
        yield Reason(kind="breaking", text=f"time {before.time} is {after.time}: events happen at other instants")
    if (before.labels, before.label_value) != (after.labels, after.label_value):
        was, now = before.labels or "none", after.labels or "none"
        yield Reason(kind="new version", text=f"labels {was} are {now}")


def _of_fields(before: ViewDefinition, after: ViewDefinition) -> Iterator[Reason]:
    for name in sorted(before.fields.keys() | after.fields.keys()):
        was, now = before.fields.get(name), after.fields.get(name)
        if was == now:
            continue
        if was is None or now is None or name not in before.used & after.used:
            yield Reason(kind="compatible", text=f"field {name} {_came_or_went(was, now)}; no feature kept looks at it")
        elif was.type != now.type:
            yield Reason(kind="breaking", text=f"field {name} was {was}, is {now}: give the new one a new name")
        elif was.nullable != now.nullable:
            yield Reason(kind="new version", text=f"field {name} was {was}, is {now}")
        else:
            yield Reason(kind="compatible", text=f"field {name} was {was}, is {now}; for messages from now on")


def _of_features(before: ViewDefinition, after: ViewDefinition, reading: tuple[str, ...]) -> Iterator[Reason]:
    old, new = ({feature.name: feature for feature in view.features} for view in (before, after))
    for name, feature in old.items():
        if name not in new:
            text = f"feature {name} is gone"
            if reading:
                yield Reason(kind="breaking", text=f"{text}, and model {', '.join(reading)} reads it")
            else:
                yield Reason(kind="new version", text=text)
        elif new[name] != feature:
            yield _changed(feature, new[name], reading)
    for name in new:
        if name not in old:
            yield Reason(kind="new version", text=f"feature {name} is new")
    if list(old) != list(new) and old.keys() == new.keys():
        yield Reason(kind="new version", text="features stand in another order")


def _of_settings(before: ViewDefinition, after: ViewDefinition) -> Iterator[Reason]:
    if before.closed != after.closed:
        yield Reason(kind="new version", text=f"closed {before.closed} is {after.closed}: other events count")
    if before.lateness_us != after.lateness_us:
        was, now = format_duration(before.lateness_us), format_duration(after.lateness_us)
        yield Reason(kind="new version", text=f"lateness {was} is {now}: the state reaches back otherwise")
    if before.ttl_us != after.ttl_us:
        was, now = (_or_none(view.ttl_us) for view in (before, after))
        yield Reason(kind="compatible", text=f"ttl {was} is {now}; it is looked at when a row is read")
    if before.label_delay_us != after.label_delay_us:
        was, now = format_duration(before.label_delay_us), format_duration(after.label_delay_us)
        yield Reason(kind="compatible", text=f"label delay {was} is {now}; training sets mature by it, rows do not")
    if before.accepts != after.accepts:
        yield Reason(kind="compatible", text=f"the stream accepts {after.accepts}; for messages from now on")


def _changed(before: FeatureDefinition, after: FeatureDefinition, reading: tuple[str, ...]) -> Reason:
    if before.type != after.type:
        text = f"feature {before.name} was {before.type}, is {after.type}"
        return Reason(kind="breaking" if reading else "new version", text=text)
    return Reason(kind="new version", text=f"feature {before.name} is computed otherwise")


def _removed(view: ViewDefinition, readers: Readers) -> ViewChange:
    reading = readers.get(view.name, ())
    kind: ChangeKind = "breaking" if reading else "removed"
    text = f"no longer defined, and model {', '.join(reading)} reads it" if reading else "no longer defined"
    return ViewChange(view=view.name, kind=kind, reasons=(Reason(kind=kind, text=text),), readers=reading)


def _came_or_went(was: FieldDefinition | None, now: FieldDefinition | None) -> str:
    return f"is new, {now}" if was is None else "is gone" if now is None else f"was {was}, is {now}"


def _or_none(duration_us: int | None) -> str:
    return "none" if duration_us is None else format_duration(duration_us)
