"""``headrace features show``: a definition in words, its windows as timelines, its function as it is written."""

import argparse
import inspect
import json
import textwrap
from typing import Any

from headrace.cli.feature_list import NUMBER, type_word
from headrace.errors import ConfigError
from headrace.spec.durations import format_duration
from headrace.spec.features import DerivedFeatures, Feature, FeatureView, RequestFeatures
from headrace.spec.project import Project, fingerprint

__all__ = ["describe", "draw", "show_features"]

_WIDTH = 40
"""Characters of the longest window of a view."""
_Computed = RequestFeatures | DerivedFeatures
_Definition = FeatureView | _Computed


def show_features(project: Project, args: argparse.Namespace) -> int:
    """Print a view, request features or derived ones, or one feature of them.

    Raises:
        ConfigError: there is nothing of that name.
    """
    found, names = _named(project, args.name)
    if args.json:
        print(json.dumps(_as_json(found, names)))
    elif isinstance(found, FeatureView):
        _print_view(found, names)
    else:
        _print_computed(found, names)
    return 0


def describe(project: Project, name: str) -> list[dict[str, Any]]:
    """What ``show`` says, one row for each feature, with its timeline or its function as ``picture``.

    Raises:
        ConfigError: there is nothing of that name.
    """
    found, names = _named(project, name)
    said = _as_json(found, names)
    if isinstance(found, FeatureView):
        features = _features(found, names)
        longest = _longest_us(features)
        pictures = [draw(feature, found, longest).strip() for feature in features]
        shared = {"of": found.entity, "closed": found.closed, "definition": said["definition"]}
    else:
        pictures = [_source(found)] * len(names)
        shared = {"of": ", ".join(_sources(found)), "definition": said["definition"]}
    return [
        {**feature, **shared, "picture": picture} for feature, picture in zip(said["features"], pictures, strict=True)
    ]


def draw(feature: Feature, view: FeatureView, longest_us: int) -> str:
    """The window on an axis that ends at ``q``; brackets say which edges belong to it, the dotted end is the delay."""
    window = feature.window
    new = "]" if view.closed in ("right", "both") else ")"
    old = "[" if view.closed in ("left", "both") else "("
    delay = round(_WIDTH * feature.delay_us / longest_us)
    length = _WIDTH if window.kind == "lifetime" else max(1, round(_WIDTH * window.length_us / longest_us))
    bar = "═" * max(1, min(length, _WIDTH))
    label = {"lifetime": "since ever", "session": f"pauses ≤ {format_duration(window.gap_us)}"}.get(window.kind, "")
    if window.kind == "tumbling":
        label = "the last whole one" if window.completed else "the one q lies in, so far"
    if window.hop_us:
        label = f"old edge on a grid of {format_duration(window.hop_us)}"
    start = "●" if window.kind == "lifetime" else "|" if window.kind == "tumbling" or window.hop_us else old
    line = f"{start}{bar}{new}{'·' * delay}q"
    size = "" if window.kind == "lifetime" else f"  {format_duration(window.length_us)}"
    ago = f", {format_duration(feature.delay_us)} ago" if feature.delay_us else ""
    return f"{line:>{_WIDTH + 3}}{size}{ago}{', ' if label and size else '  ' if label else ''}{label}"


def _named(project: Project, name: str) -> tuple[_Definition, tuple[str, ...]]:
    """A definition, and the full names of its features that are meant."""
    items: tuple[_Definition, ...] = (*project.views, *project.requests, *project.derived)
    for item in items:
        if item.name == name:
            return item, item.full_names
        if name in item.full_names:
            return item, (name,)
    raise ConfigError(
        f"{name!r} is no view and no feature of {project.name!r}",
        hint=f"it has {[item.name for item in items]}; `headrace features list` names every feature",
    )


def _print_view(view: FeatureView, names: tuple[str, ...]) -> None:
    features = _features(view, names)
    ttl = f", expired after {format_duration(view.ttl_us)}" if view.ttl_us else ""
    print(f"{view.name}: of {view.events.name!r} by {view.entity!r}, closed {view.closed}{ttl}")
    print(f"definition {fingerprint(view)}, looks back {format_duration(view.reach_us)}")
    longest = _longest_us(features)
    for feature, name in zip(features, names, strict=True):
        where = feature.aggregation.where
        empty = "null" if feature.empty is None else f"{feature.empty:g}"
        print(f"\n{name}")
        of = feature.column or "events"
        print(f"  {feature.kind} of {of}{'' if where is None else f' where {where.slug}'}; empty: {empty}")
        print(f"  {draw(feature, view, longest)}")


def _print_computed(found: _Computed, names: tuple[str, ...]) -> None:
    sources = " and ".join(repr(name) for name in _sources(found))
    how = "computed from each event of" if isinstance(found, RequestFeatures) else "derived from"
    print(f"{found.name}: {how} {sources}")
    print(f"definition {fingerprint(found)}\n")
    print(textwrap.indent(_source(found), "  "), end="\n\n")
    print(*names, sep="\n")


def _features(view: FeatureView, names: tuple[str, ...]) -> list[Feature]:
    return [feature for feature, full in zip(view.features, view.full_names, strict=True) if full in names]


def _longest_us(features: list[Feature]) -> int:
    return max(feature.window.length_us + feature.delay_us for feature in features) or 1


def _sources(found: _Computed) -> tuple[str, ...]:
    return (found.of.name,) if isinstance(found, RequestFeatures) else tuple(item.name for item in found.of)


def _source(found: _Computed) -> str:
    """The function as it is written; what cannot be read has no fingerprint either, which is asked for first."""
    return textwrap.dedent(inspect.getsource(found.fn)).rstrip()


def _as_json(found: _Definition, names: tuple[str, ...]) -> dict[str, Any]:
    if isinstance(found, FeatureView):
        return _view_as_json(found, names)
    kind = "request" if isinstance(found, RequestFeatures) else "derived"
    return {
        kind: found.name,
        "of": list(_sources(found)),
        "definition": fingerprint(found),
        "source": _source(found),
        "features": [{"name": name, "type": NUMBER} for name in names],
    }


def _view_as_json(view: FeatureView, names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "view": view.name,
        "stream": view.events.name,
        "entity": view.entity,
        "closed": view.closed,
        "ttl_us": view.ttl_us,
        "reach_us": view.reach_us,
        "definition": fingerprint(view),
        "features": [
            {
                "name": name,
                "kind": feature.kind,
                "column": feature.column,
                "where": None if feature.aggregation.where is None else feature.aggregation.where.slug,
                "window": feature.window.name,
                "delay_us": feature.delay_us,
                "empty": feature.empty,
                "type": type_word(feature),
            }
            for feature, name in zip(_features(view, names), names, strict=True)
        ],
    }
