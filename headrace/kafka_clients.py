"""The only place that makes Kafka clients, asks brokers about topics, and turns their errors into ours.

Producing has a file of its own, :mod:`headrace.kafka_sender`.

Every client reads the optional ``settings.kafka.client_config`` file (TLS, SASL …). librdkafka prints about twenty
lines a second to stderr while a broker is away; here that becomes one warning per half minute.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from headrace.config import Settings
from headrace.contracts.topics import Topic
from headrace.errors import ConfigError, HeadraceError, UnavailableError
from headrace.logging import get_logger

__all__ = [
    "admin_client",
    "check_broker",
    "check_passing",
    "consumer",
    "end_offsets",
    "ensure_topics",
    "latest_offsets",
    "make_client",
    "partition_counts",
    "patiently",
    "read_topic",
    "take",
    "translate",
    "watermarks",
]

ANSWER_S = 10.0
"""Longest wait for an answer about metadata, offsets or topics."""
_FIRST_ANSWER_S = 5.0
"""Longest wait for a broker that may not be there at all."""
_ASK_AGAIN_S = 0.02
_WARN_EVERY_S = 30.0


def consumer(settings: Settings, group: str, *, from_end: bool = False, config: Mapping[str, Any] | None = None) -> Any:
    """A ``confluent_kafka.Consumer`` with manual offsets and short fetch waits.

    Args:
        settings: where the broker is.
        group: consumer group; used for committed offsets even when partitions are assigned by hand.
        from_end: start at the end where nothing is committed; the default is the beginning.
        config: more librdkafka settings.
    """
    base = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "latest" if from_end else "earliest",
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": 10,
        # A partition whose local queue was full is otherwise left alone for a second.
        "fetch.queue.backoff.ms": 5,
        "session.timeout.ms": 10_000,
        "partition.assignment.strategy": "cooperative-sticky",
        "allow.auto.create.topics": False,
    }
    return make_client(Consumer, settings, {**base, **(config or {})})


def take(client: Any, count: int, timeout_s: float, bootstrap: str) -> list[Any]:
    """Up to ``count`` messages, errors raised as ours; end-of-partition marks are left in the list.

    Raises:
        UnavailableError: the broker refused; a broker that is merely away is waited for.
    """
    try:
        messages = client.consume(count, timeout_s)
    except KafkaException as error:
        raise translate(error, bootstrap) from error
    kept = []
    for message in messages:
        trouble = message.error()
        if trouble is None or trouble.code() == KafkaError._PARTITION_EOF:
            kept.append(message)
        else:
            check_passing(trouble, bootstrap)
    return kept


def check_passing(trouble: KafkaError, bootstrap: str) -> None:
    """Return when a consumer recovers from this error by itself.

    Raises:
        UnavailableError: it does not.
    """
    if not (trouble.retriable() or trouble.code() in _PASSING):
        raise translate(trouble, bootstrap)


def watermarks(client: Any, topic: str, partition: int, bootstrap: str) -> tuple[int, int]:
    """First offset and the offset after the last message of a partition, asked of the broker.

    Raises:
        UnavailableError: the broker does not answer.
    """
    first, end = patiently(lambda: client.get_watermark_offsets(TopicPartition(topic, partition), ANSWER_S), bootstrap)
    return int(first), int(end)


def patiently(call: Callable[[], Any], bootstrap: str) -> Any:
    """Ask the broker again while it elects leaders or loads its coordinator, as just after a topic was made.

    Raises:
        UnavailableError: it was not ready in ``ANSWER_S``, or refused.
    """
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            return call()
        except KafkaException as error:
            trouble = error.args[0]
            passing = trouble.retriable() or trouble.code() in _SETTLING
            if not passing or time.monotonic() > deadline:
                raise translate(error, bootstrap) from error
            time.sleep(_SETTLE_PAUSE_S)


def latest_offsets(
    settings: Settings, admin: Any, places: Collection[tuple[str, int]], *, timeout_s: float = ANSWER_S
) -> dict[tuple[str, int], int]:
    """Offset after the last message of each (topic, partition), in one request.

    Args:
        settings: where the broker is.
        admin: made by :func:`admin_client`.
        places: which partitions.
        timeout_s: longest wait for the answer.

    Raises:
        UnavailableError: the broker does not answer.
    """
    asked = {TopicPartition(topic, number): OffsetSpec.latest() for topic, number in places}
    try:
        answers = admin.list_offsets(asked, request_timeout=timeout_s)
        return {(place.topic, place.partition): int(answer.result().offset) for place, answer in answers.items()}
    except KafkaException as error:
        if error.args[0].code() in _LEADER_KNOWN_WRONGLY:
            # After a broker restarted. An admin client would go on with the leaders it remembers for a quarter of an
            # hour; asking for topics makes it forget them.
            with contextlib.suppress(KafkaException):
                for topic in {topic for topic, _ in places}:
                    admin.list_topics(topic, timeout=timeout_s)
        raise translate(error, settings.kafka.bootstrap) from error


def admin_client(settings: Settings) -> Any:
    """An ``AdminClient``."""
    return make_client(AdminClient, settings, {})


def check_broker(settings: Settings) -> None:
    """Return when the broker answers.

    Raises:
        UnavailableError: it does not, said in one sentence.
    """
    _metadata(settings)


def partition_counts(settings: Settings, topics: Sequence[str]) -> dict[str, int]:
    """Partitions of each topic that exists."""
    known = _metadata(settings).topics
    return {name: len(known[name].partitions) for name in topics if name in known}


def ensure_topics(settings: Settings, topics: Iterable[Topic | str]) -> None:
    """Create the topics that do not exist yet; existing ones stay as they are.

    A plain name gets the configured number of partitions.

    Raises:
        UnavailableError: the broker does not answer, or a new topic gets no leader.
        ConfigError: it refuses a topic.
    """
    wanted = {item if isinstance(item, str) else item.name: item for item in topics}
    known = _metadata(settings).topics
    new = []
    for name, item in wanted.items():
        if name in known:
            continue
        partitions = None if isinstance(item, str) else item.partitions
        config = {"cleanup.policy": "compact"} if isinstance(item, Topic) and item.compacted else {}
        # A replay carries message times years back; time-based retention would delete its segments at once.
        config["retention.ms"] = "-1"
        new.append(NewTopic(name, partitions or settings.kafka.partitions, 1, config=config))
    if not new:
        return
    admin = admin_client(settings)
    for name, future in admin.create_topics(new, operation_timeout=ANSWER_S).items():
        try:
            future.result(ANSWER_S + 5)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            raise ConfigError(f"topic {name!r} cannot be created: {error.args[0].str()}") from error
    _wait_for_leaders(settings, [topic.topic for topic in new])


def end_offsets(settings: Settings, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Offset after the last message of every partition of the topics.

    Raises:
        UnavailableError: the broker does not answer.
    """
    places = [(topic, n) for topic, count in partition_counts(settings, topics).items() for n in range(count)]
    return latest_offsets(settings, admin_client(settings), places) if places else {}


