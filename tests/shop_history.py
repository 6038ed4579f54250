"""A generated history of tests/projects/shop in the offline log: everything that can be told apart happens in it."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_store.offline.offline_log import log_folder, write_segment
from feature_store.offline_tables import event_schema, label_schema
from headrace import load_project
from headrace.config import Settings

__all__ = ["HOUR_US", "SHOP", "START_US", "write_history"]

HOUR_US = 3_600_000_000
START_US = 480_000 * HOUR_US
SHOP = load_project(Path(__file__).parent / "projects" / "shop")


def write_history(home: Settings, events: int, seed: int, cut: int) -> None:
    """Ids that come twice with other values, labels that are corrected, arrivals late and early.

    Args:
        home: where.
        events: of each stream.
        seed: of all of it.
        cut: events of a segment.
    """
    random = np.random.default_rng(seed)
    buy, visit, bad = SHOP.stream("buy"), SHOP.stream("visit"), SHOP.labels[0]

    def times(number: int) -> np.ndarray:
        return START_US + np.sort(random.integers(0, 60, number)) * HOUR_US

    at, ids = times(events), random.integers(0, max(events * 3 // 4, 1), events)
    buys = {
        "card": [f"c{n}" for n in random.integers(0, 6, events)],
        "shop": random.integers(0, 4, events).tolist(),
        "eur": [None if n == 0 else float(n) for n in random.integers(0, 9, events)],
        "buy": ids.tolist(),
        "at": at.tolist(),
        "_arrival": (at + random.integers(0, 4, events) * HOUR_US).tolist(),
        "_late": (random.random(events) < 0.1).tolist(),
    }
    _write_log(home, "events", "buy", event_schema(buy), buys, cut)
    at = times(events)
    visits = {
        "card": [f"c{n}" for n in random.integers(0, 6, events)],
        "n": random.integers(0, 9, events).tolist(),
        "visit": [f"v{n}" for n in random.integers(0, events, events)],
        "at": at.tolist(),
        "_arrival": at.tolist(),
        "_late": [False] * events,
    }
    _write_log(home, "events", "visit", event_schema(visit), visits, cut)
    labels = {
        "buy": random.choice(ids, events).tolist(),
        "bad": random.integers(0, 2, events).tolist(),
        "_arrival": (START_US + random.integers(0, 70, events) * HOUR_US).tolist(),
    }
    _write_log(home, "labels", "bad", label_schema(bad), labels, cut)


def _write_log(
    home: Settings, kind: str, name: str, schema: pa.Schema, columns: dict[str, list[object]], cut: int
) -> None:
    """Segments of two partitions, cut anywhere."""
    count = len(columns["_arrival"])
    for partition in (0, 1):
        rows = [row for row in range(count) if row % 2 == partition]
        for first in range(0, len(rows), cut):
            part = rows[first : first + cut]
            values = {name: [column[row] for row in part] for name, column in columns.items()}
            values |= {"_partition": [partition] * len(part), "_offset": list(range(first, first + len(part)))}
            table = pa.table({field.name: pa.array(values[field.name], field.type) for field in schema})
            folder = log_folder(home.offline_dir, SHOP.name, kind, name, partition)  # type: ignore[arg-type] # one of the kinds
            write_segment(table, folder, first, first + len(part) - 1)
