"""What pagers are told, in their own words: PagerDuty Events API v2, Alertmanager API v2, and a plain webhook.

Pure: a sink turns an action on an incident into a request; deliver.py sends it. Every request of one incident carries
the same key, so sending one twice is harmless.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from headrace.clock import format_us
from headrace.config import PagerSettings
from headrace.contracts.monitoring import Incident

__all__ = ["AlertmanagerSink", "PageAction", "PageRequest", "PagerDutySink", "Sink", "WebhookSink", "sinks_of"]

_CLIENT = "headrace"
_MAX_SUMMARY = 1024
"""PagerDuty's bound."""
_FIRING_FOR = timedelta(days=30)
"""Alertmanager forgets an alert that is not sent again before its end; ours end when they are resolved."""


class PageAction(StrEnum):
    TRIGGER = "trigger"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """One HTTP POST."""

    url: str = field(repr=False)
    """May hold a secret (webhooks do), therefore never printed."""
    body: object = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class Sink(Protocol):
    """A place pages go to."""

    @property
    def name(self) -> str:
        """Short name; never an address."""

    def request(self, action: PageAction, incident: Incident, now: datetime) -> PageRequest | None:
        """What to send; None when this sink has no such action."""


@dataclass(frozen=True, slots=True)
class PagerDutySink:
    """PagerDuty Events API v2."""

    url: str = field(repr=False)
    key: str = field(repr=False)
    name: str = "pagerduty"

    def request(self, action: PageAction, incident: Incident, now: datetime) -> PageRequest | None:  # noqa: ARG002 - event time is what counts here
        body: dict[str, Any] = {
            "routing_key": self.key,
            "event_action": action.value,
            "dedup_key": incident.dedup_key,
        }
        at_us = incident.opened_us if action is PageAction.TRIGGER else incident.updated_us
        body["payload"] = {
            "summary": incident.summary[:_MAX_SUMMARY],
            "source": f"{_CLIENT}/{incident.model}",
            "severity": incident.severity,
            "timestamp": format_us(at_us),
            "component": incident.model,
            "class": incident.kind,
        }
        if action is PageAction.TRIGGER:
            body["payload"]["custom_details"] = _details(incident)
            body["client"] = _CLIENT
            body["links"] = [
                {"href": href, "text": text} for text, href in _links(incident).items() if href.startswith("http")
            ]
        return PageRequest(url=self.url, body=body)


@dataclass(frozen=True, slots=True)
class AlertmanagerSink:
    """Alertmanager API v2; an alert is the same as long as its labels are."""

    url: str = field(repr=False)
    name: str = "alertmanager"

    def request(self, action: PageAction, incident: Incident, now: datetime) -> PageRequest | None:
        if action is PageAction.ACKNOWLEDGE:
            return None  # silences are made by people there
        ends = now + _FIRING_FOR if action is PageAction.TRIGGER else now
        alert = {
            "labels": {
                "alertname": "HeadraceIncident",
                "dedup_key": incident.dedup_key,
                "model": incident.model,
                "kind": incident.kind,
                "severity": incident.severity,
            },
            "annotations": {"summary": incident.summary, **{name: str(v) for name, v in _details(incident).items()}},
            "startsAt": now.isoformat() if action is PageAction.TRIGGER else (now - timedelta(seconds=1)).isoformat(),
            "endsAt": ends.isoformat(),
        }
        return PageRequest(url=f"{self.url.rstrip('/')}/api/v2/alerts", body=[alert])


@dataclass(frozen=True, slots=True)
class WebhookSink:
    """One JSON object per page; ``text`` is what Slack and its likes show."""

    url: str = field(repr=False)
    name: str = "webhook"

    def request(self, action: PageAction, incident: Incident, now: datetime) -> PageRequest | None:
        body = {
            "action": action.value,
            "dedup_key": incident.dedup_key,
            "sent_at": now.astimezone(UTC).isoformat(),
            "model": incident.model,
            "kind": incident.kind,
            "severity": incident.severity,
            "summary": incident.summary,
            "text": f"[{action.value}] {incident.severity}: {incident.summary}",
            **_details(incident),
        }
        return PageRequest(url=self.url, body=body, headers={"Idempotency-Key": _idempotency_key(action, incident)})


def sinks_of(settings: PagerSettings) -> tuple[tuple[Sink, ...], Sink | None]:
    """The configured sinks, and the one used when one of them stays down."""
    sinks: list[Sink] = []
    if settings.pagerduty_url and settings.pagerduty_key:
        sinks.append(PagerDutySink(settings.pagerduty_url, settings.pagerduty_key))
    if settings.alertmanager_url:
        sinks.append(AlertmanagerSink(settings.alertmanager_url))
    if settings.webhook_url:
        sinks.append(WebhookSink(settings.webhook_url))
    fallback = WebhookSink(settings.fallback_url, "fallback") if settings.fallback_url else None
    return tuple(sinks), fallback


def _idempotency_key(action: PageAction, incident: Incident) -> str:
    return f"{incident.dedup_key}/{incident.opened_us}/{action.value}"


def _details(incident: Incident) -> dict[str, Any]:
    return {
        "causes": ", ".join(incident.causes),
        "subjects": ", ".join(incident.subjects),
        "opened": format_us(incident.opened_us),
        "report": incident.report_url,
        "links": _links(incident),
    }


def _links(incident: Incident) -> dict[str, str]:
    links = dict(incident.links)
    if incident.report_url:
        links["report"] = incident.report_url
    return links
