"""On a Ray cluster of two nodes features and training sets are those of the engine that holds everything."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import ray
from ray.cluster_utils import Cluster

from feature_store.compute import compute_file
from feature_store.training import dataset_spill, file_spill
from feature_store.training.bucket_answers import Bucket
from feature_store.training.file_spill import compute_file_spilled
from feature_store.training.ray_buckets import run_on
from headrace import load_project
from headrace.cli.main import main
from headrace.clock import format_us
from headrace.config import Settings
from headrace.errors import ConfigError
from tests.eventually import eventually
from tests.shop_history import HOUR_US, SHOP, START_US, write_history
from tests.unit.feature_store.test_file_spill import events_file

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "fraud"
_NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100_000_000}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes of one core each, in processes of their own."""
    # Not pytest's folder: the name of a socket has 107 characters at most. Told by the environment, for a cluster also
    # leaves its address where the next one would look for it.
    folder = tempfile.mkdtemp(prefix="ray-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        patch.syspath_prepend(str(_ROOT))
        nodes = Cluster(initialize_head=True, head_node_args={**_NODE, "include_dashboard": False})
        nodes.add_node(**_NODE)
        nodes.wait_for_nodes()
        try:
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()
            eventually(lambda: not _processes_of(folder), timeout_s=120, what="every process of the cluster has ended")
            shutil.rmtree(folder)


def test_the_values_are_those_of_one_process(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_spill, "_FEWEST_ROWS", 1)
    project = load_project(_EXAMPLE)
    events, out = events_file(tmp_path / "e.parquet", 4_000, seed=7), tmp_path / "f.parquet"
    run = run_on(cluster.address, _EXAMPLE)

    compute_file_spilled(
        project, project.only_stream(), events, None, out, memory_bytes=600_000, folder=tmp_path, run=run
    )

    assert len([node for node in ray.nodes() if node["Alive"]]) >= 2
    assert pq.read_table(out).equals(compute_file(project, project.only_stream(), pq.read_table(events)))


@pytest.mark.parametrize("mode", ["as_served", "corrected"])
def test_a_training_set_has_the_digest_of_one_built_here(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    monkeypatch.setattr(dataset_spill, "_FEWEST_ROWS", 50)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    write_history(Settings(home=tmp_path), 400, seed=3, cut=90)
    span = ["--from", _hours(10), "--until", _hours(55), "--as-of", _hours(65), "--mode", mode]
    words = ["dataset", "build", "--project", str(SHOP.path), *span, "--json"]

    assert main(words) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main([*words, "--memory", "1KB", "--ray", cluster.address]) == 0
    parts = json.loads(capsys.readouterr().out)

    assert parts == whole
    assert whole["rows"] > 50


def test_what_is_wrong_in_a_task_is_said_as_here(cluster: Cluster, tmp_path: Path) -> None:
    project = load_project(_EXAMPLE)
    events = events_file(tmp_path / "e.parquet", 50, seed=7)
    run = run_on(cluster.address, tmp_path / "nowhere")

    with pytest.raises(ConfigError, match="nowhere does not exist"):
        compute_file_spilled(
            project, project.only_stream(), events, None, tmp_path / "f", memory_bytes=10**6, folder=tmp_path, run=run
        )


def test_a_machine_that_dies_meanwhile_changes_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_spill, "_FEWEST_ROWS", 1)
    project = load_project(_EXAMPLE)
    events, out = events_file(tmp_path / "e.parquet", 2_000, seed=8), tmp_path / "f.parquet"
    run, doomed = run_on(cluster.address, _EXAMPLE), cluster.add_node(**_NODE)

    def killing(buckets: Iterable[Bucket]) -> Iterator[Bucket]:
        for place, bucket in enumerate(buckets):
            if place == 3 and doomed in cluster.list_all_nodes():
                cluster.remove_node(doomed, allow_graceful=False)
            yield bucket

    compute_file_spilled(
        project,
        project.only_stream(),
        events,
        None,
        out,
        memory_bytes=600_000,
        folder=tmp_path,
        run=lambda view, answer, buckets: run(view, answer, killing(buckets)),
    )

    assert doomed not in cluster.list_all_nodes()
    assert pq.read_table(out).equals(compute_file(project, project.only_stream(), pq.read_table(events)))


def _processes_of(folder: str) -> list[int]:
    """Processes that were started with the folder of a cluster."""
    running = psutil.process_iter(["cmdline"])
    return [process.pid for process in running if folder in " ".join(process.info["cmdline"] or ())]


def _hours(number: int) -> str:
    return format_us(START_US + number * HOUR_US)
