"""Workers that take over from one another and sleep wherever they like: no hole comes into the log below a state."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.ownership.tenures import FencedError, Tenures
from streams.snapshots.owner_record import read_tenures, take_office
from streams.snapshots.snapshot_store import SnapshotStore

_OWNERS = 3


class Turns:
    """Threads of which one runs at a time, until it gives way."""

    def __init__(self, work: Sequence[Callable[[], None]]) -> None:
        self._go = [threading.Semaphore(0) for _ in work]
        self._back = threading.Semaphore(0)
        self._alive = list(range(len(work)))
        self._threads = [threading.Thread(target=self._run, args=(n, job)) for n, job in enumerate(work)]
        self._number = threading.local()
        for thread in self._threads:
            thread.start()

    def give_way(self) -> None:
        """Called by a thread: let the others."""
        self._back.release()
        self._go[self._number.n].acquire()

    def run(self, shifts: Sequence[tuple[int, int]]) -> None:
        """Let threads run in the order that is chosen, some operations each, then each to its end."""
        for number, operations in shifts:
            for _ in range(operations):
                if number in self._alive:
                    self._turn(number)
        while self._alive:
            self._turn(self._alive[0])
        for thread in self._threads:
            thread.join()

    def _turn(self, number: int) -> None:
        self._go[number].release()
        self._back.acquire()

    def _run(self, number: int, job: Callable[[], None]) -> None:
        self._number.n = number
        self._go[number].acquire()
        try:
            job()
        finally:
            self._alive.remove(number)
            self._back.release()


@dataclass
class Folder(SnapshotStore):
    """Names in memory; everybody gives way before each operation."""

    give_way: Callable[[], None]
    files: dict[str, bytes] = field(default_factory=dict)

    def names(self) -> list[str]:
        self.give_way()
        return list(self.files)

    def read(self, name: str) -> memoryview:
        self.give_way()
        if name not in self.files:
            raise FileNotFoundError(name)
        return memoryview(self.files[name])

    def write(self, name: str, parts: Sequence[memoryview]) -> None:
        self.give_way()
        self.files[name] = b"".join(parts)

    def remove(self, name: str) -> None:
        self.give_way()
        self.files.pop(name, None)

    def tidy(self, may_remove: Callable[[str], bool] = lambda _: True) -> None: ...

    def place(self, name: str) -> str:
        return name


@dataclass
class World:
    """A task's files: states, and a log of one file an offset; (epoch, offset) of each."""

    records: Folder
    states: set[tuple[int, int]] = field(default_factory=set)
    log: set[tuple[int, int]] = field(default_factory=set)
    epochs: "count[int]" = field(default_factory=lambda: count(1))
    newest: int = 0
    """Whose claim Kafka took last."""

    def live(self, jobs: Sequence[int]) -> None:
        """One worker: claims, takes over, and saves a few offsets in each job until it is fenced."""
        give_way = self.records.give_way
        give_way()
        epoch = self.newest = next(self.epochs)
        try:
            offset, tenures = take_office(self.records, epoch, self.find)
        except FencedError:
            return
        self.clean(epoch, offset, tenures)
        for size in jobs:
            give_way()
            if self.newest != epoch:
                return
            for _ in range(size):
                offset += 1
                give_way()
                self.log.add((epoch, offset))
                self.remove(lambda file: file[0] < epoch and not tenures.believes(*file))
            give_way()
            self.states.add((epoch, offset))

    def find(self, tenures: Tenures) -> tuple[int, int]:
        self.records.give_way()
        found = max((offset for epoch, offset in self.states if tenures.believes(epoch, offset)), default=-1)
        return found, found + 1

    def clean(self, epoch: int, offset: int, tenures: Tenures) -> None:
        """What a new owner finds and has not taken over."""
        self.remove(lambda file: file[0] < epoch and (file[1] > offset or not tenures.believes(*file)))

    def remove(self, is_gone: Callable[[tuple[int, int]], bool]) -> None:
        for file in [file for file in sorted(self.log) if is_gone(file)]:
            self.records.give_way()
            self.log.discard(file)


jobs = st.lists(st.integers(1, 3), min_size=1, max_size=3)


shifts = st.tuples(st.integers(0, _OWNERS - 1), st.integers(1, 25))


@settings(max_examples=400)
@given(st.lists(jobs, min_size=_OWNERS, max_size=_OWNERS), st.lists(shifts, max_size=10))
# The first sleeps before it writes, the second before it says where it begins; the third takes over from both.
@example([[1, 1], [1], [1]], [(0, 12), (1, 6), (0, 3), (2, 25), (2, 25), (1, 25)])
@example([[1, 1], [1], [1]], [(0, 12), (1, 6), (0, 3), (2, 6), (1, 25), (2, 25)])
@example([[1, 1], [1], [1]], [(0, 11), (1, 5), (0, 3), (2, 5), (1, 25), (2, 25)])
def test_below_the_newest_state_the_log_has_every_offset(work: list[list[int]], order: list[tuple[int, int]]) -> None:
    world = World(Folder(lambda: turns.give_way()))
    turns = Turns([lambda given=given: world.live(given) for given in work])
    turns.run(order)
    world.records.give_way = lambda: None

    epoch = next(world.epochs)
    offset, tenures = take_office(world.records, epoch, world.find)
    world.clean(epoch, offset, tenures)

    assert sorted({place for _, place in world.log}) == list(range(offset + 1))
    assert read_tenures(world.records) == tenures
