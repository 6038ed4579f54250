"""Two versions of a view side by side in both stores and for any Feast client; then the old one goes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feature_store.definitions.applied_views import read_applied
from feature_store.definitions.feast_registry import FeastRegistry, open_feast
from feature_store.offline.offline_log import log_folder, segments_below
from headrace.cli.main import main
from headrace.config import Settings
from headrace.errors import RejectedError, UnavailableError
from headrace.spec.project import Project
from streams.backfill.backfill_run import run_backfill
from streams.progress import Progress, wait_applied
from streams.worker import StreamWorker
from tests.eventually import eventually
from tests.integration.test_stream_backfill import check, until, with_view
from tests.stream_world import DEFINITIONS, Traffic, make_project, make_traffic, online_values, publish

_V2 = """
card_use_v2 = FeatureView(
    "card_use_v2", entity="card", source=sales, closed="right",
    features=[count().over("1h", "2h"), sum("eur").over("6h")],
)
"""


def work(
    settings: Settings, project: Project, ends: dict[tuple[str, int], int], traffic: Traffic | None = None
) -> None:
    """A worker that reads to the ends (of all traffic: refreshes every row, too), saves and leaves."""
    worker = StreamWorker(settings, project)
    newest_us = max(row["us"] for row in traffic.clean.values()) if traffic else None

    def seen() -> bool:
        worker.step()
        try:
            wait_applied(settings, project, offsets=ends, watermark_us=newest_us, timeout_s=0)
        except UnavailableError:
            return False
        return True

    eventually(seen, timeout_s=90, what="the worker applies everything")
    worker.stop()
    worker.run()


def start_and_stop(settings: Settings, project: Project) -> None:
    """A worker that accepts the definitions and finds nothing to do."""
    worker = StreamWorker(settings, project)
    worker.step()
    worker.stop()
    worker.run()


@pytest.mark.slow
def test_two_versions_are_read_side_by_side_until_the_old_one_is_retired(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = fresh_name("versions").replace("_", "-")
    project = make_project(tmp_path / fresh_name("versions"), stream)
    text, traffic = DEFINITIONS.format(stream=stream, form="Json()"), make_traffic(1_500, seed=4)
    middle_us = traffic.events[len(traffic.events) // 2].arrival_us
    work(stack, project, publish(stack, project, until(traffic, middle_us, after=False)))

    both = with_view(project, text + _V2)
    start_and_stop(stack, both)
    outcome = run_backfill(stack, both, both.view("card_use_v2"))
    assert outcome.is_live
    assert outcome.feature_rows > 500
    work(stack, both, publish(stack, both, until(traffic, middle_us, after=True)), traffic)
    for view in ("card_use", "card_use_v2", "shop_risk"):
        check(stack, both, traffic, view)
    _check_feast(stack, both, traffic)

    alone = with_view(
        project, text.replace("card_use = ", "card_use_x = ").replace('"card_use"', '"card_use_v3"') + _V2
    )
    start_and_stop(stack, alone)
    monkeypatch.setenv("HEADRACE_HOME", str(stack.home))
    monkeypatch.delenv("HEADRACE_TEST_HOME", raising=False)
    assert main(["features", "retire", "card_use", "--project", str(project.path)]) == 0
    _check_gone(stack, both, traffic)
    check(stack, both, traffic, "card_use_v2")


@pytest.mark.slow
def test_a_definition_replaced_in_place_answers_with_the_new_one_only(
    stack: Settings, fresh_name: Callable[[str], str], tmp_path: Path
) -> None:
    stream = fresh_name("replaced").replace("_", "-")
    project = make_project(tmp_path / fresh_name("replaced"), stream)
    text, traffic = DEFINITIONS.format(stream=stream, form="Json()"), make_traffic(1_500, seed=6)
    middle_us = traffic.events[len(traffic.events) // 2].arrival_us
    work(stack, project, publish(stack, project, until(traffic, middle_us, after=False)))

    changed = with_view(project, text.replace('count().over("1h", "6h")', 'count().over("1h", "5h")'))
    start_and_stop(stack, changed)
    with pytest.raises(RejectedError, match="rows of another definition"):
        run_backfill(stack, changed, changed.view("card_use"))
    assert run_backfill(stack, changed, changed.view("card_use"), replace=True).is_live
    work(stack, changed, publish(stack, changed, until(traffic, middle_us, after=True)), traffic)

    for view in ("card_use", "shop_risk"):
        check(stack, changed, traffic, view)


def _check_feast(settings: Settings, project: Project, traffic: Traffic) -> None:
    """Feast's own client reads both, and what it reads is what we read."""
    FeastRegistry(settings, project).apply()
    cards = sorted({row["card"] for row in traffic.clean.values()})[:7]
    names = ["card_use:count_6h", "card_use_v2:count_2h", "card_use_v2:sum_eur_6h"]
    store = open_feast(settings, project.name)
    answer = store.get_online_features(names, [{"card": card} for card in cards], full_feature_names=True).to_dict()
    for name in ("card_use", "card_use_v2"):
        view = project.view(name)
        stored = online_values(settings, project, view, cards, None)
        for feature in (one.partition(":")[2] for one in names if one.startswith(f"{name}:")):
            column = stored[:, view.feature_names.index(feature)]
            assert answer[f"{name}__{feature}"] == [None if np.isnan(value) else value for value in column]


def _check_gone(settings: Settings, project: Project, traffic: Traffic) -> None:
    view = project.view("card_use")
    cards = sorted({row["card"] for row in traffic.clean.values()})
    applied = read_applied(settings, project.name)
    progress = Progress(settings.redis.url, project.name)
    reported = {report.view for report in progress.views()}
    progress.close()

    assert np.isnan(online_values(settings, project, view, cards, None)).all()
    assert not segments_below(log_folder(settings.offline_dir, project.name, "features", "card_use"))
    assert not (settings.state_dir / project.name / "views" / "card_use").exists()
    assert applied is not None
    assert "card_use" not in applied.views
    assert "card_use" not in reported
    assert "card_use" not in {known.name for known in open_feast(settings, project.name).list_feature_views()}
