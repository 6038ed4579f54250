"""Which views a worker opens: those whose state knows all that has happened, or to which nothing has.

    definition        event log     state of the version before     the worker
    as it was         any           any                             opens it
    never seen        empty         none                            opens it
    never seen        has rows      none                            leaves it to `headrace backfill`
    compatible        any           carried over                    opens it
    other             any           of other numbers                leaves it to `headrace backfill`

The other views of the project go on in any case.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from feature_store.definitions.applied_views import (
    AppliedView,
    AppliedViews,
    applied_path,
    change_applied,
    read_applied,
)
from feature_store.offline.log_bounds import bounds_now
from feature_store.plan import ViewPlan
from feature_store.state.view_state import ViewState
from headrace.config import Settings
from headrace.logging import get_logger
from headrace.spec.definition_changes import compare_view
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.view_definition import describe_view, readers_of
from streams.snapshots.snapshot_chain import read_newest, write_only
from streams.snapshots.snapshot_piece import Snapshot
from streams.snapshots.snapshot_places import definitions_saved, partitions_saved, snapshot_store

__all__ = ["OpenViews", "renewed", "state_watermark_us"]

_LOG = get_logger(__name__)


class OpenViews:
    """Decides once when a worker starts, and again when a backfill has ended.

    Args:
        settings: where state and logs are.
        project: whose views.
        plan_of: the plan a worker runs a view by.
    """

    def __init__(self, settings: Settings, project: Project, *, plan_of: Callable[[FeatureView], ViewPlan]) -> None:
        self._settings, self._project, self._plan_of = settings, project, plan_of
        self._waiting: dict[str, FeatureView] = {}
        self._seen: tuple[int, int] | None = None

    def at_start(self) -> list[FeatureView]:
        """Views to open now; what is accepted is written down."""
        ready = []
        with change_applied(self._settings, self._project.name) as pen:
            is_first = pen.before is None
            known = pen.before or AppliedViews()
            for view in self._project.views:
                entry = self._accept(view, known.views.get(view.name), is_first=is_first)
                known = known.with_view(entry)
                if entry.waiting_for:
                    self._waiting[view.name] = view
                else:
                    ready.append(view)
            defined = {view.name for view in self._project.views}
            for name, entry in known.views.items():
                known = known.with_view(replace(entry, is_defined=name in defined))
            pen.views = replace(known, readers=readers_of(self._project))
        for name in self._waiting:
            _LOG.warning("view waits for its history", view=name, next=f"headrace backfill {name}")
        return ready

    def now_ready(self) -> list[FeatureView]:
        """Views whose backfill has ended since; each is given once."""
        if not self._waiting:
            return []
        try:
            stat = applied_path(self._settings, self._project.name).stat()
        except FileNotFoundError:
            return []
        if (stamp := (stat.st_mtime_ns, stat.st_ino)) == self._seen:
            return []
        self._seen = stamp
        known = read_applied(self._settings, self._project.name) or AppliedViews()
        ready = [view for view in self._waiting.values() if known.is_live(view.name, describe_view(view).version)]
        for view in ready:
            del self._waiting[view.name]
        return ready

    def _accept(self, view: FeatureView, known: AppliedView | None, *, is_first: bool) -> AppliedView:
        definition = describe_view(view)
        live = AppliedView(definition=definition)
        if known is None:
            has_past = self._has_other_state(view.name, definition.version) if is_first else self._has_history(view)
            return replace(live, waiting_for=definition.version) if has_past else live
        if known.definition.version == definition.version:
            # Back at what is computed anyway, or still waiting for the first time.
            return known if known.waiting_for == definition.version else replace(known, waiting_for="")
        if known.waiting_for != known.definition.version:
            change = compare_view(known.definition, definition, {})
            if change.kind == "compatible":
                self._carry(view, known.definition.version)
                return replace(known, definition=definition, waiting_for="")
            return replace(known, waiting_for=definition.version)
        return replace(live, waiting_for=definition.version)

    def _has_other_state(self, view: str, version: str) -> bool:
        """Of a home that is older than the file: whether its state is of another definition."""
        saved = {of for name, of in definitions_saved(self._settings, self._project.name) if name == view}
        return bool(saved) and version not in saved

    def _has_history(self, view: FeatureView) -> bool:
        return bool(bounds_now(self._settings.offline_dir, self._project, view.events, None))

    def _carry(self, view: FeatureView, version: str) -> None:
        """The state of a compatible definition goes on under the new one; every row is written online once more."""
        plan, place = self._plan_of(view), (self._settings, self._project.name, view.name)
        for partition in partitions_saved(*place, version):
            snapshot = read_newest(snapshot_store(*place, version, partition), version)
            if snapshot is not None:
                write_only(snapshot_store(*place, plan.version, partition), renewed(plan, snapshot))
        _LOG.info("state carried over", view=view.name, before=version, now=plan.version)


def state_watermark_us(snapshot: Snapshot) -> int:
    """Event time the state has reached."""
    return int(snapshot.state["counters"].tolist()[0])


def renewed(plan: ViewPlan, snapshot: Snapshot) -> Snapshot:
    """A snapshot of an equal state under this plan's definition, every key of it due to be written online."""
    held = dict(snapshot.state)
    held["plan_version"] = np.frombuffer(plan.version.encode(), dtype=np.uint8)
    state = ViewState.restore(plan, held)
    state.touch_all()
    return replace(snapshot, definition=plan.version, state=state.snapshot())
