"""Owners of source partitions leave word of themselves beside their offset, as much as Kafka takes."""

from collections.abc import Callable
from itertools import count

from headrace.config import Settings
from headrace.contracts.streams import DEAD_LETTER_REASONS
from headrace.kafka_clients import consumer, ensure_topics
from headrace.kafka_sender import Sender
from streams.ownership.tenures import Tenure
from streams.sources.source_commit import claim_sources, write_commits


def test_each_owner_knows_those_before_it(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    topic = fresh_name("claims").replace("_", "-")
    place, clock = (topic, 0), count(1_700_000_000_000_000, 1_000_000)
    ensure_topics(stack, [topic])
    sender = Sender(stack)
    for _ in range(50):
        sender.send(topic, b"{}", partition=0)
    sender.flush()
    client = consumer(stack, fresh_name("group"))
    try:
        for offset in range(40):
            commit, claim = claim_sources(client, [place], stack.kafka.bootstrap, lambda: next(clock))[place]
            assert commit.tenures.every[-1] == Tenure(claim.epoch, max(0, offset - 1))
            commit.offset = offset
            commit.dead = dict.fromkeys(DEAD_LETTER_REASONS, 10**12)
            write_commits(client, [(place, commit)], stack.kafka.bootstrap)
    finally:
        client.close()

    epochs = [owner.epoch for owner in commit.tenures.every]
    assert len(epochs) == 16
    assert epochs == sorted(set(epochs))
    assert commit.tenures.believes(claim.epoch, 49)
    assert not commit.tenures.believes(epochs[-2], 39)
