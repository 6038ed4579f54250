"""Buckets of entities answered on a Ray cluster: the same function as here, on whatever machine has a core free.

Rows travel with the task and answers come back with it, so machines share no disk; each needs headrace and the
project's folder at the same path. Ray is an extra: ``pip install headrace[ray]``.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store.plan import compile_view
from feature_store.training.bucket_answers import Answer, Answered, Bucket, Run
from headrace.errors import ConfigError, UnavailableError
from headrace.spec.features import FeatureView
from headrace.spec.project import load_project

__all__ = ["run_on"]

_LOCAL = "local"
_AHEAD = 2
"""Buckets sent beyond one for each core: what waits lies in the memory of the cluster."""


def run_on(address: str, project: Path) -> Run:
    """Answer buckets on a cluster.

    Args:
        address: of the cluster, as ``ray.init`` takes it; ``local`` starts one in this machine.
        project: the project's folder, which every machine can read.

    Raises:
        ConfigError: ray is not installed.
        UnavailableError: the cluster does not answer.
    """
    try:
        import ray
    except ImportError as error:
        raise ConfigError("ray is not installed", hint="pip install 'headrace[ray]'") from error
    if not ray.is_initialized():
        try:
            ray.init(address=None if address == _LOCAL else address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
            raise UnavailableError(
                f"the Ray cluster at {address!r} does not answer: {error}", hint="see `ray status` there"
            ) from error
    task: Any = ray.remote(_answer)

    def run(view: FeatureView, answer: Answer, buckets: Iterable[Bucket], /) -> Iterator[Answered]:
        most = int(ray.cluster_resources().get("CPU", 1)) + _AHEAD
        under_way: dict[Any, int] = {}
        for number, tables in buckets:
            under_way[task.remote(str(project), view.name, answer, *tables)] = number
            if len(under_way) >= most:
                yield _next(ray, under_way)
        while under_way:
            yield _next(ray, under_way)

    return run


def _next(ray: Any, under_way: dict[Any, int]) -> Answered:
    """One that is done; a task whose machine died has been given to another one by Ray."""
    (done,), _ = ray.wait(list(under_way), num_returns=1)
    number = under_way.pop(done)
    try:
        return number, ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error
    except ray.exceptions.RayError as error:
        raise UnavailableError(f"the Ray cluster gave bucket {number} up: {error}", hint="run it again") from error


def _answer(project: str, view: str, answer: Answer, *tables: pa.Table) -> pa.Table:
    """In a worker process of the cluster."""
    return answer(compile_view(load_project(project).view(view)), *tables)
