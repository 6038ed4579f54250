"""Kafka to exact features in Redis: one process on one core, beside a Faust agent and a loop that do the same work.

All read the very same messages (JSON of about 107 bytes each) of topics that are already full, keep count and mean
amount of customers and of terminals over 1, 7 and 30 days, and write Feast's rows: twelve values. Servers have the
other core.
The fraud example is measured too: its terminals join labels, which arrive a week later as messages of their own.
The events may be written as Avro, or as Arrow batches of an hour, about 90 events each; the peers' stay JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.bench.cores import describe_machine, pin, split_cores, wait_for_quiet
from headrace.config import Settings
from headrace.demo.generator import World, generate
from headrace.errors import HeadraceError
from headrace.local.stack import EmbeddedStack
from headrace.spec.project import Project, load_project
from streams.publisher import Publisher

__all__ = ["FORMATS", "StreamResult", "bench_project", "run_stream_bench"]

DEFINITIONS = """
from headrace import ArrowBatches, Avro, EventStream, FeatureView, Float64, Int64, Json, count, mean

DAYS = ("1d", "7d", "30d")
transactions = EventStream(
    "{stream}", key="customer_id", time="tx_datetime", id="transaction_id",
    schema={{"customer_id": Int64, "terminal_id": Int64, "tx_amount": Float64(resolution=1e-6)}}, lateness="6h",
    format={form},
)
features = [count().over(*DAYS), mean("tx_amount").over(*DAYS)]
customers = FeatureView(
    "customer_activity", entity="customer_id", source=transactions, closed="right", features=features
)
terminals = FeatureView(
    "terminal_activity", entity="terminal_id", source=transactions, closed="right", features=features
)
"""

FORMATS = {"json": "Json()", "avro": "Avro()", "arrow": "ArrowBatches()"}
"""Name -> how the events are declared."""
ARROW_SPAN_US = 16 * 3_600_000_000
"""Event time of one Arrow message: at about 100 events an hour in a partition, the writer's most rows decide, 1,000."""

WARM_DAYS, MEASURED_DAYS = 45, 135
"""Windows and delays of the views reach back 37 days; after 45 they are full and every event also lets old ones go."""
PEERS = {"faust": (15_000, 40_000), "loop": (60_000, 240_000)}
"""Name -> events before its measurement, and in it: each takes some seconds."""
_PEER_EVENTS = max(warm + measured for warm, measured in PEERS.values())
DAY_US = 86_400_000_000
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Events through one side."""

    events: int
    seconds: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """CPU of one event, clients' own threads included."""
        return self.cpu_s / self.events * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """What was measured."""

    online: Rate
    logged: Rate | None
    """The same with every change also written to the offline feature log."""
    labelled: Rate | None
    """The fraud example: a second stream of labels, joined and delayed; the rate counts events."""
    peers: dict[str, Rate]
    """By name, as in PEERS."""
    machine: str


def run_stream_bench(
    example_path: Path, *, everything: bool, say: Callable[[str], None], form: str = "json"
) -> StreamResult:
    """Measure all sides on servers of their own.

    Args:
        example_path: the fraud example.
        everything: also measure with the offline feature log, and the fraud example.
        say: told what is going on.
        form: how the events are written, one of FORMATS; the fraud example's are JSON.
    """
    servers, measured = split_cores()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        stack = EmbeddedStack(Path(folder) / "home")
        say("starting servers of its own")
        settings = stack.up()
        try:
            pin([service.pid for service in stack.status().services if service.pid], servers)
            table = generate(World(customers=5_000, terminals=10_000, days=WARM_DAYS + MEASURED_DAYS))
            project = bench_project(Path(folder) / "bench_online", form)
            sides = {"online": _headrace_side(settings, project, table, measured, log=False, say=say)}
            if everything:
                copy = bench_project(Path(folder) / "bench_logged", form)
                sides["logged"] = _headrace_side(settings, copy, table, measured, log=True, say=say)
                example = _example(example_path, Path(folder) / "bench_labels")
                sides["labelled"] = _headrace_side(settings, example, table, measured, log=False, say=say)
            if form != "json":
                project = bench_project(Path(folder) / "bench_peer", "json")
                few = Publisher(settings, project, project.only_stream(), table.slice(0, _PEER_EVENTS), None)
                few.publish_until(few.span_us[1] + 1, flush=False)
            peers = {name: _peer_side(name, settings, project, measured, say=say) for name in PEERS}
        finally:
            stack.down()
    busy = max(load for _, load in [*sides.values(), *peers.values()])
    rates = {name: rate for name, (rate, _) in sides.items()}
    return StreamResult(
        online=rates["online"],
        logged=rates.get("logged"),
        labelled=rates.get("labelled"),
        peers={name: rate for name, (rate, _) in peers.items()},
        machine=describe_machine(busy),
    )


