"""The agents process on real Kafka, Redis and Temporal, paging a real receiver over HTTP."""

import asyncio
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from headrace.config import PagerSettings, Settings
from headrace.contracts.control import (
    CONTROL_QUEUE,
    CONTROLLER_WORKFLOW,
    QUERY_STATE,
    SIGNAL_OBSERVE,
    ControllerStart,
    Observation,
    controller_id,
)
from headrace.contracts.monitoring import Cause, Incident, IncidentState, Verdict, WindowReport
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.contracts.topics import ALERTS
from monitors.agents import AgentsProcess
from monitors.incident import dedup_key
from monitors.pager import Pager
from monitors.samples import sample_path, write_sample
from tests.eventually import eventually
from tests.integration.monitor_rig import Rig, make_rig
from tests.unit.monitors.world import HOUR_US, START_US, World


@workflow.defn(name=CONTROLLER_WORKFLOW)
class Listener:
    """A controller that only listens."""

    def __init__(self) -> None:
        self._heard: list[Observation] = []

    @workflow.run
    async def run(self, start: ControllerStart) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal(name=SIGNAL_OBSERVE)
    def observe(self, observation: Observation) -> None:
        self._heard.append(observation)

    @workflow.query(name=QUERY_STATE)
    def heard(self) -> list[Observation]:
        return self._heard


class Agents:
    """The agents in a thread of their own."""

    def __init__(self, settings: Settings, rig: Rig) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._process = AgentsProcess(settings, rig.project)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._process.run(self._stop))

    def __enter__(self) -> "Agents":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._loop.close()


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as receiver:
        yield receiver


@pytest.fixture
def rig(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str], pager: Pager) -> Rig:
    made = make_rig(stack, tmp_path / "home", fresh_name("cards"))
    made.settings = dataclasses.replace(
        made.settings, pager=PagerSettings(pagerduty_url=pager.pagerduty_url, pagerduty_key="key")
    )
    return made


def report(rig: Rig, number: int, *, bad: bool, cause: Cause = Cause.DRIFT, samples: bool = False) -> WindowReport:
    paths = {}
    if samples:
        for what, shift in (("reference-v1", 0.0), (f"window-{number}", 1.0)):
            path = sample_path(rig.settings, rig.model.name, what)
            write_sample(path, rig.model.feature_names, World(rows=500).hour(0, shift=shift).inputs)
            paths["reference_path" if shift == 0 else "current_path"] = str(path)
    return WindowReport(
        model=rig.model.name,
        window=number,
        from_us=START_US + number * HOUR_US,
        until_us=START_US + (number + 1) * HOUR_US,
        rows=400,
        version="v1",
        verdicts=(
            Verdict(
                cause=cause,
                subject="amount",
                statistic="psi",
                value=0.5 if bad else 0.01,
                threshold=0.1,
                alarming=bad,
            ),
        ),
        quality={},
        **paths,
    )


def actions(pager: Pager) -> list[str]:
    return [message["body"]["event_action"] for message in pager.messages]


def observations(settings: Settings, model: str) -> list[Observation]:
    """What the controller of a model has heard, asked of Temporal."""

    async def ask() -> list[Observation]:
        client = await Client.connect(settings.temporal.address)
        async with Worker(
            client, task_queue=CONTROL_QUEUE, workflows=[Listener], workflow_runner=UnsandboxedWorkflowRunner()
        ):
            handle = client.get_workflow_handle(controller_id(model))
            try:
                heard: list[Observation] = await handle.query(QUERY_STATE, result_type=list[Observation])
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return []
                raise
            return heard

    return asyncio.run(ask())


def end_controller(settings: Settings, model: str) -> None:
    async def end() -> None:
        client = await Client.connect(settings.temporal.address)
        await client.get_workflow_handle(controller_id(model)).terminate()

    asyncio.run(end())


def test_confirmed_drift_is_one_incident_one_report_one_page_and_one_signal_a_window(rig: Rig, pager: Pager) -> None:
    with Agents(rig.settings, rig):
        for number in range(7):
            seen = report(rig, number, bad=number in (1, 2, 3), samples=number in (1, 2, 3))
            rig.publish(seen)
            rig.publish(seen)
        eventually(lambda: actions(pager) == ["trigger", "resolve"], timeout_s=100)
        rig.handled(START_US + 7 * HOUR_US)
        eventually(lambda: len(observations(rig.settings, rig.model.name)) >= 7, timeout_s=60)

    page = pager.messages[0]["body"]
    html = Path(page["payload"]["custom_details"]["report"])
    incidents = rig.incidents()
    heard = observations(rig.settings, rig.model.name)
    end_controller(rig.settings, rig.model.name)
    assert page["dedup_key"] == pager.messages[1]["body"]["dedup_key"] == dedup_key(rig.model.name, "model")
    assert page["payload"]["severity"] == "warning"
    assert html == rig.settings.incidents_dir / f"{page['dedup_key']}-{START_US + 3 * HOUR_US}" / "report.html"
    assert html.stat().st_size > 100_000
    assert "amount" in html.read_text(encoding="utf-8")
    assert {incident.dedup_key for incident in incidents} == {page["dedup_key"]}
    states = list(dict.fromkeys(incident.state for incident in incidents))
    assert states == [IncidentState.SUSPECTED, IncidentState.CONFIRMED, IncidentState.RESOLVED]
    assert any(incident.report_url == str(html) for incident in incidents)
    assert [seen.window for seen in heard] == list(range(7))
    assert [seen.requests_retrain for seen in heard] == [False, False, True, True, False, False, False]


