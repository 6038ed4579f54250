"""The registry says the same as the record."""

import pytest

from headrace.contracts.rollout import RolloutRecord, Stage
from workflows.rollout_activities import aliases_of


@pytest.mark.parametrize(
    ("stage", "champion", "challenger", "aliases"),
    [
        (Stage.STEADY, "v2", None, ("v2", None, "v1")),
        (Stage.SHADOW, "v2", "v3", ("v2", "v3", "v2")),
        (Stage.CANARY, "v2", "v3", ("v2", "v3", "v2")),
        (Stage.PROBATION, "v2", "v1", ("v2", None, "v1")),
    ],
)
def test_aliases_say_what_the_record_says(
    stage: Stage, champion: str, challenger: str | None, aliases: tuple[str | None, ...]
) -> None:
    before = RolloutRecord(model="m", epoch=1, stage=Stage.STEADY, champion="v1")
    record = RolloutRecord(model="m", epoch=2, stage=stage, champion=champion, challenger=challenger, previous=before)

    assert tuple(aliases_of(record).values()) == aliases
