"""The pages the demo's pager received, in the order they came."""

import json
from dataclasses import dataclass
from pathlib import Path

from headrace.clock import parse_us

__all__ = ["Page", "PageBook"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One message of the PagerDuty Events API v2."""

    action: str
    """``trigger``, ``acknowledge`` or ``resolve``."""
    dedup_key: str
    text: str
    at_us: int
    """Event time of the incident."""


@dataclass(slots=True)
class PageBook:
    """Reads the pager's file of JSON lines as it grows."""

    path: Path
    pages: list[Page]
    _read: int = 0

    def news(self) -> list[Page]:
        """Pages since the last call."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        fresh = [_page(json.loads(line)) for line in lines[self._read :] if line.strip()]
        self._read = len(lines)
        self.pages += fresh
        return fresh


def _page(message: dict[str, object]) -> Page:
    body = message.get("body", message)
    assert isinstance(body, dict)
    payload = body.get("payload") or {}
    moment = str(payload.get("timestamp") or "")
    return Page(
        action=str(body.get("event_action", "")),
        dedup_key=str(body.get("dedup_key", "")),
        text=f"pager: {body.get('event_action', '')} {payload.get('summary') or body.get('dedup_key', '')}",
        at_us=parse_us(moment) if moment else 0,
    )
