"""Taking away what is stored of a view that is no longer defined: rows online, feature log, state, Feast's entry.

What says that there is such a view goes last, so a run that was killed is repeated.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from feature_store.definitions.applied_views import AppliedView, change_applied, read_applied
from feature_store.offline.log_lock import backfill_lock, upkeep_lock
from feature_store.offline.offline_log import log_folder, read_segment, segments_below
from feature_store.online.online_layout import entity_key, feature_field, row_field, timestamp_field
from feature_store.online.redis_online import address_of, connect, translate
from headrace.config import Settings
from headrace.contracts.redis_keys import progress_key
from headrace.errors import ConfigError, RejectedError
from headrace.spec.project import Project
from headrace.spec.view_definition import ViewDefinition

__all__ = ["RetiredView", "retire_view"]

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredView:
    """What went, or would go."""

    view: str
    rows_online: int
    log_rows: int
    state_folders: int
    is_registered: bool
    """Whether Feast knew it."""


def retire_view(
    settings: Settings, project: Project, name: str, readers: Mapping[str, tuple[str, ...]], *, dry_run: bool
) -> RetiredView:
    """Remove a view from everything but the event log.

    Args:
        settings: where everything is.
        project: which no longer defines it.
        name: the view.
        readers: view -> models in service that read it.
        dry_run: only count.

    Raises:
        ConfigError: there is no such view.
        RejectedError: it is defined, a model in service reads it, or a worker may still write it.
        UnavailableError: Redis does not answer.
    """
    known = _checked(settings, project, name, readers).definition
    offline = settings.offline_dir
    with upkeep_lock(offline, project.name), backfill_lock(offline, project.name, name):
        registered = _unregister(settings, project.name, name, dry_run=dry_run)
        folder = log_folder(settings.offline_dir, project.name, "features", name)
        rows = sum(len(keys) for keys in _keys(settings, project.name, known))
        online = _erase_online(settings, project.name, known, dry_run=dry_run)
        states = settings.state_dir / project.name / "views" / name
        folders = sum(1 for _ in states.glob("*")) if states.is_dir() else 0
        if not dry_run:
            for gone in (folder, states, settings.state_dir / project.name / "backfill" / name):
                shutil.rmtree(gone, ignore_errors=True)
            with change_applied(settings, project.name) as pen:
                pen.views = pen.views and pen.views.without(name)
    return RetiredView(view=name, rows_online=online, log_rows=rows, state_folders=folders, is_registered=registered)


def _checked(settings: Settings, project: Project, name: str, readers: Mapping[str, tuple[str, ...]]) -> AppliedView:
    applied = read_applied(settings, project.name)
    known = applied.views.get(name) if applied is not None else None
    if applied is None or known is None:
        names = sorted(applied.views) if applied is not None else []
        raise ConfigError(f"view {name!r} was never computed here", hint=f"computed were {names}")
    if any(view.name == name for view in project.views):
        raise RejectedError(f"view {name!r} is defined", hint="take its definition out of the project first")
    if known.is_defined:
        raise RejectedError(
            f"a worker may still write view {name!r}",
            hint="restart `headrace run stream` without it, then run the command again",
        )
    if readers.get(name):
        raise RejectedError(
            f"{', '.join(readers[name])} is in service and reads view {name!r}",
            hint="promote a model that reads the new one first",
        )
    return known


def _keys(settings: Settings, project: str, view: ViewDefinition) -> Iterator[list[int | str]]:
    """Keys of the feature log, file by file."""
    for segment in segments_below(log_folder(settings.offline_dir, project, "features", view.name)):
        yield read_segment(segment.path, [view.entity])[view.entity].to_pylist()


def _erase_online(settings: Settings, project: str, view: ViewDefinition, *, dry_run: bool) -> int:
    """Remove the view's fields of every key; gives how many keys had a row."""
    client: Any = connect(settings.redis.url)
    ours = row_field(view.name)
    fields = [ours, timestamp_field(view.name), *(feature_field(view.name, one.name) for one in view.features)]
    seen: set[int | str] = set()
    removed = 0
    try:
        for keys in _keys(settings, project, view):
            fresh = [key for key in dict.fromkeys(keys) if key not in seen]
            seen.update(fresh)
            for start in range(0, len(fresh), _AT_ONCE):
                pipeline = client.pipeline(transaction=False)
                for key in fresh[start : start + _AT_ONCE]:
                    hash_key = entity_key(view.entity, key, project)
                    pipeline.hexists(hash_key, ours)
                    if not dry_run:
                        pipeline.hdel(hash_key, *fields)
                removed += sum(map(bool, pipeline.execute()[:: 1 if dry_run else 2]))
        told = client.hkeys(progress_key(project))
        reports = [field for field in told if field.rpartition(b":")[0].decode() == view.name]
        if reports and not dry_run:
            client.hdel(progress_key(project), *reports)
    except redis.RedisError as error:
        raise translate(error, address_of(settings.redis.url)) from error
    finally:
        client.close()
    return removed


def _unregister(settings: Settings, project: str, name: str, *, dry_run: bool) -> bool:
    """Take the view out of Feast's registry, if that has it."""
    if not settings.registry_path.exists():
        return False
    from feature_store.definitions.feast_registry import open_feast  # seconds, and only where there is something to do

    store = open_feast(settings, project)
    if all(view.name != name for view in store.list_feature_views()):
        return False
    if not dry_run:
        store.delete_feature_view(name)
    return True
