"""``headrace verify``: logged online reads, and rows online, against an offline recomputation."""

import argparse
import heapq
import itertools
import json
import sys
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headrace.cli.pace import Pace
from headrace.cli.teller import Teller
from headrace.cli.verify_report import show_found
from headrace.config import Settings, load_settings
from headrace.errors import ConfigError, IntegrityError
from headrace.spec.features import FeatureView
from headrace.spec.model import Model
from headrace.spec.project import Project, load_project
from headrace.spec.streams import EventStream

if TYPE_CHECKING:
    import pyarrow as pa

    from feature_store.verification.comparison import FeatureComparison
    from headrace.contracts.predictions import PredictionRecord

__all__ = ["compare", "configure", "run"]

_KEYS = 1000
"""Keys of each view that are looked up, unless it is said."""
_BATCH = 20_000
"""Predictions recomputed together; they are held in memory."""
_LOOK_EVERY = 1_000
"""Messages between two looks at the clock."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--project", default="examples/fraud", help="project folder (default: %(default)s)")
    parser.add_argument("--model", help="only this model; with --online, only the views it reads")
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help=f"at most N predictions (default: all); with --online, N keys of each view (default: {_KEYS})",
    )
    parser.add_argument(
        "--online",
        action="store_true",
        help="check rows in Redis, as we and as Feast read them, not logged predictions",
    )
    parser.add_argument(
        "--wait", type=float, default=60.0, metavar="S", help="wait so long for the stream (0: take what is there)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.epilog = "Exit code 1 when anything differs."


def run(args: argparse.Namespace) -> int:
    settings, project = load_settings(), load_project(args.project)
    parts = compare(settings, project, model=args.model, sample=args.sample, online=args.online, wait_s=args.wait)
    found = {
        "project": project.name,
        "compared": sum(part["compared"] for part in parts),
        "mismatches": sum(part["mismatches"] for part in parts),
        "parts": parts,
    }
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show_found(found)
    if not found["compared"]:
        print(f"headrace: {_next_step(args, project, parts)}", file=sys.stderr)
    return 1 if found["mismatches"] else 0


def compare(
    settings: Settings, project: Project, *, model: str | None, sample: int | None, online: bool, wait_s: float
) -> list[dict[str, Any]]:
    """What was compared, part by part, as the command prints it as JSON; how far it is goes to stderr.

    Args:
        settings: where everything is.
        project: whose predictions or rows.
        model: only this one; with ``online`` only the views it reads.
        sample: at most so many predictions, or keys of each view.
        online: rows in Redis, not logged predictions.
        wait_s: for so long at most the stream is waited for; 0: what is there is taken.

    Raises:
        ConfigError: there is no such model, or ``sample`` is less than one.
        UnavailableError: a server does not answer, or the stream does not get there in time.
    """
    if sample is not None and sample < 1:
        raise ConfigError(f"--sample is {sample}", hint="give at least 1, or leave it out")
    models = (project.model(model),) if model else project.models
    with Teller() as tell:
        pace = Pace(lambda sentence: tell("verify", sentence))
        if wait_s > 0:
            _wait_for_stream(settings, project, wait_s, tell, pace)
        if online:
            views = models[0].views if model else project.views
            return _check_online(settings, project, views, sample or _KEYS, pace)
        return [_check_predictions(settings, project, each, sample, pace) for each in models]


def _next_step(args: argparse.Namespace, project: Project, parts: list[dict[str, Any]]) -> str:
    """Why nothing was compared, and what to do about it."""
    if args.online:
        return (
            f"the event log of {project.name!r} holds no key to check\n"
            "  hint: `headrace publish` events while `headrace run stream` runs, or check HEADRACE_HOME"
        )
    if not parts:
        return f"project {project.name!r} has no model\n  hint: check the rows online: headrace verify --online"
    if any(part["skipped"] for part in parts):
        return "no logged prediction could be compared\n  hint: were all of them fallbacks? see `headrace status`"
    return (
        f"no {' nor '.join(part['of'] for part in parts)} are logged yet\n"
        "  hint: `headrace serve` and `headrace run score` log them; rows online: headrace verify --online"
    )


def _wait_for_stream(settings: Settings, project: Project, timeout_s: float, tell: Teller, pace: Pace) -> None:
    """Return when all that was published up to now is applied and in the offline log."""
    from headrace.kafka_clients import end_offsets
    from streams.progress import wait_applied

    said = {""}

    def track(missing: str, done: int, total: int) -> None:
        if done < total:
            pace("messages through the stream", done, total)
        elif "" in said:
            said.clear()  # what is there half a second later is worth a line
        elif missing not in said:
            said.add(missing)
            tell("verify", f"waits up to {timeout_s:g} s for the stream: {missing}")

    topics = [stream.name for stream in project.streams] + [labels.name for labels in project.labels]
    waiting = wait_applied(
        settings,
        project,
        offsets=end_offsets(settings, topics),
        durable=True,
        timeout_s=timeout_s,
        track=track,
    )
    for view in waiting:
        tell("verify", f"{view} waits for its history: headrace backfill {view}")


def _check_predictions(
    settings: Settings, project: Project, model: Model, sample: int | None, pace: Pace
) -> dict[str, Any]:
    from feature_store.verification.verify import PredictionVerifier

    verifier = PredictionVerifier(model, *_model_events(settings, project, model, pace))
    records = _sampled(_predictions(settings, model.name, pace), sample)
    for number, batch in enumerate(_batches(records)):
        if isinstance(records, list):
            pace(f"predictions of {model.name} recomputed", number * _BATCH, len(records))
        verifier.add(batch)
    return {
        "of": f"predictions of {model.name}",
        "rows": verifier.predictions,
        "skipped": dict(+verifier.skipped),
        "values": "logged",
        **_summary([verifier.comparison]),
    }


def _check_online(
    settings: Settings, project: Project, views: Sequence[FeatureView], sample: int, pace: Pace
) -> list[dict[str, Any]]:
    from feature_store.verification.redis_fields import FieldReader
    from feature_store.verification.verify_online import OnlineVerifier

    reader = FieldReader(settings.redis.url, project.name)
    events = {view.events.name: _events(settings, project, view.events, pace) for view in views}
    verifiers = [OnlineVerifier(view, events[view.events.name], reader) for view in views]
    for verifier in verifiers:
        verifier.check(sample, pace)
    reader.close()
    rows, absent = sum(verifier.rows for verifier in verifiers), sum(verifier.absent for verifier in verifiers)
    return [
        {
            "of": "rows online",
            "rows": rows,
            "skipped": {"without a row": absent} if absent else {},
            "values": "online",
            **_summary([verifier.comparison for verifier in verifiers]),
        },
        {
            "of": "rows online as Feast reads them",
            "rows": rows,
            "skipped": {},
            "values": "as Feast reads it",
            **_summary([verifier.as_feast for verifier in verifiers]),
        },
    ]


def _model_events(settings: Settings, project: Project, model: Model, pace: Pace) -> "tuple[pa.Table, list[pa.Table]]":
    events, *others = (_events(settings, project, stream, pace) for stream in model.streams)
    return events, others


def _events(settings: Settings, project: Project, stream: EventStream, pace: Pace) -> "pa.Table":
    from feature_store.offline.event_log import read_events

    return read_events(settings.offline_dir, project, stream, project.labels_of(stream), with_late=False, track=pace)


def _predictions(settings: Settings, model: str, pace: Pace) -> Iterator["PredictionRecord"]:
    from headrace.contracts.codec import decode
    from headrace.contracts.predictions import PredictionRecord
    from headrace.contracts.topics import PREDICTIONS
    from headrace.kafka_clients import end_offsets, read_topic

    unreadable = 0
    ends = {number: end for (_, number), end in end_offsets(settings, [PREDICTIONS.name]).items()}
    ahead = dict(ends)
    for count, message in enumerate(read_topic(settings, PREDICTIONS.name)):
        if count % _LOOK_EVERY == 0:
            pace(f"messages of {PREDICTIONS.name} read", count, count + sum(ahead.values()))
        number = message.partition()
        ahead[number] = max(0, ends.get(number, 0) - message.offset() - 1)
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
