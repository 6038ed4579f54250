"""Lookups over HTTP: one worker on one core, beside Feast's own server on the same core and the same rows.

Sixteen clients share the other core with Redis. One client is beside the server, on its core: they take turns anyway,
and to wake a process on another core of a virtual machine takes 25 microseconds, each way, of nobody's work. A server
that answers the same bytes to everything is measured too: what it reaches is the floor of this machine, whatever stands
behind a request.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from feature_store.rows import RowBatch
from headrace.bench.cores import split_cores
from headrace.bench.http_load import HttpLoad, run_load
from headrace.bench.online_bench import store_rows, with_rows
from headrace.bench.row import BenchRow
from headrace.config import Settings
from headrace.errors import HeadraceError, IntegrityError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project

__all__ = ["run_http"]

_REQUESTS = 2_000
_SECONDS = 4.0
_START_S = 60.0
_PATH = "/get-online-features"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Side:
    """One server under one client and under sixteen."""

    one: HttpLoad
    sixteen: HttpLoad


def run_http(say: Say) -> tuple[list[BenchRow], str]:
    """Twelve features of a pair of customer and terminal over HTTP, and the machine."""
    # Before this process is kept on the measured core, which is the servers' alone: its own place is the other one.
    return with_rows(partial(_http, *split_cores()), say)


def _http(
    others: set[int],
    measured: set[int],
    settings: Settings,
    project: Project,
    rows: dict[FeatureView, RowBatch],
    say: Say,
) -> list[BenchRow]:
    store_rows(settings, project, rows)
    bodies = _bodies(project, rows)
    answers: dict[str, bytes] = {}
    sides: dict[str, _Side] = {}
    for name in ("headrace", "feast", "floor"):
        say(f"{name} under load")
        with _server(name, settings, measured, answer=len(answers.get("headrace", b""))) as port:
            if name != "floor":
                answers[name] = _ask(port, bodies[0])
            sides[name] = _measure(port, bodies, others, measured)
    _agree(answers["headrace"], answers["feast"])
    return _rows(sides["headrace"], sides["feast"], sides["floor"])


def _rows(ours: _Side, feast: _Side, floor: _Side) -> list[BenchRow]:
    return [
        BenchRow(
            name="http, 1 client",
            value=ours.one.percentile_ms(0.5),
            unit="ms, p50",
            goal=0.15,
            peer="feast",
            peer_value=feast.one.percentile_ms(0.5),
            less_is_better=True,
            note=f"p99 {ours.one.percentile_ms(0.99):.3g}; floor p50 {floor.one.percentile_ms(0.5):.3g} ms",
        ),
        BenchRow(
            name="http, 16 clients",
            value=ours.sixteen.per_second,
            unit="requests/s",
            goal=40_000,
            peer="feast",
            peer_value=feast.sixteen.per_second,
            note=f"floor {floor.sixteen.per_second:,.0f} requests/s",
        ),
        BenchRow(
            name="http, 16 clients",
            value=ours.sixteen.percentile_ms(0.99),
            unit="ms, p99",
            goal=1.0,
            peer="feast",
            peer_value=feast.sixteen.percentile_ms(0.99),
            less_is_better=True,
            note=f"floor p99 {floor.sixteen.percentile_ms(0.99):.3g} ms",
        ),
    ]


def _bodies(project: Project, rows: dict[FeatureView, RowBatch]) -> list[bytes]:
    random = np.random.default_rng(0)
    features = [f"{view.name}:{name}" for view in project.views for name in view.feature_names]
    made = []
    for _ in range(_REQUESTS):
        entities = {view.entity: [int(random.choice(rows[view].keys))] for view in project.views}
        made.append(json.dumps({"features": features, "entities": entities, "full_feature_names": True}).encode())
    return made


def _measure(port: int, bodies: list[bytes], others: set[int], measured: set[int]) -> _Side:
    head = f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: "
    requests = [b"%b%d\r\n\r\n%b" % (head.encode(), len(body), body) for body in bodies]
    found = []
    for connections, cores in ((1, measured), (16, others)):
        os.sched_setaffinity(0, cores)
        found.append(run_load(port, requests, connections=connections, seconds=_SECONDS))
    return _Side(*found)


@contextmanager
def _server(side: str, settings: Settings, cores: set[int], *, answer: int) -> Iterator[int]:
    """A server in a process of its own, on the measured core, once it answers."""
    port = _free_port()
    task = {
        "side": side,
        "home": str(settings.home),
        "port": port,
        "cores": sorted(cores),
        "answer": answer,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    command = [sys.executable, "-m", "headrace.bench.http_side", json.dumps(task)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
        return number


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
    raise HeadraceError("a measured server did not start", hint="run python -m headrace.bench.http_side by hand")


def _ask(port: int, body: bytes) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", _PATH, body, {"content-type": "application/json"})
    answer = connection.getresponse().read()
    connection.close()
    return answer


def _agree(ours: bytes, theirs: bytes) -> None:
    """Both must have given the same values; Feast's order of columns is its own."""
    values = []
    for answer in (ours, theirs):
        content: dict[str, Any] = json.loads(answer)
        columns = zip(content["metadata"]["feature_names"], content["results"], strict=True)
        values.append({name: result["values"] for name, result in columns})
    if values[0] != values[1]:
        raise IntegrityError(f"headrace answered {values[0]}, Feast {values[1]}")
