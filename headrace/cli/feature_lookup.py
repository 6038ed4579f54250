"""``headrace features lookup``: what the online store says of entities, and how fresh it is."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from headrace.cli.entity_keys import parse_key
from headrace.cli.instants import instant
from headrace.clock import format_us, parse_us
from headrace.config import load_settings
from headrace.errors import ConfigError
from headrace.spec.project import Project

if TYPE_CHECKING:
    from feature_store.online.view_rows import ViewRow

__all__ = ["FIRST_US", "LAST_US", "look_up"]

FIRST_US, LAST_US = parse_us("0001-01-01T00:00:00Z"), parse_us("9999-12-31T23:59:59.999999Z")
"""Instants that a calendar has; a row says "never" and "from the beginning" by others, which are None here."""


def look_up(project: Project, args: argparse.Namespace) -> int:
    """Print the rows of one combination of entities."""
    from feature_store.online.lookup import LookupRequest, OnlineReader

    entities = _entities(project, args.entities)
    views = [project.view(name) for name in args.view] or [v for v in project.views if v.entity in entities]
    at_us = instant(args.at, "--at") if args.at else None
    settings = load_settings()
    reader = OnlineReader(settings.redis.url, project)
    try:
        rows = reader.read([LookupRequest(views=views, entities=entities, at_us=at_us)])[0]
    finally:
        reader.close()
    if args.json:
        print(json.dumps({name: _as_json(row) for name, row in rows.items()}))
        return 0
    if at_us is None:
        from headrace.cli.event_time import event_time_us

        at_us = event_time_us(settings, project)
    for name, row in rows.items():
        print(f"{name}: {row.status}{_freshness(row, at_us)}")
        for feature, value in row.values.items():
            print(f"  {feature} = {'null' if value is None else value}")
    return 0


def _as_json(row: "ViewRow") -> dict[str, Any]:
    return {
        "status": row.status,
        "event_time": _text(row.event_time_us),
        "valid_until": _text(row.valid_until_us),
        "watermark": _text(row.watermark_us),
        "version": row.version,
        "values": row.values,
    }


def _freshness(row: "ViewRow", now_us: int) -> str:
    """Since when the values hold, until when, and how far the stream had come; whether that is over at ``now_us``."""
    if row.event_time_us is None:
        return ""
    over = ""
    if row.valid_until_us is not None and row.valid_until_us <= now_us:
        over = f" (over: it is {_text(now_us)})"
    watermark = f", watermark {_text(row.watermark_us) or 'none yet'}"
    since, until = _text(row.event_time_us) or "ever", _text(row.valid_until_us) or "the next event"
    return f" since {since}, until {until}{over}{watermark}"


def _text(instant_us: int | None) -> str | None:
    return None if instant_us is None or not FIRST_US <= instant_us <= LAST_US else format_us(instant_us)


def _entities(project: Project, words: list[str]) -> dict[str, int | str]:
    entities: dict[str, int | str] = {}
    types = {view.entity: view.source.schema[view.entity] for view in project.views}
    for word in words:
        name, given, text = word.partition("=")
        if name not in types or not given:
            raise ConfigError(f"entity {word!r} is not understood", hint=f"write one of {sorted(types)}, '=', its key")
        key = parse_key(name, text, types[name])
        if name in entities:
            raise ConfigError(
                f"{name!r} has two keys: {entities[name]!r} and {key!r}",
                hint="look up one after the other, or all at once with lookup() of headrace.notebook",
            )
        entities[name] = key
    return entities
