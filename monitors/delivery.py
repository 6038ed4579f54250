"""Sends page requests over HTTP: retried with the same key, and past a sink that stays down to the fallback."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Protocol

import httpx

from headrace.contracts.monitoring import Incident
from headrace.logging import get_logger
from monitors.sinks import PageAction, PageRequest, Sink

__all__ = ["Courier", "HttpCourier", "deliver"]

BACKOFF_S = (0.2, 1.0, 3.0)
"""Rests between the attempts at one sink; after the last attempt the fallback is used."""
TIMEOUT_S = 5.0
_log = get_logger(__name__)


class Courier(Protocol):
    """Carries one request."""

    async def post(self, request: PageRequest) -> int:
        """Status code of the answer; 0 when there was none."""


class HttpCourier:
    """Over the network. Addresses are secrets: they appear in no log and in no error."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S)

    async def post(self, request: PageRequest) -> int:
        try:
            answer = await self._client.post(request.url, json=request.body, headers=dict(request.headers))
        except (httpx.HTTPError, httpx.InvalidURL):
            return 0
        return answer.status_code

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def deliver(
    action: PageAction,
    incident: Incident,
    sinks: Sequence[Sink],
    fallback: Sink | None,
    courier: Courier,
    *,
    done: Collection[str] = (),
    backoff_s: Sequence[float] = BACKOFF_S,
) -> dict[str, str]:
    """Tell every sink that was not told yet.

    Args:
        action: what to tell.
        incident: about what.
        sinks: where.
        fallback: told once for all sinks that stay down.
        courier: carries the requests.
        done: names of sinks that know already.
        backoff_s: rests between attempts.

    Returns:
        Sink name -> ``delivered`` or ``fallback``; a sink that is missing has to be told later.
    """
    waiting = [sink for sink in sinks if sink.name not in done]
    answers = await asyncio.gather(*(_told(sink, action, incident, courier, backoff_s) for sink in waiting))
    outcome = {sink.name: "delivered" for sink, told in zip(waiting, answers, strict=True) if told}
    missed = [sink.name for sink, told in zip(waiting, answers, strict=True) if not told]
    if missed and fallback is not None and await _told(fallback, action, incident, courier, backoff_s):
        _log.warning("pages went to the fallback", action=action, dedup_key=incident.dedup_key, instead_of=missed)
        outcome |= dict.fromkeys(missed, "fallback")
    return outcome


async def _told(
    sink: Sink, action: PageAction, incident: Incident, courier: Courier, backoff_s: Sequence[float]
) -> bool:
    request = sink.request(action, incident, datetime.now(UTC))
    if request is None:
        return True
    for rest_s in (*backoff_s, None):
        status = await courier.post(request)
        if 200 <= status < 300:
            return True
        _log.warning(
            "page not taken", sink=sink.name, action=action, dedup_key=incident.dedup_key, status=status or "-"
        )
        if rest_s is None or (400 <= status < 500 and status not in (408, 429)):
            break  # asking again for what was refused changes nothing
        await asyncio.sleep(rest_s)
    return False
