"""The measured process: one stream worker, told over its standard input when to begin.

    python -m headrace.bench.stream_side '{"home": ..., "project": ..., "warm_us": ..., "end_us": ...}'

It works until ``warm_us``, says ``warm``, waits for a line, then works until ``end_us`` and prints one JSON line.
"""

import json
import os
import sys
import time
from pathlib import Path

from headrace.config import Settings, load_settings
from headrace.errors import UnavailableError
from headrace.spec.project import Project, load_project
from streams.progress import wait_applied
from streams.worker import StreamWorker, settle_process

__all__: list[str] = []


def main() -> None:
    task = json.loads(sys.argv[1])
    os.sched_setaffinity(0, task["cores"])
    settings, project = load_settings(Path(task["home"])), load_project(task["project"])
    worker = StreamWorker(settings, project, log=task["log"])
    settle_process()
    _work(worker, settings, project, task["warm_us"])
    print("warm", flush=True)
    sys.stdin.readline()
    began = (time.perf_counter(), time.process_time())
    _work(worker, settings, project, task["end_us"])
    report = {"seconds": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}
    print(json.dumps(report), flush=True)
    worker.close()


def _work(worker: StreamWorker, settings: Settings, project: Project, until_us: int) -> None:
    while True:
        if worker.step():
            continue
        try:
            wait_applied(settings, project, watermark_us=until_us, timeout_s=0)
            return
        except UnavailableError:
            continue


if __name__ == "__main__":
    main()
