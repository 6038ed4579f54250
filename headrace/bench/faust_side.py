"""The peer's process: a Faust agent on the same topics, the same broker and the same Redis.

    python -m headrace.bench.faust_side '{"warm": 20000, "measured": 40000, ...}'

Prints one JSON line and ends when it has seen enough events.
"""

import json
import logging
import os
import sys
import time
from typing import Any

import faust

from headrace.bench.hand_made import HandMade, decode

__all__ = ["build_app"]

_FLUSH_EVENTS = 1_000


def build_app(task: dict[str, Any]) -> Any:
    """The app; ``task`` is written by headrace.bench.stream_bench."""
    for talkative in ("faust", "mode"):
        logging.getLogger(talkative).setLevel(logging.ERROR)
    app = faust.App(
        task["group"],
        broker=f"kafka://{task['bootstrap']}",
        store="memory://",
        datadir=task["datadir"],
        web_enabled=False,
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
    )
    features = HandMade(task["redis"], task["group"], flush_events=_FLUSH_EVENTS)

    def topic(name: str) -> Any:
        return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def event(stream: Any) -> None:
        seen, began = 0, (0.0, 0.0)
        async for value in stream:
            if not value:
                continue
            if seen == task["warm"]:
                began = (time.perf_counter(), time.process_time())
            features.event(decode(value))
            seen += 1
            if seen == task["warm"] + task["measured"]:
                features.flush()
                report = {"seconds": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}
                print(json.dumps(report), flush=True)
                os._exit(0)  # a worker would first leave its group, for seconds, and nobody reads its offsets

    app.agent(topic(task["events"]), name="events")(event)
    return app


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    app = build_app(task)
    worker = faust.Worker(app, loglevel="ERROR", redirect_stdouts=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
