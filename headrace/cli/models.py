"""``headrace models``: versions, aliases, quality and lineage, as the registry has them."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.clock import format_us
from headrace.config import load_settings
from headrace.errors import RejectedError

if TYPE_CHECKING:
    from trainers.registry import RegisteredVersion

_COLUMNS = ("version", "aliases", "test AP", "validation AP", "data set", "gates", "registered")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options of both actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list versions, newest first")
    show = actions.add_parser("show", help="show one version: metrics, data set, definitions, gates")
    show.add_argument("version", nargs="?", metavar="VERSION|ALIAS", help="default: champion, else the newest")
    listing.add_argument("--model", help="only this model")
    show.add_argument("--model", required=True)
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    from trainers.registry import ModelRegistry

    registry = ModelRegistry(load_settings())
    names = [args.model] if args.model else list(registry.models())
    versions = {name: registry.versions(name) for name in names}
    if args.action == "show":
        _show(_chosen(args.model, versions[args.model], args.version), as_json=args.json)
        return 0
    if args.json:
        print(json.dumps({name: [dataclasses.asdict(entry) for entry in found] for name, found in versions.items()}))
        return 0
    if not any(versions.values()):
        print("no model is registered yet; `headrace train` or a retraining registers one")
    for name, found in versions.items():
        if found:
            _print_table(name, [_row(entry) for entry in found])
    return 0


def _chosen(model: str, versions: "Sequence[RegisteredVersion]", wanted: str | None) -> "RegisteredVersion":
    if not versions:
        raise RejectedError(
            f"model {model!r} has no registered version", hint="`headrace models list` shows what there is"
        )
    for entry in versions:
        if wanted in (entry.version, *entry.aliases) or (wanted is None and "champion" in entry.aliases):
            return entry
    if wanted is None:
        return versions[0]
    known = ", ".join(entry.version for entry in versions)
    raise RejectedError(f"model {model!r} has no version or alias {wanted!r}", hint=f"versions are {known}")


def _row(entry: "RegisteredVersion") -> tuple[str, ...]:
    return (
        entry.version,
        ", ".join(entry.aliases),
        _number(entry.metrics.get("test_average_precision")),
        _number(entry.metrics.get("validation_average_precision")),
        entry.tags.get("dataset_id", ""),
        entry.tags.get("gates", "not judged"),
        format_us(entry.registered_us)[:19] + "Z",
    )


def _print_table(model: str, rows: list[tuple[str, ...]]) -> None:
    print(f"{model}")
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    for row in (_COLUMNS, *rows):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show(entry: "RegisteredVersion", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dataclasses.asdict(entry)))
        return
    print(f"{entry.model} {entry.version}  {', '.join(entry.aliases)}".rstrip())
    print(f"registered {format_us(entry.registered_us)}, MLflow run {entry.run_id}")
    for title, values in (("metrics", entry.metrics), ("lineage", entry.tags)):
        print(f"\n{title}")
        for name, value in sorted(values.items()):
            print(f"  {name:<34} {value:.6g}" if isinstance(value, float) else f"  {name:<34} {value}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
