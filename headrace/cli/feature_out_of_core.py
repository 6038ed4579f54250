"""``headrace features compute --memory``: a file that is larger than memory, here or on a Ray cluster."""

import argparse
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigError
from headrace.spec.project import Project
from headrace.spec.streams import EventStream

if TYPE_CHECKING:
    from feature_store.training.bucket_answers import Run

__all__ = ["add_out_of_core", "add_ray", "check_spill", "compute_out_of_core", "memory_bytes", "where_answered"]

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"(\d+)\s*(KB|MB|GB)", re.IGNORECASE)


def add_out_of_core(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--memory", metavar="SIZE", help="hold about so much at once (500MB, 4GB) and spill the rest")
    parser.add_argument("--spill", type=Path, metavar="FOLDER", help="with --memory: where (default: the system's own)")
    add_ray(parser)


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Declare ``--ray``."""
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="with --memory: answer on this Ray cluster; local starts one here"
    )


def where_answered(args: argparse.Namespace, project: Project) -> "Run":
    """Where buckets of entities are answered.

    Raises:
        ConfigError: without ``--memory`` there are no buckets, or ray is not installed.
    """
    from feature_store.training.bucket_answers import run_here

    if not args.ray:
        return run_here
    if not args.memory:
        raise ConfigError("--ray needs --memory", hint="say how much this machine may hold at once, such as 2GB")
    from feature_store.training.ray_buckets import run_on

    return run_on(args.ray, project.path)


def check_spill(args: argparse.Namespace) -> None:
    """Refuse a ``--spill`` that cannot be used, or would not be.

    Raises:
        ConfigError: it is no folder, or nothing is spilled without ``--memory``.
    """
    if args.spill is None:
        return
    if not (args.memory or args.ray):
        raise ConfigError("--spill needs --memory", hint="say how much to hold at once, such as 2GB, or leave it out")
    if not args.spill.is_dir():
        raise ConfigError(f"{args.spill} is no folder", hint="make it, or leave out --spill")


def compute_out_of_core(
    project: Project, stream: EventStream, args: argparse.Namespace, **told: Any
) -> tuple[int, int, float]:
    """Rows, columns and seconds of the computation, files included.

    Args:
        project: as it is defined.
        stream: what the file holds.
        args: the command's.
        told: who hears of it, as :func:`feature_store.training.file_spill.compute_file_spilled` takes them.

    Raises:
        ConfigError: a size, a file or a folder is wrong, or ray is not installed.
    """
    from feature_store.training.file_spill import compute_file_spilled

    run = where_answered(args, project)
    started = time.perf_counter()
    rows, columns = compute_file_spilled(
        project,
        stream,
        args.events,
        args.labels,
        args.out,
        memory_bytes=memory_bytes(args.memory),
        folder=args.spill,
        run=run,
        **told,
    )
    return rows, columns, time.perf_counter() - started


def memory_bytes(text: str) -> int:
    """Bytes of a size.

    >>> memory_bytes("500MB"), memory_bytes("4 gb")
    (500000000, 4000000000)

    Raises:
        ConfigError: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--memory is {text!r}", hint="write a whole number and KB, MB or GB, such as 500MB")
    return int(match[1]) * _UNITS[match[2].upper()]
