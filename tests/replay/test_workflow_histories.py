"""Histories of real runs still replay: a change of a definition that would break running workflows shows here.

A wanted break is recorded anew with ``python -m tests.replay.record``.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from workflows.worker import WORKFLOWS

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))


@workflow.defn(name="Retrain")
class Impatient:
    """What a careless change of Retrain would be: it waits where it used to call an activity."""

    @workflow.run
    async def run(self, start: Any) -> None:
        await workflow.sleep(1)


def history_of(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(path.stem, path.read_text(encoding="utf-8"))


def test_there_are_histories_of_every_workflow() -> None:
    assert {path.stem.split("-")[0] for path in HISTORIES} == {"controller", "retrain", "rollout"}


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_recorded_history_replays(path: Path) -> None:
    asyncio.run(Replayer(workflows=WORKFLOWS).replay_workflow(history_of(path)))


def test_a_careless_change_is_noticed() -> None:
    path = next(path for path in HISTORIES if path.stem == "retrain-accepted")

    with pytest.raises(NondeterminismError):
        asyncio.run(Replayer(workflows=[Impatient]).replay_workflow(history_of(path)))
