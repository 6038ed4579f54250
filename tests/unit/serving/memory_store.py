"""Rollout records in memory, with the store's fence, and away when told so."""

from headrace.contracts.rollout import RolloutChange, RolloutRecord
from headrace.errors import UnavailableError

__all__ = ["MemoryStore"]


class MemoryStore:
    """Stands in for :class:`headrace.rollout_store.RolloutStore`."""

    def __init__(self) -> None:
        self.record: RolloutRecord | None = None
        self.changes: list[RolloutChange] = []
        self.away = False

    def read(self, model: str) -> RolloutRecord | None:
        self._answer()
        return self.record

    def write(self, change: RolloutChange) -> bool:
        self._answer()
        if self.record is not None and self.record.epoch >= change.record.epoch:
            return False
        self.record = change.record
        self.changes.append(change)
        return True

    def _answer(self) -> None:
        if self.away:
            raise UnavailableError("the store is away")
