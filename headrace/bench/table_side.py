"""A training set from stored features in a process of its own: ours, Feast's own store, or DuckDB's as-of join.

    python -m headrace.bench.table_side '{"side": "feast", "home": ..., "spine": "s.parquet", "cores": [0]}'

It prints one JSON line: best seconds, peak memory, a checksum; or ``failed`` with what went wrong.
"""

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.offline.offline_log import log_folder
from headrace.bench.workload import make_project
from headrace.config import Settings, load_settings
from headrace.spec.project import Project

__all__: list[str] = []


def main() -> None:
    warnings.simplefilter("ignore")
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    if limit := task.get("most_bytes"):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    settings, project = load_settings(Path(task["home"])), make_project("bench")
    run = {"headrace": _headrace, "feast": _feast, "duckdb": _duckdb}[task["side"]](task, settings, project)
    report: dict[str, float | str]
    try:
        report = _measure(run, task["rounds"])
    except Exception as error:  # a peer that runs out of memory says so in its own way
        report = {"failed": f"{type(error).__name__}: {error}"[:200]}
    print(json.dumps(report), flush=True)


def _measure(run: Callable[[], pa.Table], rounds: int) -> dict[str, float | str]:
    """Best of the rounds; of more than one, the first is for warming up."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - began)
    counts = [name for name in found.column_names if "count_" in name]
    return {
        "seconds": min(seconds[1:] or seconds),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "checksum": float(sum(pc.sum(found[name]).as_py() or 0 for name in counts)),
    }


def _headrace(task: dict[str, Any], settings: Settings, project: Project) -> Callable[[], pa.Table]:
    from feature_store.definitions.feast_registry import open_feast

    return _historical(open_feast(settings, project.name), task, project)


def _feast(task: dict[str, Any], settings: Settings, project: Project) -> Callable[[], pa.Table]:
    """The same registry and files, with Feast's own DuckDB store."""
    from feast import FeatureStore, RepoConfig

    config = RepoConfig(
        project=project.name,
        provider="local",
        registry={"registry_type": "file", "path": str(settings.registry_path)},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
    )
    return _historical(FeatureStore(config=config), task, project)


def _historical(store: Any, task: dict[str, Any], project: Project) -> Callable[[], pa.Table]:
    spine = pq.read_table(task["spine"]).to_pandas()
    features = [f"{view.name}:{name}" for view in project.views for name in view.feature_names]

    def run() -> pa.Table:
        job = store.get_historical_features(entity_df=spine, features=features, full_feature_names=True)
        return job.to_arrow()

    return run


def _duckdb(task: dict[str, Any], settings: Settings, project: Project) -> Callable[[], pa.Table]:
    """One as-of join for each view; of rows with one time it takes any."""
    import duckdb

    connection = duckdb.connect(config={"threads": len(task["cores"])})
    parts, columns = [], []
    for view in project.views:
        folder = log_folder(settings.offline_dir, project.name, "features", view.name, 0)
        files = f"read_parquet('{folder}/*.parquet')"
        parts.append(
            f"ASOF LEFT JOIN {files} AS {view.name} ON spine.{view.entity} = {view.name}.{view.entity}"
            f" AND spine.event_timestamp >= {view.name}.event_timestamp"
        )
        columns += [f"{view.name}.{name} AS {view.name}__{name}" for name in view.feature_names]
    query = f"SELECT spine.*, {', '.join(columns)} FROM read_parquet('{task['spine']}') AS spine {' '.join(parts)}"  # noqa: S608  # our own names

    def run() -> pa.Table:
        return connection.execute(query).to_arrow_table()

    return run


if __name__ == "__main__":
    main()
