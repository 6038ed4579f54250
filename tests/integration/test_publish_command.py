"""``headrace publish`` on a real broker: every label arrives, also of stretches without events and after the last."""

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace.cli.main import main
from headrace.config import Settings
from headrace.kafka_clients import read_topic

_PROJECT = """
from headrace import EventStream, Int64, LabelStream
sales = EventStream("{name}", key="card", time="at", id="sale", schema={{"card": Int64, "sale": Int64}})
frauds = LabelStream("{name}-frauds", of=sales, value="fraud", delay="7d")
"""
_DAY = timedelta(days=1)
_FIRST = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.mark.parametrize("more", [[], ["--speed", "1e9"]])
def test_labels_due_in_a_gap_and_after_the_last_event_arrive_once(
    stack: Settings,
    fresh_name: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(stack.home))
    name = fresh_name("gap").replace("_", "-")
    (tmp_path / "sales.py").write_text(_PROJECT.format(name=name))
    # 20 and 21 May, then from 29 May on: the first hundred labels fall due while nothing happens.
    times = [_FIRST + _DAY * 2 * n / 100 for n in range(100)] + [_FIRST + _DAY * (9 + n / 50) for n in range(50)]
    table = pa.table(
        {
            "sale": pa.array(range(150), pa.int64()),
            "card": pa.array([n % 9 for n in range(150)], pa.int64()),
            "at": pa.array(times, pa.timestamp("us", "UTC")),
            "fraud": pa.array([None if n == 140 else n % 2 for n in range(150)], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    words = ["publish", "--project", str(tmp_path), "--events", str(tmp_path / "e.parquet"), "--json", *more]

    until = (_FIRST + 8 * _DAY).isoformat()
    assert main([*words, "--until", until]) == 0
    assert json.loads(capsys.readouterr().out).items() >= {"events": 100, "labels": 50}.items()
    assert _sales(stack, name) == Counter(range(100))
    assert _sales(stack, f"{name}-frauds") == Counter(range(50))

    assert main(words) == 0
    assert json.loads(capsys.readouterr().out).items() >= {"events": 150, "labels": 149}.items()
    assert _sales(stack, name) == Counter([*range(100), *range(150)])
    labelled = [sale for sale in range(150) if sale != 140]
    assert _sales(stack, f"{name}-frauds") == Counter([*range(50), *labelled])


def _sales(settings: Settings, topic: str) -> Counter[int]:
    """Ids of the messages of a topic; ticks have none."""
    return Counter(json.loads(message.value())["sale"] for message in read_topic(settings, topic) if message.value())
