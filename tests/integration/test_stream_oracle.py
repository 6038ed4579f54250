"""The publishers' own feature values for 719,307 real transactions, through Kafka into both stores."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from headrace.config import Settings
from headrace.errors import UnavailableError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project, load_project
from streams.formats.event_file import read_event_file
from streams.progress import Progress, wait_applied
from streams.publisher import Publisher
from streams.worker import StreamWorker
from tests.shared_data import shared_file
from tests.stream_world import feature_log, log_values, online_values

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

FRAUD = Path(__file__).resolve().parents[2] / "examples" / "fraud" / "fraud.py"
COLUMNS = {
    "customer_activity": ("CUSTOMER_ID", ("CUSTOMER_ID_NB_TX_{}DAY_WINDOW", "CUSTOMER_ID_AVG_AMOUNT_{}DAY_WINDOW")),
    "terminal_risk": ("TERMINAL_ID", ("TERMINAL_ID_NB_TX_{}DAY_WINDOW", "TERMINAL_ID_RISK_{}DAY_WINDOW")),
}


@dataclass
class Replayed:
    """What a worker made of the whole file."""

    settings: Settings
    project: Project
    events: pa.Table
    expected: pa.Table
    watermark_us: int

    def times_us(self) -> NDArray[np.int64]:
        return np.asarray(self.events["TX_DATETIME"].cast(pa.int64()).to_numpy())

    def values(self, view: FeatureView) -> NDArray[np.float64]:
        """The publishers' values (n, 6) of a view, in its order."""
        names = [pattern.format(days) for pattern in COLUMNS[view.name][1] for days in (1, 7, 30)]
        return np.stack([self.expected[name].cast(pa.float64()).to_numpy() for name in names], axis=1)

    def keys(self, view: FeatureView) -> NDArray[np.int64]:
        return np.asarray(self.events[COLUMNS[view.name][0]].cast(pa.int64()).to_numpy())


@pytest.fixture(scope="module")
def replayed(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Replayed:
    name = f"oracle_{uuid.uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("projects") / name
    folder.mkdir()
    text = FRAUD.read_text(encoding="utf-8").replace('"transactions"', f'"tx-{name}"')
    (folder / "fraud.py").write_text(text.replace('"fraud-labels"', f'"labels-{name}"'), encoding="utf-8")
    project = load_project(folder)
    stream = project.only_stream()
    file = shared_file("fraud", "events.parquet")
    table, labels = read_event_file(file, None, stream, project.labels_of(stream))
    publisher = Publisher(stack, project, stream, table, labels)
    end_us = publisher.span_us[1] + 1
    publisher.publish_until(end_us)
    worker = StreamWorker(stack, project)
    while not has_reached(stack, project, end_us):
        worker.step()
    worker.stop()
    worker.run()
    expected = pq.read_table(shared_file("fraud", "expected_features_sample.parquet"))
    return Replayed(stack, project, pq.read_table(file), expected, end_us)


def has_reached(settings: Settings, project: Project, watermark_us: int) -> bool:
    try:
        wait_applied(settings, project, watermark_us=watermark_us, timeout_s=0)
    except UnavailableError:
        return False
    return True


def test_the_file_and_the_oracle_have_the_same_rows(replayed: Replayed) -> None:
    assert replayed.events["TRANSACTION_ID"].equals(replayed.expected["TRANSACTION_ID"])
    progress = Progress(replayed.settings.redis.url, replayed.project.name)
    counted = {view.name: 0 for view in replayed.project.views}
    for report in progress.views():
        counted[report.view] += report.rows
    progress.close()

    assert set(counted.values()) == {replayed.events.num_rows}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_feature_log_equals_the_oracle_as_of_every_transaction(replayed: Replayed, name: str) -> None:
    view = replayed.project.view(name)
    log = feature_log(replayed.settings, replayed.project, view)

    values, found = log_values(log, view, replayed.keys(view).tolist(), replayed.times_us())

    # A terminal has no row before its first event entered a window; an empty window is all zeros here.
    values[~found] = 0.0
    assert found.all() or name == "terminal_risk"
    tie = np.asarray(replayed.expected["CUSTOMER_TIE"].to_numpy(zero_copy_only=False))
    wrong = (np.abs(values - replayed.values(view)) > 1e-9).any(axis=1) & ~tie
    assert wrong.sum() == 0


@pytest.mark.parametrize("name", COLUMNS)
def test_redis_equals_the_oracle_at_each_keys_last_transaction(replayed: Replayed, name: str) -> None:
    """As far as a row can go back: an older instant needs events that no window asks for any more."""
    view = replayed.project.view(name)
    keys, times_us = replayed.keys(view), replayed.times_us()
    last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
    tie = np.asarray(replayed.expected["CUSTOMER_TIE"].to_numpy(zero_copy_only=False))
    recent = last[(times_us[last] >= replayed.watermark_us - view.events.lateness_us) & ~tie[last]]

    values = online_values(replayed.settings, replayed.project, view, keys[recent].tolist(), times_us[recent])

    assert len(recent) > 1_000
    np.testing.assert_allclose(values, replayed.values(view)[recent], rtol=0, atol=1e-9)
