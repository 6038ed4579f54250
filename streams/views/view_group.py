"""The view partitions of this worker: reads their keyed logs and runs a task for each view of each partition."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

from confluent_kafka import TopicPartition

from feature_store.offline.offline_log import log_folder
from feature_store.plan import ViewPlan, compile_view
from feature_store.upkeep.erased import ErasedSubjects, register_path
from headrace.config import Settings
from headrace.contracts.streams import ViewProgress
from headrace.contracts.topics import keyed_topic
from headrace.errors import HeadraceError, IntegrityError
from headrace.kafka_clients import consumer, take, watermarks
from headrace.kafka_sender import Sender
from headrace.logging import get_logger
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from streams.logs.dead_letters import DeadLetters
from streams.logs.erased_rows import ErasedBatches
from streams.logs.keyed_log import decode_batch
from streams.messages.message_runs import Place
from streams.ownership.membership import Change, ChangeKind, Membership
from streams.snapshots.snapshot_places import snapshot_store
from streams.stream_metrics import CountedStore, StreamMetrics
from streams.views.last_saves import LastSaves
from streams.views.late_letters import LateLetters
from streams.views.late_views import LateViews
from streams.views.online_thread import OnlineThread
from streams.views.open_views import OpenViews
from streams.views.view_owner import OpenedViews, ViewOwner
from streams.views.view_task import ViewTask
from streams.views.warm_up import warm_up

__all__ = ["ViewGroup", "roomy"]

_AT_ONCE = 50
"""Messages of one call; each holds thousands of rows when there is much to do."""
_TURN = 24
"""Micro-batches of rows taken in one turn: what the worker forwards in one, with room for labels and several views."""
_FEW = 20
_MORE_S = 0.01
"""With many rows (at least this part of a micro-batch) more are on their way, and a key is written online once."""
_ROOM_US = 600_000_000
_GOLDEN = 0.618
"""Multiples of it, without their whole parts, lie evenly between 0 and 1, however many there are."""
_LOOK_EVERY_S = 1.0
"""How often it is looked whether a backfill has ended."""
_LOG = get_logger(__name__)


class ViewGroup:
    """View tasks of the partitions that are this worker's.

    Args:
        settings: where everything is.
        project: whose views.
        name: of this worker among those of the project.
        online: where rows go.
        now_us: wall clock.
        metrics: counts what is taken over, given up and saved.
        log: whether to keep the offline feature log.
    """

    def __init__(
        self,
        settings: Settings,
        project: Project,
        *,
        name: str,
        online: OnlineThread,
        now_us: Callable[[], int],
        metrics: StreamMetrics,
        log: bool = True,
    ) -> None:
        self._settings, self._project, self._metrics = settings, project, metrics
        self._bootstrap = settings.kafka.bootstrap
        self._log = log
        self._online = online
        self._now_us = now_us
        group = f"headrace.{project.name}.views"
        self._consumer = consumer(settings, group, config={"auto.offset.reset": "error"})
        self._letters = Sender(settings)
        self._late = LateLetters(settings, DeadLetters(self._letters))
        self._erased = ErasedBatches(ErasedSubjects(register_path(settings, project.name)), project)
        self._plans: dict[str, list[ViewPlan]] = {
            keyed_topic(project.name, view.entity).name: [] for view in project.views
        }
        """By keyed topic; of the views that wait for a backfill there are none."""
        self._choice = OpenViews(settings, project, plan_of=lambda view: roomy(compile_view(view)))
        self._looked_s = time.monotonic()
        for view in self._choice.at_start():
            self._add_plan(view)
        self._tasks: dict[Place, list[ViewTask]] = {}
        self._new: set[Place] = set()
        self._awaited: Counter[Place] = Counter()
        """At most as many messages of each partition as this worker sent and has not read; others' count for them."""
        self._due_s: dict[int, float] = {}
        self._begun = 1
        self._dirty: dict[int, bool] = {}
        self._saver = LastSaves()
        self._late_views = LateViews(self._open_view)
        self._membership = Membership(settings, group, list(self._plans), name=name)
        self._owner = ViewOwner(self._membership, self._bootstrap, now_us, self._open, partial(metrics.taken, "views"))

    def wait_assigned(self, deadline_s: float) -> None:
        """Take over what the group gives first.

        Raises:
            IntegrityError: state, log and topic do not belong together.
        """
        self._membership.wait_assigned(deadline_s - time.monotonic())
        self._follow()
        while not self._owner.is_settled and time.monotonic() < deadline_s:
            time.sleep(0.002)
            self._follow()

    def step(self, wait_s: float, awaited: Sequence[Place] = ()) -> int:
        """Apply what there is; how many rows that were.

        Args:
            wait_s: longest wait for the first message, and for those awaited.
            awaited: partition of each message that is known to be on its way.
        """
        self._follow()
        self._open_ready()
        self._join_late_views()
        self._awaited.update(place for place in awaited if place in self._tasks)
        until_s = time.monotonic() + wait_s
        rows = self._take_in(wait_s)
        while self._awaited.total() and (left_s := until_s - time.monotonic()) > 0:
            # What has come is applied while the rest is on its way.
            rows += self._take_in(left_s)
        self._save_due()
        return rows

    def progress(self, *, everything: bool = False) -> list[ViewProgress]:
        """Reports of the tasks that moved since the last call.

        Args:
            everything: of all tasks.
        """
        moved = [task for tasks in self._tasks.values() for task in tasks if everything or self._dirty[id(task)]]
        self._dirty = dict.fromkeys(self._dirty, False)
        return [task.progress() for task in moved]

    @property
    def places(self) -> set[Place]:
        """Partitions that are read here."""
        return set(self._tasks)

    def take_new(self) -> set[Place]:
        """Partitions that came since the last call and had taken in nothing, so that no row of them can be missing."""
        new, self._new = self._new, set()
        return new

    def write_again(self, places: Collection[Place]) -> None:
        """Write every row of these partitions online that the state knows; the store has lost some."""
        for place in places:
            for task in self._tasks.get(place, ()):
                task.write_again()
                self._late.send(task.step(log=self._log))

    def hand_over(self) -> threading.Event:
        """Save everything for whoever is next; gives what is set when they may begin. Nothing is applied after it."""
        everything = Change(kind=ChangeKind.RELEASED, places=frozenset(self._tasks), term=0)
        self._release(everything)
        return everything.done

    def check_saved(self) -> None:
        """Return when everything handed over is on the disk.

        Raises:
            HeadraceError: it is not.
        """
        self._saver.close()
        self._saver.check()

    def close(self) -> None:
        """Leave; what was not saved is read again by whoever is next."""
        self._saver.close()
        self._membership.close()
        self._owner.close()
        self._late_views.close()
        self._consumer.close()

    def _follow(self) -> None:
        """Take over and give up partitions as the group says."""
        self._saver.check()
        for change in self._owner.changes():
            if change.kind is ChangeKind.RELEASED:
                self._metrics.released("views", len(change.places))
                self._release(change)
            else:
                self._metrics.lost("views", len(change.places))
                self._drop(change.places)
        self._metrics.owns("views", len(self._tasks))
        if opened := self._owner.opened():
            self._new |= {place for place, views in opened.items() if all(task.offset < 0 for task in views.tasks)}
            self._tasks |= {place: views.tasks for place, views in opened.items()}
            self._consumer.incremental_assign([TopicPartition(*place, views.start) for place, views in opened.items()])
            self._begin([task for views in opened.values() for task in views.tasks])
            # Of a view that became ready while they were being opened.
            self._open_missing()

    def _begin(self, tasks: list[ViewTask]) -> None:
        now_s, every_s = time.monotonic(), self._settings.stream.snapshot_every_s
        # Staggered, so that snapshots never come together, in however many parts their tasks came.
        for task in tasks:
            self._due_s[id(task)] = now_s + every_s * (self._begun * _GOLDEN % 1)
            self._begun += 1
        self._dirty |= dict.fromkeys(map(id, tasks), True)

    def _open_ready(self) -> None:
        """Open views whose backfill has ended; they are read from their switch, which the others pass over."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        if ready := self._choice.now_ready():
            for view in ready:
                self._add_plan(view)
            self._open_missing()

    def _open_missing(self) -> None:
        for place, tasks in self._tasks.items():
            known = {task.plan.version for task in tasks}
            missing = [plan for plan in self._plans[place[0]] if plan.version not in known]
            if missing:
                self._late_views.begin(place, self._owner.epochs[place], missing)

    def _join_late_views(self) -> None:
        """Read on for views that were opened beside the others, from where the first of a partition is."""
        joining = self._late_views.opened(self._owner.epochs)
        for place, opened in joining.items():
            tasks = self._tasks[place]
            tasks.extend(opened)
            self._consumer.incremental_unassign([TopicPartition(*place)])
            self._consumer.incremental_assign([TopicPartition(*place, self._start(place, tasks))])
            self._begin(opened)
            for task in opened:
                # Its rows are due at once, not with the next message.
                self._late.send(task.step(log=self._log))
        if joining:
            # Of a view that became ready meanwhile.
            self._open_missing()

    def _add_plan(self, view: FeatureView) -> None:
        plan = roomy(compile_view(view))
        warm_up(plan)
        self._plans[keyed_topic(self._project.name, view.entity).name].append(plan)

    def _open(self, place: Place, epoch: int) -> OpenedViews:
        """Restore one partition; runs beside the others."""
        topic, partition = place
        self._late_views.give_up(place)
        tasks = [self._open_view(plan, partition, epoch) for plan in tuple(self._plans[topic])]
        return OpenedViews(tasks=tasks, start=self._start(place, tasks), epoch=epoch)

    def _open_view(self, plan: ViewPlan, partition: int, epoch: int) -> ViewTask:
        settings, project, name = self._settings, self._project.name, plan.view.name
        task = ViewTask(
            plan,
            partition,
            snapshots=CountedStore(
                snapshot_store(settings, project, name, plan.version, partition), partial(self._metrics.saved, name)
            ),
            log_dir=log_folder(settings.offline_dir, project, "features", name, partition),
            online=self._online,
            now_us=self._now_us,
            epoch=epoch,
        )
        task.restore()
        _LOG.info("view opened", view=name, partition=partition, offset=task.offset + 1)
        return task

    def _start(self, place: Place, tasks: list[ViewTask]) -> int:
        """First offset to read."""
        first, end = self._membership.ask(lambda client: watermarks(client, *place, self._bootstrap)).result()
        start = min((task.offset + 1 for task in tasks), default=end)
        if not first <= start <= end:
            raise IntegrityError(
                f"{place[0]}:{place[1]} holds the offsets {first} to {end}, but the state continues at {start}",
                hint="topic and state are of different runs; remove both, or restore both",
            )
        return start

    def _release(self, change: Change) -> None:
        """Save what moves, behind the rows it was given; the others go on meanwhile."""
        released_us = self._now_us()
        moving = {place: self._tasks[place] for place in change.places}
        offsets = {place: min((task.offset + 1 for task in tasks), default=0) for place, tasks in moving.items()}
        saves = [
            self._unless_fenced(place, task.take_save())
            for place, tasks in moving.items()
            for task in tasks
            if task.unsaved
        ]
        saves += [
            partial(self._late_views.give_up, place) for place in change.places if self._late_views.is_opening(place)
        ]
        let_go = self._owner.release(change, offsets, released_us)
        self._drop(change.places)
        self._online.save(self._letters.flush)
        self._online.save(lambda: self._saver.save_then(saves, let_go))

    def _drop(self, places: Collection[Place]) -> None:
        """Read these no longer."""
        gone = [place for place in places if place in self._tasks]
        for place in gone:
            for task in self._tasks.pop(place):
                del self._due_s[id(task)], self._dirty[id(task)]
            del self._awaited[place]
        if gone:
            self._consumer.incremental_unassign([TopicPartition(*place) for place in gone])
        self._owner.forget(places)

    def _take_in(self, wait_s: float) -> int:
        """Read and apply; how many rows that were."""
        rows, touched = self._read(wait_s)
        for place in touched:
            for task in self._tasks[place]:
                self._late.send(task.step(log=self._log))
                self._dirty[id(task)] = True
        return rows

    def _read(self, wait_s: float) -> tuple[int, set[Place]]:
        rows, touched, limit = 0, set(), _TURN * self._settings.stream.batch_rows
        messages = take(self._consumer, 1, wait_s, self._bootstrap)
        while messages:
            for message in messages:
                place = (message.topic(), message.partition())
                self._awaited[place] = max(self._awaited[place] - 1, 0)
                tasks, offset = self._tasks.get(place), message.offset()
                if not tasks:
                    continue  # it was given up while its messages were on their way, or all its views wait
                batch = self._erased.without(decode_batch(message.value()), tasks[0].plan.view.entity)
                rows += len(batch)
                touched.add(place)
                for task in tasks:
                    # Two views of one entity may have been saved at different offsets.
                    if offset > task.offset:
                        task.take(offset, batch)
            if rows >= limit:
                break
            messages = take(self._consumer, _AT_ONCE, 0, self._bootstrap)
            if not messages and rows * _FEW > self._settings.stream.batch_rows:
                messages = take(self._consumer, 1, _MORE_S, self._bootstrap)
        return rows, touched

    def _save(self, place: Place, task: ViewTask) -> None:
        # Behind the rows it was given: the state must not be ahead of what it will not produce again.
        self._online.save(self._letters.flush)
        self._online.save(self._unless_fenced(place, task.take_save()))

    def _unless_fenced(self, place: Place, write: Callable[[], None]) -> Callable[[], None]:
        """What writes files, but not over those of another owner."""
        epoch = self._owner.epochs[place]

        def guarded() -> None:
            if not self._owner.is_fenced(place, epoch):
                try:
                    write()
                except HeadraceError:
                    # Paused on the way, it may come back to a folder that the new owner has tidied.
                    if not self._owner.is_fenced(place, epoch):
                        raise
                else:
                    return
            _LOG.warning("fenced", partition=f"{place[0]}:{place[1]}", why="it has a newer owner; nothing is saved")

        return guarded

    def _save_due(self) -> None:
        now_s = time.monotonic()
        for place, tasks in self._tasks.items():
            for task in tasks:
                if task.buffered_rows >= self._settings.stream.flush_rows:
                    self._online.save(self._unless_fenced(place, task.take_log()))
                if now_s >= self._due_s[id(task)]:
                    self._due_s[id(task)] = now_s + self._settings.stream.snapshot_every_s
                    if task.unsaved:
                        self._save(place, task)


def roomy(plan: ViewPlan) -> ViewPlan:
    """The plan with room for what a source partition cannot know: how far the others, and the labels, are.

    Lateness is decided at the source, against one partition. A view stands between all of them, read in step to a
    quarter of the lateness, so what it keeps, corrects and waits for reaches back about twice as far.
    """
    room_us = max(plan.lateness_us, _ROOM_US)
    return replace(plan, lateness_us=plan.lateness_us + room_us, retention_us=plan.retention_us + room_us)
