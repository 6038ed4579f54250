"""The whole life of a controller on a real Temporal server and a real Valkey; data and training are scripted."""

from collections.abc import Callable, Iterator

import pytest

from headrace.config import Settings
from headrace.contracts.rollout import RolloutChange, Stage
from headrace.rollout_records import begin_shadow, rollback
from tests.eventually import eventually
from tests.integration.workflow_world import BROKEN, DAY_US, FLOOD, GOOD, NOON_US, UNJUDGEABLE, Script, World

Make = Callable[..., World]


@pytest.fixture
def make_world(stack: Settings, fresh_name: Callable[[str], str]) -> Iterator[Make]:
    """Worlds that are closed at the end."""
    worlds: list[World] = []

    def make(**script: object) -> World:
        world = World(stack, fresh_name("model"), Script(**{"gates": [True], **script}))
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


def test_a_first_model_that_passes_goes_straight_into_service(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    state = world.state()

    assert world.kinds() == ["champion"]
    assert (state.champion, state.stage, state.retrains, state.rollouts) == ("v1", "steady", 1, 0)
    assert world.record().epoch == 1
    assert world.activities.aliases == {"champion": "v1", "challenger": None, "last-known-good": "v1"}
    assert [change.kind for change in world.activities.announced] == ["champion"]


def test_drift_ends_in_a_promoted_model(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    state = world.drift()
    assert (state.phase, state.stage, state.challenger) == ("rolling_out", "shadow", "v2")

    stages = [(world.day(GOOD).stage, world.record().share) for _ in range(6)]

    assert stages == [
        ("canary", 0.05),
        ("canary", 0.25),
        ("probation", 0.0),
        ("probation", 0.0),
        ("probation", 0.0),
        ("steady", 0.0),
    ]
    state = world.state()
    assert world.kinds() == ["champion", "shadow", "canary", "canary", "promote", "resolve"]
    assert (state.champion, state.promotions, state.rollbacks, state.phase) == ("v2", 1, 0, "cooling")
    assert world.activities.aliases == {"champion": "v2", "challenger": None, "last-known-good": "v1"}
    promoted = world.store.history(world.model)[4]
    assert promoted.evidence["total"]["units"] == GOOD.units
    assert len(promoted.evidence["guardrails"]) == 4


def test_refused_candidates_lengthen_the_rest(make_world: Make) -> None:
    world = make_world(gates=[True, False])
    world.first_model()
    rests = []
    for _ in range(3):
        state = world.drift()
        rests.append((state.cool_until_us - state.at_us) // DAY_US)
        world.days(int(rests[-1]))

    assert rests == [4, 6, 6], "two days, doubled by each refusal, six at most"
    assert world.state().rejected == 3
    assert world.kinds() == ["champion"]
    assert [request.accepted for name, request in world.activities.calls if name == "register"] == [True] + [False] * 3


def test_a_cause_that_comes_while_resting_is_served_afterwards(make_world: Make) -> None:
    world = make_world(gates=[True, False])
    world.first_model()
    world.drift()
    for _ in range(3):
        state = world.day(requests_retrain=True, causes=("quality",))
        assert (state.phase, state.retrains, state.pending) == ("cooling", 2, ("quality",))

    state = world.day(requests_retrain=True, causes=("quality",))

    assert (state.retrains, state.pending) == (3, ())
    assert "quality" in " ".join(state.history)


def test_too_few_labels_end_a_run_without_punishment(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.activities.script.labels = False
    state = world.drift()

    assert (state.retrains, state.rejected) == (2, 0)
    assert state.cool_until_us - state.at_us == 2 * DAY_US
    assert "12 positive labels of 30" in state.history[-1]


@pytest.mark.parametrize("days_of_good", [0, 1, 3], ids=["shadow", "canary", "probation"])
def test_harm_rolls_back_at_once_from_every_stage(make_world: Make, days_of_good: int) -> None:
    world = make_world()
    world.first_model()
    world.drift()
    for _ in range(days_of_good):
        world.day(GOOD)
    before = world.record()
    state = world.day(FLOOD)

    record = world.record()
    assert (record.stage, record.champion, record.epoch) == (Stage.STEADY, "v1", before.epoch + 1)
    assert (state.rollbacks, state.champion) == (1, "v1")
    assert state.cool_until_us - state.at_us == 4 * DAY_US, "traffic's refusal counts like a gate's"
    assert "harm" in record.reason
    assert world.activities.aliases["champion"] == "v1"


def test_failing_scores_roll_back_without_statistics(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.drift()
    world.day(BROKEN)

    assert "missing or not finite" in world.record().reason


@pytest.mark.parametrize("arm", [None, UNJUDGEABLE], ids=["silence", "no flags"])
def test_what_cannot_be_judged_never_promotes_and_ends_at_the_deadline(make_world: Make, arm: object) -> None:
    world = make_world()
    world.first_model()
    world.drift()
    stages = [world.day(arm).stage for _ in range(4)]

    assert stages == ["shadow"] * 3 + ["steady"]
    assert world.record().champion == "v1"
    assert "could not be judged" in world.record().reason


def test_an_override_skips_the_gates_and_is_still_watched(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.command("override", version="v9", reason="I know better")
    eventually(lambda: world.record().stage is Stage.SHADOW)
    world.day(GOOD)
    assert (world.record().stage, world.record().challenger) == (Stage.CANARY, "v9")

    state = world.day(FLOOD)

    assert world.kinds() == ["champion", "override", "canary", "rollback"]
    assert (state.champion, state.rollbacks) == ("v1", 1)
    assert state.cool_until_us - state.at_us == 2 * DAY_US, "a person's mistake does not slow the next retraining"


def test_a_person_can_step_ahead_pause_and_go_back(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.drift()
    world.command("promote", reason="skip shadow")
    eventually(lambda: world.record().stage is Stage.CANARY)
    world.command("pause")
    eventually(lambda: "pause" in str(world.state().history) or world.record().stage is Stage.CANARY)
    world.day(GOOD)
    assert world.day(GOOD).stage == "canary", "paused: time and evidence alone do not promote"
    world.command("resume")
    assert world.day(GOOD).stage == "canary"
    assert world.record().share == 0.25
    world.command("rollback", reason="enough")
    eventually(lambda: world.record().stage is Stage.STEADY)

    assert world.record().written_by == "anna"
    assert world.record().champion == "v1"
    eventually(lambda: world.state().rollbacks == 1)


def test_a_person_can_go_back_after_everything_is_over(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.drift()
    for _ in range(6):
        world.day(GOOD)
    assert world.record().champion == "v2"
    world.command("rollback", reason="customers complain")
    eventually(lambda: world.record().champion == "v1")
    world.command("rollback", reason="again")
    eventually(lambda: "refused rollback" in str(world.state().history))

    assert world.record().stage is Stage.STEADY
    assert world.state().champion == "v1"


def test_an_open_data_incident_blocks_even_a_person(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.days(2)
    world.command("retrain", reason="please")
    state = world.day(requests_retrain=True, causes=("drift",), blocks_retrain=True)
    before = state.retrains
    state = world.day(blocks_retrain=True)
    assert (state.phase, state.retrains) == ("blocked", before)

    state = world.day()

    assert state.retrains == before + 1


def test_a_rollback_by_serving_is_followed(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.drift()
    world.day(GOOD)
    record = world.record()
    back = rollback(record, reason="v2 tripped: 3 exceptions in a row", by="serving", at_us=record.at_us)
    assert world.store.write(RolloutChange(record=back, kind="rollback", evidence={}, wall_us=0))
    state = world.day(tripped="3 exceptions in a row")

    assert (state.phase, state.champion, state.rollbacks) == ("cooling", "v1", 1)
    assert world.record() == back, "nothing is written over it"
    assert world.activities.aliases["champion"] == "v1"
    assert "3 exceptions" in str(state.history)


def test_a_trial_begun_by_hand_is_watched_from_the_next_look_on(make_world: Make) -> None:
    """As people may do while Temporal is away; the controller finds it when it reads the record."""
    world = make_world()
    world.first_model()
    world.days(3)
    by_hand = begin_shadow(
        world.record(), challenger="v9", rollout_id="by-hand", salt="x", reason="try", by="anna", at_us=NOON_US
    )
    assert world.store.write(RolloutChange(record=by_hand, kind="shadow", evidence={}, wall_us=0))
    world.command("override", version="v8")
    state = world.until("rolling_out")
    assert "found shadow of v9" in str(state.history)

    state = world.day(FLOOD)

    assert (state.rollbacks, state.champion, state.stage) == (1, "v1", "steady")


def test_without_a_way_back_nothing_begins(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.activities.script.way_back = False
    state = world.drift()

    assert world.kinds() == ["champion"]
    assert state.phase == "cooling"
    assert "weights of v1 are gone" in state.history[-1]


def test_a_window_told_many_times_counts_once(make_world: Make) -> None:
    world = make_world(gates=[True, False])
    world.first_model()
    state = world.drift()
    for _ in range(20):
        world.send(state.settled_window, requests_retrain=True, causes=("drift in tx_amount",), incident="i1")
    world.days(5)
    state = world.day()

    assert (state.retrains, state.pending) == (2, ())


def test_an_alert_storm_becomes_one_run(make_world: Make) -> None:
    world = make_world(gates=[True, False])
    world.first_model()
    first = world.days(2).settled_window + 1
    for number in range(30):
        at_us = NOON_US + first * DAY_US + number
        world.send(first + number, at_us=at_us, requests_retrain=True, causes=(f"drift in f{number}",))
    state = world.settled(first + 29)

    assert state.retrains == 2


def test_a_candidate_waits_for_approval_and_may_be_declined(make_world: Make) -> None:
    world = make_world(approval=True)
    world.first_model()
    state = world.drift()
    assert state.phase == "awaiting_approval"
    world.command("decline", reason="not this week")
    world.until("cooling")
    assert world.kinds() == ["champion"]
    world.command("retrain", reason="again")
    world.until("awaiting_approval")
    world.command("approve", reason="looks good")
    world.until("rolling_out")
    eventually(lambda: world.record().stage is Stage.SHADOW)

    assert world.record().written_by == "anna"


def test_nobody_approving_is_declining(make_world: Make) -> None:
    world = make_world(approval=True)
    world.first_model()
    world.drift()
    state = world.days(4)

    assert state.phase in ("idle", "cooling")
    assert "declined" in str(state.history)


def test_the_page_in_temporal_says_where_it_stands(make_world: Make) -> None:
    world = make_world()
    world.first_model()
    world.drift()

    async def describe(workflow_id: str) -> tuple[dict[str, object], dict[str, object]]:
        described = await world.client.get_workflow_handle(workflow_id).describe()
        return {pair.key.name: pair.value for pair in described.typed_search_attributes}, dict(await described.memo())

    attributes, memo = world.wait(describe(f"model/{world.model}"))
    assert (attributes["ModelName"], attributes["Stage"]) == (world.model, "rolling_out")
    assert memo == {"controller": f"http://ui/{world.model}"}
    attributes, memo = world.wait(describe(f"retrain/{world.model}/2"))
    assert (attributes["Reason"], attributes["Stage"]) == ("drift in tx_amount", "register")
    assert memo["reason"] == "drift in tx_amount"
    attributes, _ = world.wait(describe(f"rollout/{world.model}/{world.record().rollout_id}"))
    assert (attributes["ModelName"], attributes["Stage"]) == (world.model, "shadow")