def test_bad_data_pages_at_once_and_blocks(rig: Rig, pager: Pager) -> None:
    with Agents(rig.settings, rig):
        rig.publish(report(rig, 0, bad=True, cause=Cause.NULLS))
        eventually(lambda: actions(pager) == ["trigger"], timeout_s=100)
        eventually(lambda: observations(rig.settings, rig.model.name), timeout_s=60)

    heard = observations(rig.settings, rig.model.name)
    end_controller(rig.settings, rig.model.name)
    assert pager.messages[0]["body"]["payload"]["severity"] == "critical"
    assert (heard[0].blocks_retrain, heard[0].requests_retrain, heard[0].causes) == (True, False, ("nulls",))


def test_an_acknowledgement_is_heard_and_told(rig: Rig, pager: Pager) -> None:
    with Agents(rig.settings, rig):
        rig.publish(report(rig, 0, bad=True, cause=Cause.NULLS))
        confirmed: Incident = eventually(lambda: next(iter(rig.incidents()), None), timeout_s=100)
        rig.sender.send_contract(
            ALERTS, dataclasses.replace(confirmed, state=IncidentState.ACKNOWLEDGED), key=confirmed.dedup_key
        )
        rig.sender.flush()
        eventually(lambda: actions(pager) == ["trigger", "acknowledge"], timeout_s=60)
        for number in (1, 2, 3):
            rig.publish(report(rig, number, bad=False, cause=Cause.NULLS))
        eventually(lambda: actions(pager) == ["trigger", "acknowledge", "resolve"], timeout_s=60)


def test_a_rollback_by_serving_pages_and_trips_the_controller_although_temporal_was_away(
    rig: Rig, pager: Pager
) -> None:
    record = RolloutRecord(
        model=rig.model.name,
        epoch=3,
        stage=Stage.STEADY,
        champion="v1",
        reason="v2 tripped: NaN",
        written_by="serving",
        at_us=START_US,
    )
    away = dataclasses.replace(rig.settings, temporal=dataclasses.replace(rig.settings.temporal, address="127.0.0.1:1"))
    with Agents(away, rig):
        rig.deploy(record, "rollback")
        rig.deploy(record, "rollback")
        eventually(lambda: actions(pager) == ["trigger"], timeout_s=100)
    with Agents(rig.settings, rig):
        heard = eventually(lambda: observations(rig.settings, rig.model.name), timeout_s=60)
        rig.deploy(dataclasses.replace(record, epoch=4, written_by="controller"), "shadow")
        eventually(lambda: actions(pager) == ["trigger", "resolve"], timeout_s=60)

    end_controller(rig.settings, rig.model.name)
    body = pager.messages[0]["body"]
    assert [seen.tripped for seen in heard] == ["v2 tripped: NaN"]
    assert body["payload"]["severity"] == "critical"
    assert "rolled back to v1 by serving" in body["payload"]["summary"]


def test_a_pager_that_is_down_is_told_later_and_once(rig: Rig, pager: Pager) -> None:
    """The agents are killed while the pager refuses; the next process tells it, with the same key."""
    pager.status = 503
    child = rig.spawn("agents", HEADRACE_PAGER_PAGERDUTY_URL=pager.pagerduty_url, HEADRACE_PAGER_PAGERDUTY_KEY="key")
    try:
        rig.publish(report(rig, 0, bad=True, cause=Cause.NULLS))
        eventually(lambda: pager.refused, timeout_s=100)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(30)
    pager.status = 202
    with Agents(rig.settings, rig):
        eventually(lambda: actions(pager) == ["trigger"], timeout_s=100)
        rig.handled(START_US + HOUR_US)

    keys = {message["body"]["dedup_key"] for message in (*pager.refused, *pager.messages)}
    assert actions(pager) == ["trigger"]
    assert keys == {dedup_key(rig.model.name, "data")}


def test_a_sink_that_stays_down_is_replaced_by_the_fallback(rig: Rig, pager: Pager) -> None:
    pager.status = 500
    with Pager() as spare:
        settings = dataclasses.replace(
            rig.settings, pager=dataclasses.replace(rig.settings.pager, fallback_url=f"{spare.address}/hook")
        )
        with Agents(settings, rig):
            rig.publish(report(rig, 0, bad=True, cause=Cause.NULLS))
            eventually(lambda: len(spare.messages) == 1, timeout_s=100)
            pager.status = 202
            for number in (1, 2, 3):
                rig.publish(report(rig, number, bad=False, cause=Cause.NULLS))
            eventually(lambda: actions(pager) == ["resolve"], timeout_s=60)

    assert [message["body"]["action"] for message in spare.messages] == ["trigger"]


def test_bytes_that_are_no_contract_stop_no_agent(rig: Rig, pager: Pager) -> None:
    with Agents(rig.settings, rig):
        for topic in ("headrace.drift", "headrace.alerts", "headrace.deployments"):
            rig.sender.send(topic, b'{"model": 1}', key="nobody")
        rig.sender.flush()
        rig.publish(report(rig, 0, bad=True, cause=Cause.NULLS))
        eventually(lambda: actions(pager) == ["trigger"], timeout_s=100)
