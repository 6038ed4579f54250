"""What pagers are told, and that one incident is one page."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headrace.config import PagerSettings
from headrace.contracts.monitoring import Incident, IncidentState
from monitors.delivery import deliver
from monitors.page_book import PageEntry, due_action, entry_name, note
from monitors.sinks import AlertmanagerSink, PageAction, PagerDutySink, PageRequest, WebhookSink, sinks_of

NOW = datetime(2024, 1, 1, tzinfo=UTC)
INCIDENT = Incident(
    dedup_key="headrace-fraud-model-1",
    model="fraud",
    state=IncidentState.CONFIRMED,
    kind="model",
    causes=("drift",),
    subjects=("drift:amount",),
    summary="fraud v1: drift: amount psi 0.4 (limit 0.1)",
    severity="warning",
    opened_us=1_522_540_800_000_000,
    updated_us=1_522_540_800_000_000,
    report_url="report.html",
    links={"controller": "http://ui/workflows/1"},
)


class Answers:
    """A network that answers as told, address by address; the last answer stays."""

    def __init__(self, **answers: list[int]) -> None:
        self._answers = answers
        self.sent: list[PageRequest] = []

    async def post(self, request: PageRequest) -> int:
        self.sent.append(request)
        queue = self._answers[request.url.partition("//")[2].partition("/")[0]]
        return queue.pop(0) if len(queue) > 1 else queue[0]


def tell(courier: Answers, *, done: tuple[str, ...] = (), fallback: bool = True) -> dict[str, str]:
    sinks = (PagerDutySink("http://pd/v2/enqueue", "secret"), WebhookSink("http://hook/x"))
    return asyncio.run(
        deliver(
            PageAction.TRIGGER,
            INCIDENT,
            sinks,
            WebhookSink("http://spare/y", "fallback") if fallback else None,
            courier,
            done=done,
            backoff_s=(0, 0),
        )
    )


def test_pagerduty_gets_an_event_with_the_key_of_the_incident() -> None:
    body = PagerDutySink("http://pd", "secret").request(PageAction.TRIGGER, INCIDENT, NOW).body

    assert body["routing_key"] == "secret"
    assert (body["event_action"], body["dedup_key"]) == ("trigger", INCIDENT.dedup_key)
    assert body["payload"]["severity"] == "warning"
    assert body["payload"]["timestamp"] == "2018-04-01T00:00:00Z"
    assert body["links"] == [{"href": "http://ui/workflows/1", "text": "controller"}]


def test_the_end_of_an_incident_carries_the_same_key_and_its_own_time() -> None:
    ended = replace(INCIDENT, state=IncidentState.RESOLVED, updated_us=INCIDENT.opened_us + 86_400_000_000)
    body = PagerDutySink("http://pd", "secret").request(PageAction.RESOLVE, ended, NOW).body

    assert (body["event_action"], body["dedup_key"]) == ("resolve", INCIDENT.dedup_key)
    assert body["payload"]["timestamp"] == "2018-04-02T00:00:00Z"
    assert "custom_details" not in body["payload"]


def test_alertmanager_knows_the_alert_again_by_its_labels() -> None:
    sink = AlertmanagerSink("http://am/")
    first = sink.request(PageAction.TRIGGER, INCIDENT, NOW)
    last = sink.request(PageAction.RESOLVE, INCIDENT, NOW)

    assert first.url == "http://am/api/v2/alerts"
    assert first.body[0]["labels"] == last.body[0]["labels"]
    assert first.body[0]["endsAt"] > NOW.isoformat() == last.body[0]["endsAt"]
    assert sink.request(PageAction.ACKNOWLEDGE, INCIDENT, NOW) is None


def test_no_secret_is_printed() -> None:
    settings = PagerSettings(
        pagerduty_url="http://pd/secret-1",
        pagerduty_key="secret-2",
        webhook_url="http://hook/secret-3",
        fallback_url="http://spare/secret-4",
        alertmanager_url="http://am/secret-5",
    )
    sinks, fallback = sinks_of(settings)

    shown = repr((sinks, fallback, *(sink.request(PageAction.TRIGGER, INCIDENT, NOW) for sink in sinks)))

    assert len(sinks) == 3
    assert "secret" not in shown


def test_a_sink_that_answers_late_is_asked_again_with_the_same_words() -> None:
    courier = Answers(pd=[0, 503, 202], hook=[200])

    assert tell(courier) == {"pagerduty": "delivered", "webhook": "delivered"}
    bodies = [request.body for request in courier.sent if "pd" in request.url]
    assert bodies == [bodies[0]] * 3


def test_a_sink_that_stays_down_is_replaced_by_the_fallback_once() -> None:
    courier = Answers(pd=[500], hook=[0], spare=[200])

    assert tell(courier) == {"pagerduty": "fallback", "webhook": "fallback"}
    assert sum("spare" in request.url for request in courier.sent) == 1


def test_a_refused_page_is_not_repeated() -> None:
    courier = Answers(pd=[400], hook=[200], spare=[200])
    tell(courier)

    assert sum("pd" in request.url for request in courier.sent) == 1


def test_too_many_requests_is_no_refusal() -> None:
    courier = Answers(pd=[429, 202], hook=[200])

    assert tell(courier)["pagerduty"] == "delivered"


def test_who_was_told_is_not_told_again() -> None:
    courier = Answers(hook=[200])

    assert tell(courier, done=("pagerduty",)) == {"webhook": "delivered"}


def test_when_nobody_answers_it_is_still_to_be_told() -> None:
    assert tell(Answers(pd=[0], hook=[0], spare=[0])) == {}


def states(*names: str) -> list[Incident]:

    return [replace(INCIDENT, state=IncidentState(name)) for name in names]


def run_book(incidents: list[Incident], *, sinks: int = 1) -> list[PageAction]:
    entry: PageEntry | None = None
    told = []
    for incident in incidents:
        action = due_action(incident, entry)
        if action is not None:
            told.append(action)
            entry = note(entry, incident, action, {f"s{n}": "delivered" for n in range(sinks)}, sinks)
    return told


def test_one_incident_is_one_page_and_one_end() -> None:
    history = states("suspected", "confirmed", "confirmed", "acknowledged", "confirmed", "resolved", "resolved")

    assert run_book(history) == [PageAction.TRIGGER, PageAction.ACKNOWLEDGE, PageAction.RESOLVE]


@pytest.mark.parametrize("history", [["suspected", "ok"], ["resolved"], ["acknowledged", "resolved"]])
def test_what_was_never_paged_is_never_resolved(history: list[str]) -> None:
    assert run_book(states(*history)) == []


def test_a_page_half_delivered_is_still_due() -> None:
    entry = note(None, INCIDENT, PageAction.TRIGGER, {"pagerduty": "delivered"}, 2)

    assert due_action(INCIDENT, entry) is PageAction.TRIGGER
    assert due_action(INCIDENT, note(entry, INCIDENT, PageAction.TRIGGER, {"webhook": "fallback"}, 2)) is None


def test_the_next_incident_of_a_kind_has_an_entry_of_its_own() -> None:

    assert entry_name(INCIDENT) != entry_name(replace(INCIDENT, opened_us=INCIDENT.opened_us + 1))
