"""What a worker says to Prometheus: names and labels by its conventions, and the numbers of its partitions."""

import re
import time
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.config import StreamSettings
from headrace.contracts.streams import SourceProgress, ViewProgress
from streams.metrics_server import MetricsServer
from streams.snapshots.snapshot_store import FolderStore
from streams.stream_metrics import CountedStore, StreamMetrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(address: str) -> Samples:
    """Everything that a page says."""
    with urllib.request.urlopen(address, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def told(metrics: StreamMetrics, watermark_us: int) -> None:
    source = SourceProgress(
        topic="sales", partition=3, offset=90, newest_us=5, rows=80, dead_letters={"late": 4, "future": 1}, at_us=7
    )
    view = ViewProgress(
        view="card_use", partition=1, keyed_offset=9, watermark_us=watermark_us, sources={}, rows=70, at_us=7,
        duplicates=6, too_late=2,
    )  # fmt: skip
    metrics.tell([source], [view], {("sales", 3): 10})


@pytest.fixture
def metrics() -> StreamMetrics:
    return StreamMetrics()


def test_a_page_says_how_far_partitions_are_and_what_was_done(metrics: StreamMetrics, tmp_path: Path) -> None:
    now_us = time.time_ns() // 1000
    told(metrics, now_us - 30_000_000)
    metrics.owns("views", 4)
    metrics.taken("views", 0.3)
    metrics.taken("views", None)
    metrics.lost("sources", 2)
    metrics.rows("card_use", 10, 7)
    store = CountedStore(FolderStore(tmp_path), partial(metrics.saved, "card_use"))
    store.write(f"{9:020d}.snapshot", [memoryview(b"abc")])
    store.write(f"{9:020d}.owner", [memoryview(b"who")])
    server = MetricsServer(StreamSettings(), 0, metrics.registry)
    try:
        found = read(server.address)
    finally:
        server.close()

    place = {"topic": "sales", "partition": "3"}
    assert of(found, "headrace_stream_events_total", **place) == 80
    assert of(found, "headrace_stream_dead_letters_total", reason="late", **place) == 4
    assert of(found, "headrace_stream_lag_messages", **place) == 10
    part = {"view": "card_use", "partition": "1"}
    assert of(found, "headrace_view_events_total", **part) == 70
    assert of(found, "headrace_view_duplicates_total", **part) == 6
    assert of(found, "headrace_view_late_total", **part) == 2
    assert of(found, "headrace_view_watermark_timestamp_seconds", **part) == pytest.approx(now_us / 1e6 - 30)
    assert 30 <= of(found, "headrace_view_freshness_seconds", **part) < 300
    assert of(found, "headrace_view_rows_written_total", view="card_use") == 7
    assert of(found, "headrace_view_rows_refused_total", view="card_use") == 3
    assert of(found, "headrace_view_snapshot_bytes_total", view="card_use") == 3
    assert of(found, "headrace_view_snapshot_seconds_count", view="card_use") == 1
    assert of(found, "headrace_stream_partitions", group="views") == 4
    assert of(found, "headrace_stream_partitions_taken_total", group="views") == 2
    assert of(found, "headrace_stream_partitions_released_total", group="views") == 0
    assert of(found, "headrace_stream_partitions_lost_total", group="sources") == 2
    assert of(found, "headrace_stream_handover_pause_seconds_count", group="views") == 1


def test_a_view_without_events_has_no_watermark(metrics: StreamMetrics) -> None:
    told(metrics, -(2**62))

    names = {family.name for family in metrics.registry.collect() if family.samples}
    assert "headrace_view_events" in names
    assert not names & {"headrace_view_watermark_timestamp_seconds", "headrace_view_freshness_seconds"}


def test_a_port_is_the_first_workers_and_one_that_is_taken_stops_nobody(metrics: StreamMetrics) -> None:
    first = MetricsServer(StreamSettings(), 0, metrics.registry)
    port = int(first.address.partition("127.0.0.1:")[2].partition("/")[0])
    try:
        assert MetricsServer(StreamSettings(metrics_port=port - 2), 2, metrics.registry).address == ""
        assert MetricsServer(StreamSettings(metrics_port=-1), 2, metrics.registry).address == ""
    finally:
        first.close()


def test_every_metric_is_in_the_documentation(metrics: StreamMetrics) -> None:
    text = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    written = set(re.findall(r"`(headrace_\w+?)(?:_total)?`", text)) | {
        f"headrace_stream_partitions_{what}" for what in re.findall(r"`\.\.\._(\w+?)_total`", text)
    }
    told(metrics, 1)

    assert {family.name for family in metrics.registry.collect()} == written