def _headrace_side(
    settings: Settings, project: Project, table: Any, cores: set[int], *, log: bool, say: Callable[[str], None]
) -> tuple[Rate, float]:
    stream = project.only_stream()
    labels = project.labels_of(stream)
    publisher = Publisher(settings, project, stream, table, labels, batch_span_us=ARROW_SPAN_US)
    start_us, end_us = publisher.span_us[0], publisher.span_us[1] + 1
    warm_us = start_us + WARM_DAYS * DAY_US
    task = {
        "home": str(settings.home),
        "project": str(project.path),
        "warm_us": warm_us,
        "end_us": end_us,
        "cores": sorted(cores),
        "log": log,
    }
    name = project.name.removeprefix("bench_")
    say(f"headrace, {name}: filling windows ({WARM_DAYS} days)")
    publisher.publish_until(warm_us)
    command = [sys.executable, "-m", "headrace.bench.stream_side", json.dumps(task)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_env()) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        if child.stdout.readline().strip() != "warm":
            raise HeadraceError("the measured process ended before it was warm", hint="its error stands above")
        count = publisher.publish_until(end_us, flush=False)
        say(f"headrace, {name}: waiting for quiet cores")
        busy = wait_for_quiet()
        say(f"headrace, {name}: measuring {count:,} events")
        child.stdin.write("go\n")
        child.stdin.flush()
        report = json.loads(child.stdout.readline())
    return Rate(events=count, **report), busy


def _peer_side(
    name: str, settings: Settings, project: Project, cores: set[int], *, say: Callable[[str], None]
) -> tuple[Rate, float]:
    warm, measured = PEERS[name]
    task = {
        "bootstrap": settings.kafka.bootstrap,
        "redis": settings.redis.url,
        "group": f"headrace_bench_{name}",
        "datadir": str(settings.home / name),
        "events": project.only_stream().name,
        "warm": warm,
        "measured": measured,
        "cores": sorted(cores),
    }
    say(f"{name}: waiting for quiet cores")
    busy = wait_for_quiet()
    say(f"{name}: measuring {measured:,} events")
    command = [sys.executable, "-m", f"headrace.bench.{name}_side", json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=_env(), timeout=_TIMEOUT_S, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise HeadraceError(f"the peer {name} ended without a measurement", hint="its error stands above")
    return Rate(events=measured, **json.loads(lines[-1])), busy


def bench_project(folder: Path, form: str) -> Project:
    """The benchmark's definitions, with a topic of its own."""
    return _write(folder, DEFINITIONS.format(stream=f"{folder.name}-tx", form=FORMATS[form]))


def _example(path: Path, folder: Path) -> Project:
    """The fraud example under a name of its own, with topics of its own."""
    text = (path / "fraud.py").read_text(encoding="utf-8")
    text = text.replace('"transactions"', f'"{folder.name}-tx"')
    return _write(folder, text.replace('"fraud-labels"', f'"{folder.name}-labels"'))


def _write(folder: Path, text: str) -> Project:
    folder.mkdir(parents=True)
    (folder / "definitions.py").write_text(text, encoding="utf-8")
    return load_project(folder)


def _env() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
