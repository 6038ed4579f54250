"""Segments on their way to the disk, in a thread of their own: no event waits for them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from headrace.errors import HeadraceError
from streams.messages.message_runs import Place
from streams.sources.source_commit import SourceCommit
from streams.sources.source_task import SourceTask

__all__ = ["SegmentWriting", "Written"]

_Taken = tuple[SourceTask, list[SourceCommit], Callable[[int], None]]


@dataclass(slots=True)
class Written:
    """What was made durable, and why the rest could not be; each partition by itself."""

    commits: dict[Place, SourceCommit] = field(default_factory=dict)
    errors: dict[Place, HeadraceError] = field(default_factory=dict)


class SegmentWriting:
    """Writes what tasks hand over, one turn of all tasks after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "segments")
        self._writing: Future[Written] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether what was handed over last has not been taken back by :meth:`end`."""
        return self._writing is not None

    def begin(self, tasks: Sequence[SourceTask]) -> None:
        """Hand over everything that was processed; nothing is to be under way.

        Raises:
            UnavailableError: a keyed batch or dead letter was not acknowledged.
        """
        assert self._writing is None, "the last turn has not ended"
        taken = [(task, *task.take_segments()) for task in tasks]
        self._writing = self._thread.submit(_write_all, taken)

    def end(self, *, wait: bool) -> Written | None:
        """What has become of the last turn, once; None when there was none, or it is not over and nobody waits."""
        if self._writing is None or not (wait or self._writing.done()):
            return None
        writing, self._writing = self._writing, None
        return writing.result()

    def close(self) -> None:
        """Return when nothing is being written any more."""
        self._thread.shutdown()


def _write_all(taken: Sequence[_Taken]) -> Written:
    written = Written()
    for task, commits, write in taken:
        for commit in commits:
            place = (task.topic, commit.partition)
            try:
                write(commit.partition)
            except HeadraceError as error:
                written.errors[place] = error
            else:
                written.commits[place] = commit
    return written
