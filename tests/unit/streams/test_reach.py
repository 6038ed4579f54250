"""How far the others are, as one worker hears it."""

from feature_store.online.redis_online import connect
from headrace.config import Settings
from headrace.contracts.redis_keys import reach_key
from streams.messages.reach import Reach, ReachBoard, foreign_limit_us, newer
from tests.eventually import eventually

A, B = ("events", 0), ("events", 1)
NOTHING_US = -(2**63)


def reach(floor_us: int, *, epoch: int = 1, at_end: bool = False, end_offset: int = 10) -> Reach:
    return Reach(epoch, floor_us, at_end, end_offset)


def test_the_slowest_of_the_others_says_how_far_one_may_go() -> None:
    assert foreign_limit_us([A, B], {A: reach(500), B: reach(200)}, {}, 50) == 250


def test_who_is_at_the_end_holds_nobody_until_the_broker_knows_more() -> None:
    said = {A: reach(500, at_end=True), B: reach(900)}

    assert foreign_limit_us([A, B], said, {A: 10}, 50) == 950
    assert foreign_limit_us([A, B], said, {A: 11}, 50) == 550


def test_a_partition_nobody_has_spoken_of_holds_everybody() -> None:
    assert foreign_limit_us([A, B], {A: reach(500)}, {}, 50) == NOTHING_US


def test_nobody_else_holds_nobody() -> None:
    assert foreign_limit_us([], {A: reach(500)}, {}, 50) == 2**63 - 1


def test_what_a_former_owner_says_is_not_heard() -> None:
    known = {A: reach(100, epoch=8)}

    assert newer(known, {A: reach(500, epoch=7)}) == known
    assert newer(known, {A: reach(90, epoch=9)}) == {A: reach(90, epoch=9)}
    assert newer(known, {A: reach(200, epoch=8)}) == {A: reach(200, epoch=8)}


def test_workers_hear_each_other_through_redis(stack: Settings, fresh_name: object) -> None:
    project = fresh_name("reach")  # type: ignore[operator] # a fixture that makes names
    one, other = ReachBoard(stack.redis.url, project), ReachBoard(stack.redis.url, project)
    try:
        other.listen(wanted=True)
        one.say({A: reach(100)})
        eventually(lambda: other.said == {A: reach(100)}, what="a first word")
        one.say({A: reach(300), B: reach(400)})
        eventually(lambda: other.said == {A: reach(300), B: reach(400)}, what="the next")
        one.say({A: reach(300)})  # B is given up: who still says it would write over the new owner's word
        other.say({B: reach(50, epoch=2)})
        one.listen(wanted=True)
        eventually(lambda: one.said.get(B) == reach(50, epoch=2), what="an answer")
    finally:
        one.close()
        other.close()


def test_what_redis_has_lost_is_said_again_while_others_ask_all_the_time(stack: Settings, fresh_name: object) -> None:
    project = fresh_name("reach")  # type: ignore[operator] # a fixture that makes names
    one, fresh = ReachBoard(stack.redis.url, project), ReachBoard(stack.redis.url, project)
    try:
        fresh.listen(wanted=True)
        one.say({A: reach(100)})
        eventually(lambda: fresh.said, what="a first word")
        with connect(stack.redis.url) as client:
            client.delete(reach_key(project))
        fresh.close()
        fresh = ReachBoard(stack.redis.url, project)
        fresh.listen(wanted=True)

        def asked() -> bool:
            one.look()
            fresh.look()
            return fresh.said == {A: reach(100)}

        eventually(asked, what="it is said again")
    finally:
        one.close()
        fresh.close()
