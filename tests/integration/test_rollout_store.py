"""The rollout store on a real Valkey, and its announcements on a real Kafka."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from headrace.config import Settings
from headrace.contracts.codec import decode
from headrace.contracts.redis_keys import rollout_key
from headrace.contracts.rollout import RolloutChange, RolloutRecord, Stage
from headrace.contracts.topics import DEPLOYMENTS
from headrace.errors import IntegrityError, UnavailableError
from headrace.kafka_clients import end_offsets, read_topic
from headrace.rollout_records import begin_shadow, first_champion
from headrace.rollout_store import RolloutStore, announce


@pytest.fixture
def store(stack: Settings) -> Iterator[RolloutStore]:
    opened = RolloutStore(stack.redis.url)
    yield opened
    opened.close()


def change(record: RolloutRecord, kind: str = "champion") -> RolloutChange:
    return RolloutChange(record=record, kind=kind, evidence={"units": 3, "e": 1.5}, wall_us=1)


def first(model: str) -> RolloutRecord:
    return first_champion(model, "v1", reason="first", by="test", at_us=1)


def shadow(model: str, challenger: str) -> RolloutRecord:
    record = first(model)
    return begin_shadow(record, challenger=challenger, rollout_id="r", salt="s", reason="try", by="test", at_us=2)


def test_a_model_without_a_record_has_none(store: RolloutStore, fresh_name: Callable[[str], str]) -> None:
    model = fresh_name("model")

    assert store.read(model) is None
    assert store.history(model) == []


def test_what_is_written_is_read_back_with_its_history(store: RolloutStore, fresh_name: Callable[[str], str]) -> None:
    model = fresh_name("model")
    changes = [change(first(model)), change(shadow(model, "v2"), "shadow")]

    assert [store.write(item) for item in changes] == [True, True]
    assert store.read(model) == changes[-1].record
    assert store.history(model) == changes
    assert store.history(model, last=1) == changes[-1:]


def test_an_equal_or_smaller_epoch_changes_nothing(store: RolloutStore, fresh_name: Callable[[str], str]) -> None:
    model = fresh_name("model")
    store.write(change(first(model)))
    store.write(change(shadow(model, "v2"), "shadow"))

    assert not store.write(change(shadow(model, "v3"), "shadow"))
    assert not store.write(change(first(model)))
    record = store.read(model)
    assert record is not None
    assert (record.challenger, record.stage) == ("v2", Stage.SHADOW)
    assert len(store.history(model)) == 2


def test_of_many_writers_of_one_epoch_exactly_one_wins(store: RolloutStore, fresh_name: Callable[[str], str]) -> None:
    model = fresh_name("model")
    store.write(change(first(model)))
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: store.write(change(shadow(model, f"v{n}"), "shadow")), range(2, 26)))

    assert sum(won) == 1
    record = store.read(model)
    assert record is not None
    assert record.challenger == f"v{won.index(True) + 2}"


def test_bytes_that_are_no_record_are_refused(stack: Settings, store: RolloutStore, fresh_name: object) -> None:
    assert callable(fresh_name)
    model = fresh_name("model")
    redis.Redis.from_url(stack.redis.url).set(rollout_key(model), b'{"epoch": "many"}')

    with pytest.raises(IntegrityError):
        store.read(model)


def test_a_redis_that_is_away_is_said_so() -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        RolloutStore("redis://127.0.0.1:1/0").read("fraud")


def test_an_announced_change_is_on_the_deployments_topic(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    told = change(first(fresh_name("model")))
    ends = end_offsets(stack, [DEPLOYMENTS.name])  # other tests put garbage on this topic
    announce(stack, told)

    start = {number: end for (_, number), end in ends.items()}
    heard = [decode(message.value(), RolloutChange) for message in read_topic(stack, DEPLOYMENTS.name, start=start)]
    assert told in heard
