"""On a Ray cluster of two nodes the features of a file are those of the engine that holds everything.

Ray is an extra, and heavy: ``pip install 'headrace[ray]'`` to run this.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from feature_store import file_spill
from feature_store.compute import compute_file
from feature_store.file_spill import compute_file_spilled
from headrace import load_project
from headrace.errors import ConfigError
from tests.unit.feature_store.test_file_spill import events_file

ray = pytest.importorskip("ray", reason="ray is not installed; pip install 'headrace[ray]' to run this")
from ray.cluster_utils import Cluster  # noqa: E402  # only where ray is

from feature_store.ray_buckets import run_on  # noqa: E402  # as above

_EXAMPLE = Path(__file__).parents[2] / "examples" / "fraud"
_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes of one core each, in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.syspath_prepend(str(_ROOT))
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000})
        nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
        nodes.wait_for_nodes()
        try:
            yield nodes.address
        finally:
            ray.shutdown()
            nodes.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of ray's own
def test_the_values_are_those_of_one_process(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_spill, "_FEWEST_ROWS", 1)
    project = load_project(_EXAMPLE)
    events, out = events_file(tmp_path / "e.parquet", 4_000, seed=7), tmp_path / "f.parquet"
    run = run_on(cluster, _EXAMPLE)

    compute_file_spilled(
        project, project.only_stream(), events, None, out, memory_bytes=600_000, folder=tmp_path, run=run
    )

    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    assert pq.read_table(out).equals(compute_file(project, project.only_stream(), pq.read_table(events)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as above
def test_what_is_wrong_in_a_task_is_said_as_here(cluster: str, tmp_path: Path) -> None:
    project = load_project(_EXAMPLE)
    events = events_file(tmp_path / "e.parquet", 50, seed=7)
    run = run_on(cluster, tmp_path / "nowhere")

    with pytest.raises(ConfigError, match="holds no Python file"):
        compute_file_spilled(
            project, project.only_stream(), events, None, tmp_path / "f", memory_bytes=10**6, folder=tmp_path, run=run
        )
