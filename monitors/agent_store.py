"""What the agents remember, in Redis: incident tracks, the page book, and the spool of signals for Temporal.

A report's tracks and its signal are written in one transaction with the window they come from, so a report delivered
twice changes nothing, and no window is lost between the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import redis.asyncio

from headrace.clock import Clock
from headrace.contracts.codec import decode, encode
from headrace.contracts.control import Observation
from headrace.contracts.redis_keys import agents_progress_key, incidents_key, pages_key, signals_key
from headrace.errors import HeadraceError, UnavailableError
from monitors.incident import IncidentTrack, new_track
from monitors.page_book import PageEntry

__all__ = ["MAX_SPOOLED", "AgentStore", "ModelIncidents"]

MAX_SPOOLED = 500
"""Signals kept while Temporal is away; the oldest go first, for the newest says more, but never a trip."""
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIncidents:
    """Incidents of one model and how far they have taken reports and deployments in."""

    window: int = 0
    until_us: int = 0
    epoch: int = 0
    tracks: dict[str, IncidentTrack] = field(default_factory=dict)
    """By kind."""

    def track(self, model: str, kind: str) -> IncidentTrack:
        """The track of a kind, new if there is none."""
        return self.tracks.get(kind) or new_track(model, kind)

    def with_tracks(self, tracks: Mapping[str, IncidentTrack]) -> "ModelIncidents":
        """These tracks beside or instead of the known ones."""
        return replace(self, tracks={**self.tracks, **tracks})


class AgentStore:
    """Redis as the agents' memory; every error becomes an UnavailableError, for the caller tries again.

    Args:
        redis_url: address of Redis.
        clock: wall clock.
    """

    def __init__(self, redis_url: str, clock: Clock) -> None:
        self._redis: Any = redis.asyncio.Redis.from_url(
            redis_url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S
        )
        self._clock = clock

    async def incidents(self, model: str) -> ModelIncidents:
        """Everything known about a model's incidents."""
        data = await self._ask(self._redis.get(incidents_key(model)))
        return ModelIncidents() if data is None else decode(data, ModelIncidents)

    async def save(self, model: str, incidents: ModelIncidents, signal: Observation | None = None) -> None:
        """Write a model's incidents, and queue a signal, in one step."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(incidents_key(model), encode(incidents))
        if signal is not None:
            pipe.rpush(signals_key(model), encode(signal))
        pipe.hset(
            agents_progress_key(model),
            mapping={
                "window": incidents.window,
                "until_us": incidents.until_us,
                "epoch": incidents.epoch,
                "at_us": self._clock.now_us(),
            },
        )
        await self._ask(pipe.execute())

    async def page(self, model: str, name: str) -> PageEntry | None:
        """Entry of the page book."""
        data = await self._ask(self._redis.hget(pages_key(model), name))
        return None if data is None else decode(data, PageEntry)

    async def pages(self, model: str) -> dict[str, PageEntry]:
        """The whole page book of a model."""
        rows = await self._ask(self._redis.hgetall(pages_key(model)))
        return {name.decode(): decode(data, PageEntry) for name, data in rows.items()}

    async def save_page(self, model: str, name: str, entry: PageEntry) -> None:
        """Write an entry of the page book."""
        await self._ask(self._redis.hset(pages_key(model), name, encode(entry)))

    async def first_signal(self, model: str) -> Observation | None:
        """The oldest signal Temporal has not taken."""
        data = await self._ask(self._redis.lindex(signals_key(model), 0))
        return None if data is None else decode(data, Observation)

    async def drop_signal(self, model: str, signal: Observation) -> None:
        """Temporal has taken the oldest signal."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.lpop(signals_key(model))
        pipe.hset(agents_progress_key(model), "signalled", signal.window)
        await self._ask(pipe.execute())

    async def bound_signals(self, model: str) -> int:
        """Thin the spool of a model when it is too long; returns how many signals went."""
        rows = await self._ask(self._redis.lrange(signals_key(model), 0, -1))
        over = len(rows) - MAX_SPOOLED
        if over <= 0:
            return 0
        kept, dropped = [], 0
        for row in rows:
            if dropped < over and not decode(row, Observation).tripped:
                dropped += 1
            else:
                kept.append(row)
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(signals_key(model))
        pipe.rpush(signals_key(model), *kept)
        await self._ask(pipe.execute())
        return dropped

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _ask(self, command: Any) -> Any:
        try:
            return await command
        except redis.RedisError as error:
            raise _translate(error) from error


def _translate(error: redis.RedisError) -> HeadraceError:
    return UnavailableError(
        f"Redis does not answer: {error}",
        hint="start the embedded stack with `headrace up`, or set redis.url to a running server",
    )