def read_topic(
    settings: Settings,
    topic: str,
    *,
    start: Mapping[int, int] | None = None,
    only: Collection[int] | None = None,
) -> Iterator[Any]:
    """Every message of a topic up to its present end.

    Args:
        settings: where the broker is.
        topic: its name.
        start: partition -> first offset; the beginning when absent.
        only: read these partitions; all when absent.
    """
    ends = {
        number: end for (_, number), end in end_offsets(settings, [topic]).items() if only is None or number in only
    }
    client = consumer(settings, "headrace.reader", config={"enable.partition.eof": True})
    try:
        given = start or {}
        left = {number for number, end in ends.items() if end > given.get(number, 0)}
        client.assign([TopicPartition(topic, number, given.get(number, 0)) for number in sorted(left)])
        while left:
            for message in take(client, 500, 1.0, settings.kafka.bootstrap):
                number = message.partition()
                if message.error() is not None:
                    left.discard(number)
                elif message.offset() < ends[number]:
                    yield message
                    if message.offset() == ends[number] - 1:
                        left.discard(number)
    finally:
        client.close()


def translate(error: Exception, bootstrap: str) -> HeadraceError:
    """One of ours for an error of the client library."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    if not isinstance(cause, KafkaError):
        return ConfigError(f"Kafka client: {cause}", hint="correct the file named by kafka.client_config")
    if cause.code() in _AWAY:
        return UnavailableError(
            f"Kafka at {bootstrap} does not answer ({cause.str()})",
            hint="start the embedded stack with `headrace up`, or set kafka.bootstrap to a running broker",
        )
    if cause.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError.SASL_AUTHENTICATION_FAILED):
        return ConfigError(
            f"Kafka at {bootstrap} refuses these credentials: {cause.str()}",
            hint="correct the file named by kafka.client_config",
        )
    return UnavailableError(f"Kafka at {bootstrap}: {cause.name()}: {cause.str()}")


_LEADER_KNOWN_WRONGLY = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)
_AWAY = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._RESOLVE,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
    }
)
_SETTLING = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._WAIT_COORD,
}
"""Answers of a broker that has just made a topic or just started."""
_SETTLE_PAUSE_S = 0.1
_PASSING = _AWAY | {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR}
"""Errors a consumer recovers from by itself."""


def make_client(kind: Callable[[dict[str, Any]], Any], settings: Settings, config: dict[str, Any]) -> Any:
    """A client of the library with our defaults, ``config`` over them and the user's file over both.

    Raises:
        ConfigError: a setting in that file is wrong.
    """
    merged = {
        "bootstrap.servers": settings.kafka.bootstrap,
        "client.id": "headrace",
        "socket.keepalive.enable": True,
        "topic.metadata.refresh.interval.ms": 30_000,
        "reconnect.backoff.max.ms": 1_000,
        "log_level": 0,
        "error_cb": _ErrorLog(settings.kafka.bootstrap),
        **config,
        **_client_config(settings.kafka.client_config),
    }
    try:
        return kind(merged)
    except KafkaException as error:
        raise ConfigError(
            f"Kafka client: {error.args[0].str()}", hint="correct the file named by kafka.client_config"
        ) from error


class _ErrorLog:
    """Says once per half minute that a broker is away."""

    def __init__(self, bootstrap: str) -> None:
        self._log = get_logger(__name__, bootstrap=bootstrap)
        self._quiet_until = 0.0

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _WARN_EVERY_S
            self._log.warning("kafka client in trouble", error=error.str())


def _client_config(path: str) -> dict[str, str]:
    if not path:
        return {}
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"kafka.client_config {path!r} cannot be read: {error.strerror}") from error
    values = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{path} line {number} is no key=value")
        values[name.strip()] = value.strip()
    return values


def _wait_for_leaders(settings: Settings, topics: Sequence[str]) -> None:
    """A topic that was just created is known to a broker's metadata a moment later."""
    deadline_s = time.monotonic() + ANSWER_S
    missing: list[str] = list(topics)
    while missing:
        known = _metadata(settings).topics
        missing = [name for name in missing if name not in known or not _is_led(known[name])]
        if missing and time.monotonic() > deadline_s:
            raise UnavailableError(
                f"topic {missing[0]!r} was created and has no leader after {ANSWER_S:g} s",
                hint="look at the broker's log; then try again",
            )
        if missing:
            time.sleep(_ASK_AGAIN_S)


def _is_led(topic: Any) -> bool:
    return bool(topic.partitions) and all(part.leader >= 0 for part in topic.partitions.values())


def _metadata(settings: Settings) -> Any:
    admin = admin_client(settings)
    try:
        return admin.list_topics(timeout=_FIRST_ANSWER_S)
    except KafkaException as error:
        raise translate(error, settings.kafka.bootstrap) from error
