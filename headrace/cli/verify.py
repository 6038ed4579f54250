"""``headrace verify``: logged online reads, and rows online, against an offline recomputation."""

import argparse
import heapq
import itertools
import json
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headrace.config import Settings, load_settings
from headrace.errors import IntegrityError
from headrace.spec.model import Model
from headrace.spec.project import Project, load_project
from headrace.spec.streams import EventStream

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_store.verification.comparison import FeatureComparison
    from headrace.contracts.predictions import PredictionRecord

__all__ = ["configure", "run"]

_PLAIN_WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""
_BATCH = 20_000
"""Predictions recomputed together; they are held in memory."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--model", help="only this model")
    parser.add_argument("--sample", type=int, metavar="N", help="at most N predictions (and N keys with --online)")
    parser.add_argument("--online", action="store_true", help="check rows in Redis, not logged predictions")
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="wait so long for the stream (0: take what is there)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "Exit code 1 when anything differs."


def run(args: argparse.Namespace) -> int:
    settings, project = load_settings(), load_project(args.project)
    if args.wait > 0:
        _wait_for_stream(settings, project, args.wait)
    if args.online:
        parts = [_check_online(settings, project, args.sample or 1000)]
    else:
        models = (project.model(args.model),) if args.model else project.models
        parts = [_check_predictions(settings, project, model, args.sample) for model in models]
    found = {
        "project": project.name,
        "compared": sum(part["compared"] for part in parts),
        "mismatches": sum(part["mismatches"] for part in parts),
        "parts": parts,
    }
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found)
    return 1 if found["mismatches"] else 0


def _wait_for_stream(settings: Settings, project: Project, timeout_s: float) -> None:
    """Return when all that was published up to now is applied and in the offline log."""
    from headrace.kafka_clients import end_offsets
    from streams.progress import wait_applied

    topics = [stream.name for stream in project.streams] + [labels.name for labels in project.labels]
    waiting = wait_applied(settings, project, offsets=end_offsets(settings, topics), durable=True, timeout_s=timeout_s)
    for view in waiting:
        print(f"{view} waits for its history: headrace backfill {view}", file=sys.stderr)


def _check_predictions(settings: Settings, project: Project, model: Model, sample: int | None) -> dict[str, Any]:
    from feature_store.verification.verify import PredictionVerifier

    verifier = PredictionVerifier(model, *_model_events(settings, project, model))
    for batch in _batches(_sampled(_predictions(settings, model.name), sample)):
        verifier.add(batch)
    return {
        "of": f"predictions of {model.name}",
        "rows": verifier.predictions,
        "skipped": dict(+verifier.skipped),
        **_summary([verifier.comparison]),
    }


def _check_online(settings: Settings, project: Project, sample: int) -> dict[str, Any]:
    from feature_store.online.lookup import OnlineReader
    from feature_store.verification.verify_online import OnlineVerifier

    reader = OnlineReader(settings.redis.url, project)
    events = {stream.name: _events(settings, project, stream) for stream in project.streams}
    verifiers = [OnlineVerifier(view, events[view.events.name], reader) for view in project.views]
    for verifier in verifiers:
        verifier.check(sample)
    reader.close()
    return {
        "of": "rows online",
        "rows": sum(verifier.rows for verifier in verifiers),
        "skipped": {"without a row": absent} if (absent := sum(verifier.absent for verifier in verifiers)) else {},
        **_summary([verifier.comparison for verifier in verifiers]),
    }


def _model_events(settings: Settings, project: Project, model: Model) -> "tuple[pa.Table, list[pa.Table]]":
    events, *others = (_events(settings, project, stream) for stream in model.streams)
    return events, others


def _events(settings: Settings, project: Project, stream: EventStream) -> "pa.Table":
    from feature_store.offline.event_log import read_events

    return read_events(settings.offline_dir, project, stream, project.labels_of(stream), with_late=False)


def _predictions(settings: Settings, model: str) -> Iterator["PredictionRecord"]:
    from headrace.contracts.codec import decode
    from headrace.contracts.predictions import PredictionRecord
    from headrace.contracts.topics import PREDICTIONS
    from headrace.kafka_clients import read_topic

    unreadable = 0
    for message in read_topic(settings, PREDICTIONS.name):
        try:
            record = decode(message.value() or b"", PredictionRecord)
        except IntegrityError:
            unreadable += 1  # somebody else's message, or garbage: never the reason to check nothing
            continue
        if record.model == model:
            yield record
    if unreadable:
        warnings.warn(f"{unreadable} messages of {PREDICTIONS.name} are no prediction records", stacklevel=2)


def _sampled(records: Iterable["PredictionRecord"], sample: int | None) -> Iterable["PredictionRecord"]:
    """``sample`` of them, spread evenly and the same every time; all when it is None."""
    if sample is None:
        return records
    return heapq.nsmallest(sample, records, key=lambda record: zlib.crc32(record.prediction_id.encode()))


def _batches(records: Iterable["PredictionRecord"]) -> Iterator[list["PredictionRecord"]]:
    left = iter(records)
    while batch := list(itertools.islice(left, _BATCH)):
        yield batch


def _summary(comparisons: list["FeatureComparison"]) -> dict[str, Any]:
    return {
        "compared": sum(comparison.compared for comparison in comparisons),
        "mismatches": sum(comparison.mismatches for comparison in comparisons),
        "features": [asdict(check) for comparison in comparisons for check in comparison.checks],
        "examples": [asdict(example) for comparison in comparisons for example in comparison.examples],
    }


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from headrace.clock import format_us

    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for part in found["parts"]:
        table = Table(title=f"{part['rows']:,} {part['of']}, recomputed offline", title_justify="left")
        table.add_column("feature", min_width=max(len(check["name"]) for check in part["features"]))
        for name in ("compared", "mismatches", "missing", "late data", "largest"):
            table.add_column(name, justify="right")
        for check in part["features"]:
            counts = (check[name] for name in ("compared", "mismatches", "missing", "late"))
            style = "red" if check["mismatches"] else ""
            table.add_row(check["name"], *(f"{n:,}" for n in counts), f"{check['largest']:.3g}", style=style)
        console.print(table)
        for reason, count in part["skipped"].items():
            console.print(f"not compared: {count:,} {reason}")
        for example in part["examples"]:
            where = f"{example['of']} at {format_us(example['at_us'])}: {example['feature']}"
            text = f"{where} logged {example['logged']}, recomputed {example['recomputed']}"
            console.print(text, style="red", soft_wrap=True)
    console.print(f"{found['compared']:,} values compared, {found['mismatches']:,} mismatches")
