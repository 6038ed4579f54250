"""What came of it: promises held or broken, figures, links."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from headrace.contracts.control import controller_id
from headrace.contracts.rollout import RolloutChange, Stage
from headrace.demo.promises import Promise
from headrace.demo.quality import PredictionLog, read_predictions, weeks
from headrace.demo.replay import Replay
from headrace.demo.summary import Harm, Summary, WeekQuality
from headrace.temporal_client import workflow_url

__all__ = ["judge"]

TRIPWIRE_S = 10.0
"""A tripwire acts within seconds."""


def judge(replay: Replay, harms: Sequence[Harm], verified: Mapping[str, Any]) -> Summary:
    """Read everything the run left behind and hold it against the promises."""
    harness, source = replay.harness, replay.source
    settings, model = harness.settings, harness.model
    log = read_predictions(settings, model.name, model.feature_names)
    changes = harness.rollouts.history(model.name)
    first = changes[0].record.champion
    by_week = weeks(log, source, settings.models_dir / model.name / first)
    assert harness.client is not None
    load = harness.client.report()
    promises = (
        *_serving(load, log),
        _verified(verified),
        *_drift(replay),
        *_rollouts(changes, harms),
        _better(by_week, changes, source.day_of),
        *_harm(harms),
    )
    state = replay.state
    facts = {
        "events replayed, features in both stores": f"{replay.events:,}",
        "predictions logged": f"{log.records:,} ({log.event_ids.size:,} events)",
        "requests of the foreign client": f"{load['requests']:,}, p50 {load['p50_ms']} ms, p99 {load['p99_ms']} ms",
        "asked before the stream had the event": f"{replay.asked_before:,}",
        "pages": f"{sum(page.action == 'trigger' for page in replay.pages.pages)} opened, "
        f"{sum(page.action == 'resolve' for page in replay.pages.pages)} resolved",
        "retrainings, refused by gates": f"{state.retrains}, {state.rejected}" if state else "none",
        "rollouts: promoted, rolled back": f"{_count(changes, 'promote')}, {_count(changes, 'rollback')}",
        "rollback after harm, wall clock": ", ".join(f"{harm.version} {harm.wall_s:.1f} s" for harm in harms),
        "waiting for": ", ".join(f"{part} {spent:.0f} s" for part, spent in harness.barriers.waited_s.items()),
    }
    reports = sorted(settings.incidents_dir.glob("*/*.html"))
    return Summary(
        title=source.title,
        days=source.days,
        events=replay.events,
        wall_s=harness.narrator.wall_s,
        weeks=by_week,
        moments=tuple(sorted(harness.narrator.moments, key=lambda moment: moment.day)),
        promises=promises,
        facts=facts,
        links={
            "servers, and MLflow's page": f"headrace up --mlflow --home {harness.home}",
            "Temporal UI, once they are up": workflow_url(settings, controller_id(model.name)),
            **{f"Evidently report {number + 1}": str(report) for number, report in enumerate(reports)},
        },
    )


def _serving(load: Mapping[str, Any], log: PredictionLog) -> tuple[Promise, ...]:
    why = f" ({load['errors'][-1]})" if load["errors"] else ""
    return (
        Promise(
            claim="no request failed, through every swap, canary, rollback and outage",
            value=f"{load['failed']} of {load['requests']:,}{why}",
            held=load["requests"] > 0 and load["failed"] == 0,
        ),
        Promise(
            claim="every answer came from a model, none from the fallback",
            value=f"{log.fallbacks} of {log.records:,}",
            held=log.records > 0 and log.fallbacks == 0,
        ),
    )


def _verified(verified: Mapping[str, Any]) -> Promise:
    compared, mismatches = int(verified.get("compared", 0)), int(verified.get("mismatches", -1))
    return Promise(
        claim="features read online equal those recomputed offline, bit for bit",
        value=f"{mismatches} mismatches in {compared:,} values",
        held=compared > 0 and mismatches == 0,
    )


def _drift(replay: Replay) -> tuple[Promise, ...]:
    pages = replay.pages.pages
    opened = [page.dedup_key for page in pages if page.action == "trigger"]
    return (
        Promise(
            claim="natural drift was noticed and paged",
            value=f"{len(opened)} pages",
            held=len(opened) > 0,
        ),
        Promise(
            claim="every page was resolved or is the last of its incident; none was sent twice",
            value=f"{len(opened)} opened, {sum(page.action == 'resolve' for page in pages)} resolved",
            held=all(_alternates(pages, key) for key in set(opened)),
        ),
    )


def _alternates(pages: Sequence[Any], key: str) -> bool:
    actions = [page.action for page in pages if page.dedup_key == key and page.action in ("trigger", "resolve")]
    return all(action == ("trigger", "resolve")[number % 2] for number, action in enumerate(actions))


def _rollouts(changes: Sequence[RolloutChange], harms: Sequence[Harm]) -> tuple[Promise, ...]:
    promoted = [change.record.champion for change in changes if change.record.stage is Stage.PROBATION]
    staged = {
        version: [
            stage
            for stage in dict.fromkeys(change.record.stage for change in changes if change.record.challenger == version)
            if stage in (Stage.SHADOW, Stage.CANARY)
        ]
        for version in promoted
    }
    bad = {harm.version for harm in harms}
    return (
        Promise(
            claim="drift led to a retrained model that beat its gates and was promoted",
            value=f"{len(promoted)} promoted: {', '.join(promoted) or 'none'}",
            held=bool(promoted),
        ),
        Promise(
            claim="each of them passed shadow and canary first",
            value=", ".join(f"{version}: {' → '.join(stages)}" for version, stages in staged.items()),
            held=all(stages == [Stage.SHADOW, Stage.CANARY] for stages in staged.values()),
        ),
        Promise(
            claim="no bad candidate became champion",
            value=", ".join(sorted(bad)),
            held=not bad & {change.record.champion for change in changes},
        ),
    )


def _better(by_week: Sequence[WeekQuality], changes: Sequence[RolloutChange], day_of: Any) -> Promise:
    since = next((day_of(change.record.at_us) for change in changes if change.record.stage is Stage.PROBATION), None)
    later = [
        (week.champion, week.frozen)
        for week in by_week
        if since is not None and week.week * 7 >= since and week.champion is not None and week.frozen is not None
    ]
    if not later:
        return Promise(
            claim="the champion of the day beats the first model", value="no full week to compare", held=False
        )
    champion, frozen = (fmean(values) for values in zip(*later, strict=True))
    return Promise(
        claim="in the weeks after the first promotion the champion of the day beats the first model",
        value=f"average precision {champion:.3f} against {frozen:.3f}",
        held=champion > frozen,
    )


def _harm(harms: Sequence[Harm]) -> tuple[Promise, ...]:
    forced, by_hand = harms
    return (
        Promise(
            claim="the bad candidate an operator forced through was rolled back by itself",
            value=_told(forced),
            held=forced.change is not None and forced.change.record.written_by != "operator",
        ),
        Promise(
            claim=f"with Temporal stopped, serving rolled back by itself within {TRIPWIRE_S:g} s",
            value=_told(by_hand),
            held=by_hand.change is not None
            and by_hand.change.record.written_by == "serving"
            and by_hand.wall_s <= TRIPWIRE_S,
        ),
    )


def _told(harm: Harm) -> str:
    return f"{harm.wall_s:.1f} s: {harm.change.record.reason}" if harm.change else f"{harm.version} was not turned away"


def _count(changes: Sequence[RolloutChange], kind: str) -> int:
    return sum(change.kind == kind for change in changes)
