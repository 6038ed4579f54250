"""``headrace features show``: a definition in words, its windows as timelines."""

import argparse
import json
from typing import Any

from headrace.errors import ConfigError
from headrace.spec.durations import format_duration
from headrace.spec.features import Feature, FeatureView
from headrace.spec.project import Project, fingerprint

__all__ = ["draw", "show_features"]

_WIDTH = 40
"""Characters of the longest window of a view."""


def show_features(project: Project, args: argparse.Namespace) -> int:
    """Print a view, or one of its features.

    Raises:
        ConfigError: there is no view or feature of that name.
    """
    view, features = _named(project, args.name)
    if args.json:
        print(json.dumps(_as_json(view, features)))
        return 0
    ttl = f", expired after {format_duration(view.ttl_us)}" if view.ttl_us else ""
    print(f"{view.name}: of {view.events.name!r} by {view.entity!r}, closed {view.closed}{ttl}")
    print(f"definition {fingerprint(view)}, looks back {format_duration(view.reach_us)}")
    longest = max(feature.window.length_us + feature.delay_us for feature in features) or 1
    for feature in features:
        where = feature.aggregation.where
        empty = "null" if feature.empty is None else f"{feature.empty:g}"
        print(f"\n{view.name}__{feature.name}")
        of = feature.column or "events"
        print(f"  {feature.kind} of {of}{'' if where is None else f' where {where.slug}'}; empty: {empty}")
        print(f"  {draw(feature, view, longest)}")
    return 0


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


def _named(project: Project, name: str) -> tuple[FeatureView, tuple[Feature, ...]]:
    for view in project.views:
        if view.name == name:
            return view, view.features
        for full, feature in zip(view.full_names, view.features, strict=True):
            if full == name:
                return view, (feature,)
    raise ConfigError(
        f"{name!r} is no view and no feature of {project.name!r}",
        hint=f"views are {[view.name for view in project.views]}; `headrace features list` names every feature",
    )


def _as_json(view: FeatureView, features: tuple[Feature, ...]) -> dict[str, Any]:
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
                "name": f"{view.name}__{feature.name}",
                "kind": feature.kind,
                "column": feature.column,
                "where": None if feature.aggregation.where is None else feature.aggregation.where.slug,
                "window": feature.window.name,
                "delay_us": feature.delay_us,
                "empty": feature.empty,
                "type": f"{feature.value_type.__name__}{'List' if feature.is_list else ''}",
            }
            for feature in features
        ],
    }
