"""A peer's process: the loop a careful user writes around confluent-kafka, on the same topic and the same Redis.

    python -m headrace.bench.loop_side '{"warm": 20000, "measured": 40000, ...}'

Messages decoded into their types, deques, and one pipeline of the keys that ten thousand events touched. Prints one
JSON line and ends when it has seen enough events.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import Consumer

from headrace.bench.hand_made import HandMade, decode

__all__: list[str] = []

_MESSAGES = 100
"""Of one call: of more the objects leave the caches before they are read, and each costs twice as much."""
_FLUSH_EVENTS = 10_000
_WAIT_S = 1.0


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    consumer = Consumer(
        {
            "bootstrap.servers": task["bootstrap"],
            "group.id": task["group"],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([task["events"]])
    features = HandMade(task["redis"], task["group"], flush_events=_FLUSH_EVENTS)
    events = _events(consumer)
    _work(events, features, task["warm"])
    began = (time.perf_counter(), time.process_time())
    _work(events, features, task["measured"])
    report = {"seconds": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}
    print(json.dumps(report), flush=True)
    consumer.close()


def _events(consumer: Any) -> Iterator[bytes]:
    """Values of messages, for ever."""
    while True:
        for message in consumer.consume(_MESSAGES, _WAIT_S):
            value = message.value()
            if message.error() is None and value:
                yield value


def _work(events: Iterator[bytes], features: HandMade, number: int) -> None:
    for _ in range(number):
        features.event(decode(next(events)))
    features.flush()


if __name__ == "__main__":
    main()
