"""The measured process: one stream worker, told over its standard input when to begin.

    python -m headrace.bench.stream_side '{"home": ..., "project": ..., "warm_us": ..., "end_us": ...}'

It works until ``warm_us``, says ``warm``, waits for a line, then works until ``end_us`` and prints one JSON line.
"""

import json
import os
import sys
import time
from pathlib import Path

from headrace.config import load_settings
from headrace.contracts.topics import keyed_topic
from headrace.kafka_clients import partition_counts
from headrace.spec.project import load_project
from streams.progress import Progress
from streams.worker import StreamWorker, settle_process

__all__: list[str] = []


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    settings, project = load_settings(Path(task["home"])), load_project(task["project"])
    worker = StreamWorker(settings, project, log=task["log"])
    settle_process()
    topics = [keyed_topic(project.name, view.entity).name for view in project.views]
    counts = partition_counts(settings, topics)
    progress, places = Progress(settings.redis.url, project.name), sum(counts[topic] for topic in topics)
    _work(worker, progress, places, task["warm_us"])
    print("warm", flush=True)
    sys.stdin.readline()
    began = (time.perf_counter(), time.process_time())
    _work(worker, progress, places, task["end_us"])
    report = {"seconds": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}
    print(json.dumps(report), flush=True)
    progress.close()
    worker.close()


def _work(worker: StreamWorker, progress: Progress, places: int, until_us: int) -> None:
    """Work until every partition of every view is there; asks Redis once for it, when there is nothing to do."""
    while True:
        if worker.step():
            continue
        reached = [report.watermark_us for report in progress.views()]
        if len(reached) == places and min(reached) >= until_us:
            return


if __name__ == "__main__":
    main()
