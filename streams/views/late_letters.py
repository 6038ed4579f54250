"""Dead letters of events that a view found too late: with the bytes of their message, read again from its topic."""

from collections.abc import Sequence
from typing import Any

from headrace.config import Settings
from streams.logs.dead_letters import DeadLetter, DeadLetters, read_originals
from streams.views.view_task import TooLate

__all__ = ["LateLetters"]


class LateLetters:
    """Sends them.

    Args:
        settings: where the broker is.
        letters: where they go.
    """

    def __init__(self, settings: Settings, letters: DeadLetters) -> None:
        self._settings = settings
        self._letters = letters

    def send(self, too_late: Sequence[TooLate]) -> None:
        """One letter for each message, however many of its events are too late."""
        if not too_late:
            return
        wanted = {(event.partition, event.offset): event for event in too_late}
        originals: dict[tuple[int, int], Any] = read_originals(self._settings, too_late[0].topic, set(wanted))
        for place, event in wanted.items():
            key, value = originals.get(place, (None, None))
            self._letters.send(
                DeadLetter(
                    topic=event.topic,
                    partition=event.partition,
                    offset=event.offset,
                    reason="late",
                    detail=event.detail,
                    key=key,
                    value=value,
                )
            )
