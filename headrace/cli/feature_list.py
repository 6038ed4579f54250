"""``headrace features list``: every feature in a few words, those of views, of the event itself, and derived ones."""

import argparse
import json

from headrace.spec.durations import format_duration
from headrace.spec.features import Feature, FeatureView
from headrace.spec.project import Project

__all__ = ["NUMBER", "feature_rows", "list_features", "type_word"]

NUMBER = "number"
"""Type of what a function computes: what it gives is known when it runs."""


def list_features(project: Project, args: argparse.Namespace) -> int:
    """Print one line for each feature."""
    rows = feature_rows(project)
    if args.json:
        print(json.dumps({"project": project.name, "features": rows}))
        return 0
    widths = [max((len(row[column]) for row in rows), default=0) for column in ("name", "type", "of")]
    for row in rows:
        print("  ".join(row[c].ljust(w) for c, w in zip(("name", "type", "of"), widths, strict=True)), row["what"])
    return 0


def feature_rows(project: Project) -> list[dict[str, str]]:
    """``name``, ``type``, ``of`` (entity, stream or what it is derived from) and ``what`` of each feature."""
    rows = [
        {"name": name, "type": type_word(feature), "of": view.entity, "what": _describe(feature, view)}
        for view in project.views
        for feature, name in zip(view.features, view.full_names, strict=True)
    ]
    rows += [
        {"name": name, "type": NUMBER, "of": request.of.name, "what": "computed from the event itself"}
        for request in project.requests
        for name in request.full_names
    ]
    rows += [
        {"name": name, "type": NUMBER, "of": ", ".join(item.name for item in derived.of), "what": "derived from them"}
        for derived in project.derived
        for name in derived.full_names
    ]
    return rows


def type_word(feature: Feature) -> str:
    """``Int64``, ``Float64List``, …"""
    return f"{feature.value_type.__name__}{'List' if feature.is_list else ''}"


def _describe(feature: Feature, view: FeatureView) -> str:
    text = f"{feature.kind} of {feature.column or 'events'}"
    if feature.aggregation.where is not None:
        text += f" where {feature.aggregation.where.slug.replace('_', ' ')}"
    text += f" over {feature.window.name.replace('_', ' ')}"
    if feature.delay_us:
        text += f", {format_duration(feature.delay_us)} ago"
    return f"{text}, closed {view.closed}"
