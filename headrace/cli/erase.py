"""``headrace erase``: remove a subject from everything headrace keeps; docs/adr/0006 says what is out of reach."""

import argparse
import json
from pathlib import Path

from headrace.cli.entity_keys import parse_key, subject_type
from headrace.cli.teller import Teller
from headrace.config import load_settings
from headrace.errors import ConfigError
from headrace.spec.project import Project, load_project

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--entity", required=True, help="field whose value names the subject, such as customer_id")
    parser.add_argument("--key", action="append", default=[], metavar="K", help="a subject; may be given again")
    parser.add_argument("--from-file", type=Path, metavar="FILE", help="more subjects, one a line")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, beside a running stream too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = (
        "Stop `headrace run stream` first. Messages in Kafka stay until the retention of their topics has passed;"
        " the stream drops them if they are read again. Running it again changes nothing."
    )


def run(args: argparse.Namespace) -> int:
    """Erase, and say what was done and what is out of reach."""
    from headrace.erasure import erase

    project = load_project(args.project)
    keys = _keys(project, args.entity, [*args.key, *_lines(args.from_file)])
    with Teller() as tell:
        report = erase(load_settings(), project, args.entity, keys, dry_run=args.dry_run, tell=tell)
    if args.json:
        print(json.dumps(report))
        return 0
    would = "would go" if args.dry_run else "gone"
    for place, count in report["removed"].items():
        if count:
            print(f"{count:>10,}  {place} {would}")
    if not any(report["removed"].values()):
        print(f"nothing of {'these subjects' if len(keys) > 1 else 'this subject'} is left; nothing was changed")
    for dataset in report["datasets"]:
        print(f"training set {dataset}: its rows {would}; build a new one, it holds everybody else")
    for version in report["models"]:
        print(f"model {version} was trained on a set with an erased subject; what it has learned stays in it")
    for topic, kept in report["kafka"].items():
        print(f"kafka topic {topic} keeps its messages: {kept}")
    if "for ever" in report["kafka"].values():
        print("a topic kept for ever keeps its messages about them: give it a retention.ms, or delete its old records")
    for note in report["notes"]:
        print(note)
    return 0


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="give a text file with one key a line") from error


def _keys(project: Project, entity: str, given: list[str]) -> list[int | str]:
    """The keys in the type the entity has.

    Raises:
        ConfigError: no key was given, the entity is unknown, or a key is no value of it.
    """
    if not given:
        raise ConfigError("no subject was given", hint="use --key K or --from-file FILE")
    kind = subject_type(project, entity)
    return list(dict.fromkeys(parse_key(entity, key, kind) for key in given))
