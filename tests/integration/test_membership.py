"""A member of a group that is fenced joins anew; of two that share a name one gives way."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from headrace.config import Settings
from headrace.errors import RejectedError
from headrace.kafka_clients import consumer, ensure_topics
from streams.messages.message_runs import Place
from streams.ownership.membership import ChangeKind, Membership
from tests.eventually import eventually

PARTITIONS = 4


class Owner:
    """Does what a worker does with the changes of its member, and says which of its partitions it has."""

    def __init__(self, member: Membership) -> None:
        self.member = member
        self.owned: set[Place] = set()
        self.lost = 0

    def follow(self) -> None:
        for change in self.member.changes():
            if change.kind is ChangeKind.GAINED:
                self.owned |= change.places
                continue
            self.owned -= change.places
            self.lost += change.kind is ChangeKind.LOST
            change.done.set()

    def has_all(self) -> bool:
        self.follow()
        return len(self.owned) == PARTITIONS


@contextmanager
def owner_of(settings: Settings, group: str, topic: str) -> Iterator[Owner]:
    with closing(Membership(settings, group, [topic], name="worker")) as member:
        yield Owner(member)


def test_a_member_that_is_fenced_joins_anew(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    settings, group, topic = brief(stack), fresh_name("group"), fresh_name("fenced").replace("_", "-")
    ensure_topics(settings, [topic])
    with owner_of(settings, group, topic) as owner:
        eventually(owner.has_all, what="the member has everything")
        # As after a broker was killed while members joined: it takes somebody else for this one.
        with closing(consumer(settings, group, config={"group.instance.id": "worker"})) as other:
            other.subscribe([topic])
            eventually(lambda: other.poll(0) or other.assignment(), what="the broker knows another of this name")
        eventually(lambda: owner.has_all() and owner.lost, timeout_s=30, what="the member is back")
        asked = owner.member.ask(lambda client: client.memberid())
        assert asked.result(10)


def test_of_two_that_share_a_name_one_gives_way(stack: Settings, fresh_name: Callable[[str], str]) -> None:
    settings, group, topic = brief(stack), fresh_name("group"), fresh_name("twins").replace("_", "-")
    ensure_topics(settings, [topic])
    with owner_of(settings, group, topic) as first, owner_of(settings, group, topic) as second:
        refused: dict[int, str] = {}

        def one_is_refused() -> bool:
            for number, owner in enumerate((first, second)):
                try:
                    owner.follow()
                except RejectedError as error:
                    refused[number] = str(error)
            return bool(refused)

        eventually(one_is_refused, timeout_s=60, what="one of them hears why")
        ((number, why),) = refused.items()
        assert "two workers run with one name" in why
        eventually((second, first)[number].has_all, timeout_s=60, what="the other has everything")


def brief(settings: Settings) -> Settings:
    """A group that gives its members up soon."""
    return replace(settings, stream=replace(settings.stream, session_timeout_s=1.5))
