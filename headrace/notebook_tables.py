"""What a notebook is given: reports and rows of the online store as Arrow tables."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from feature_store.definitions.change_plan import PlannedChange
from feature_store.online.view_rows import ViewColumns
from headrace.cli.feature_lookup import FIRST_US, LAST_US

__all__ = ["checks_table", "erasure_table", "examples_table", "plan_table", "text_table", "view_columns"]

_TIME = pa.timestamp("us", tz="UTC")
_CHECKS = pa.schema(
    {
        "of": pa.string(),
        "name": pa.string(),
        "compared": pa.int64(),
        "mismatches": pa.int64(),
        "missing": pa.int64(),
        "late": pa.int64(),
        "largest": pa.float64(),
    }
)
_EXAMPLES = pa.schema(
    {
        "of": pa.string(),
        "key": pa.string(),
        "feature": pa.string(),
        "at": _TIME,
        "read": pa.float64(),
        "recomputed": pa.float64(),
    }
)
_ERASURE = pa.schema({"what": pa.string(), "name": pa.string(), "count": pa.int64(), "says": pa.string()})
_PLAN = pa.schema(
    {
        "view": pa.string(),
        "change": pa.string(),
        "reasons": pa.list_(pa.string()),
        "readers": pa.list_(pa.string()),
        "rows": pa.int64(),
        "seconds": pa.float64(),
        "is_measured": pa.bool_(),
        "next_step": pa.string(),
    }
)


def text_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    """These columns of the rows, as texts; what a row lacks is null.

    >>> text_table([{"name": "a", "of": "b"}, {"name": "c"}], ["name", "of"]).to_pydict()
    {'name': ['a', 'c'], 'of': ['b', None]}
    """
    return pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in columns})


def view_columns(found: ViewColumns) -> dict[str, pa.ChunkedArray]:
    """Values, status and freshness of a view, by full name; instants no calendar has (never, not yet) are null."""
    table = found.table()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    for name, instants in (
        ("event_time", found.event_time_us),
        ("valid_until", found.valid_until_us),
        ("watermark", found.watermark_us),
    ):
        unknown = ~found.is_found | (instants < FIRST_US) | (instants > LAST_US)
        columns[name] = pa.chunked_array([pa.array(instants, pa.int64(), mask=unknown).cast(_TIME)])
    columns["version"] = pa.chunked_array([pa.array(found.version, pa.int64(), mask=~found.is_found)])
    return {f"{found.plan.view.name}__{name}": column for name, column in columns.items()}


def plan_table(changes: Sequence[PlannedChange]) -> pa.Table:
    """One row for each view."""
    return pa.Table.from_pylist([asdict(change) for change in changes], _PLAN)


def checks_table(parts: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row for each feature of each part of ``headrace verify``."""
    return pa.Table.from_pylist([{**check, "of": part["of"]} for part in parts for check in part["features"]], _CHECKS)


def examples_table(parts: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Values that differ, some of each part, with the prediction or the key they are of."""
    rows = [
        {
            "of": part["of"],
            "key": example["of"],
            "feature": example["feature"],
            "at": example["at_us"],
            "read": example["logged"],
            "recomputed": example["recomputed"],
        }
        for part in parts
        for example in part["examples"]
    ]
    return pa.Table.from_pylist(rows, _EXAMPLES)


def erasure_table(report: Mapping[str, Any]) -> pa.Table:
    """One row for each fact of a report of :func:`headrace.erasure.erase`."""
    rows = "rows would go" if report["dry_run"] else "rows are gone"
    topics = report["kafka"].items()
    trained = "was trained on a set with an erased subject"
    facts: list[dict[str, Any]] = [
        *({"what": "removed", "name": place, "count": count} for place, count in report["removed"].items()),
        *({"what": "training set", "name": name, "says": rows} for name in report["datasets"]),
        *({"what": "model", "name": name, "says": trained} for name in report["models"]),
        *({"what": "kafka topic", "name": name, "says": f"messages stay: {kept}"} for name, kept in topics),
        *({"what": "note", "says": note} for note in report["notes"]),
    ]
    return pa.Table.from_pylist(facts, _ERASURE)
