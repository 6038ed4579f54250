"""One incident per model and kind, whatever number of features: a pure state machine over window findings.

    OK ──alarm──► SUSPECTED ──k of m──► CONFIRMED ──person──► ACKNOWLEDGED
     ▲               │                      │                      │
     └──m quiet──────┘                      └──n clean windows─────┴──► RESOLVED ──rest over──► OK

Two kinds: ``data`` is confirmed by its first alarm (broken data needs no second look) and blocks retraining;
``model`` is confirmed by persistence and requests it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from headrace.contracts.monitoring import DATA_CAUSES, Cause, Incident, IncidentState, Verdict, WindowReport
from headrace.errors import RejectedError
from headrace.spec.policies import MonitorPolicy
from monitors.policy import is_clean, persistent

__all__ = [
    "KINDS",
    "OPEN",
    "TRANSITIONS",
    "IncidentTrack",
    "acknowledge",
    "dedup_key",
    "describe",
    "new_track",
    "step",
]

_S = IncidentState

TRANSITIONS: Mapping[IncidentState, frozenset[IncidentState]] = MappingProxyType(
    {
        _S.OK: frozenset({_S.SUSPECTED}),
        _S.SUSPECTED: frozenset({_S.OK, _S.CONFIRMED}),
        _S.CONFIRMED: frozenset({_S.ACKNOWLEDGED, _S.RESOLVED}),
        _S.ACKNOWLEDGED: frozenset({_S.RESOLVED}),
        _S.RESOLVED: frozenset({_S.OK}),
    }
)
"""The one table of legal transitions."""

OPEN = frozenset({_S.CONFIRMED, _S.ACKNOWLEDGED})
KINDS = ("data", "model")
_SEVERITY = {Cause.QUALITY: "critical", Cause.DRIFT: "warning", Cause.PREDICTION: "warning", Cause.CONCEPT: "warning"}
_TOLD = 4
"""Subjects named in a summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentTrack:
    """Everything the machine remembers about one model and kind; plain values, kept as JSON."""

    model: str
    kind: str
    state: IncidentState = IncidentState.OK
    version: str = ""
    """Model version the alarms below are about; another version starts afresh."""
    recent: tuple[tuple[str, ...], ...] = ()
    """Subjects that alarmed in each of the last m windows, oldest first."""
    clean: int = 0
    """Clean windows in a row."""
    opened_us: int = 0
    updated_us: int = 0
    rest_until_us: int = 0
    """After a resolved model incident nothing new is suspected before this event time (cooldown)."""
    causes: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    """Every subject confirmed since the incident opened."""
    active: tuple[str, ...] = ()
    """Subjects that must be clean before it can resolve."""
    severity: str = "info"
    summary: str = ""
    insists: bool = False
    """Whether the newest window confirms it again, on evidence about ``version``."""

    @property
    def is_open(self) -> bool:
        return self.state in OPEN


def dedup_key(model: str, kind: str) -> str:
    """Key of an incident, the same for its whole life and for the next of its kind.

    >>> dedup_key("fraud", "model")
    'headrace-fraud-model-eba3c20d'
    """
    digest = hashlib.sha256(f"{model}\n{kind}".encode()).hexdigest()[:8]
    return f"headrace-{model[:100]}-{kind}-{digest}"


def new_track(model: str, kind: str) -> IncidentTrack:
    """Nothing has happened yet."""
    return IncidentTrack(model=model, kind=kind)


def step(track: IncidentTrack, report: WindowReport, policy: MonitorPolicy) -> IncidentTrack:
    """Take in one window; pure, so the same reports always make the same incidents."""
    verdicts = [verdict for verdict in report.verdicts if (verdict.cause in DATA_CAUSES) == (track.kind == "data")]
    persistence = (1, 1) if track.kind == "data" else policy.persistence
    if track.version != report.version:
        track = replace(track, version=report.version, recent=(), active=(), clean=0)
    alarming = tuple(sorted({_subject(verdict) for verdict in verdicts if verdict.alarming}))
    resting = track.state is _S.RESOLVED and report.until_us < track.rest_until_us
    recent = () if resting else (*track.recent, alarming)[-persistence[1] :]
    confirmed = persistent(recent, persistence)
    track = replace(track, recent=recent, updated_us=report.until_us, insists=bool(confirmed))
    if track.is_open:
        return _step_open(track, verdicts, confirmed, report, policy)
    if resting:
        return track
    if track.state is _S.RESOLVED:
        track = _move(track, _S.OK)
    if track.state is _S.OK and alarming:
        track = _move(track, _S.SUSPECTED)
    if track.state is _S.SUSPECTED and confirmed:
        track = replace(
            _move(track, _S.CONFIRMED), opened_us=report.until_us, clean=0, causes=(), subjects=(), severity="info"
        )
        return _with_evidence(track, verdicts, confirmed)
    if track.state is _S.SUSPECTED and not any(recent):
        track = _move(track, _S.OK)
    return track


def acknowledge(track: IncidentTrack, at_us: int) -> IncidentTrack:
    """A person has seen it; acknowledging what is not confirmed changes nothing."""
    if track.state is not _S.CONFIRMED:
        return track
    return replace(_move(track, _S.ACKNOWLEDGED), updated_us=max(at_us, track.updated_us))


def describe(track: IncidentTrack, *, report_url: str = "", links: Mapping[str, str] | None = None) -> Incident:
    """The track as the contract others read."""
    return Incident(
        dedup_key=dedup_key(track.model, track.kind),
        model=track.model,
        state=track.state,
        kind=track.kind,
        causes=track.causes,
        subjects=track.subjects,
        summary=track.summary,
        severity=track.severity,
        opened_us=track.opened_us,
        updated_us=track.updated_us,
        report_url=report_url,
        links=dict(links or {}),
    )


def _step_open(
    track: IncidentTrack,
    verdicts: Sequence[Verdict],
    confirmed: tuple[str, ...],
    report: WindowReport,
    policy: MonitorPolicy,
) -> IncidentTrack:
    if confirmed:
        return replace(_with_evidence(track, verdicts, confirmed), clean=0)
    by_subject: dict[str, bool] = {}
    for verdict in verdicts:
        name = _subject(verdict)
        by_subject[name] = by_subject.get(name, True) and is_clean(verdict)
    # What was not measured is not known to be clean; without any verdict nothing is known at all.
    is_over = bool(by_subject) and all(by_subject.get(name, False) for name in track.active)
    track = replace(track, clean=track.clean + 1 if is_over else 0)
    if track.clean < policy.resolve_after:
        return track
    rest_us = policy.resolve_after * policy.window_us if track.kind == "model" else 0
    return replace(_move(track, _S.RESOLVED), recent=(), active=(), clean=0, rest_until_us=report.until_us + rest_us)


def _with_evidence(track: IncidentTrack, verdicts: Sequence[Verdict], confirmed: tuple[str, ...]) -> IncidentTrack:
    found = [verdict for verdict in verdicts if verdict.alarming and _subject(verdict) in confirmed]
    causes = _union(track.causes, (verdict.cause.value for verdict in found))
    severities = {"critical" if track.kind == "data" else _SEVERITY[Cause(cause)] for cause in causes}
    return replace(
        track,
        causes=causes,
        subjects=_union(track.subjects, confirmed),
        active=_union(track.active, confirmed),
        severity="critical" if "critical" in severities else "warning",
        summary=_summary(track, found),
    )


def _summary(track: IncidentTrack, found: Sequence[Verdict]) -> str:
    worst = sorted(found, key=lambda verdict: -_excess(verdict))
    told = [
        f"{verdict.subject} {verdict.statistic} {verdict.value:.3g} (limit {verdict.threshold:.3g})"
        for verdict in worst[:_TOLD]
    ]
    more = f" and {len(worst) - _TOLD} more findings" if len(worst) > _TOLD else ""
    what = "bad data" if track.kind == "data" else "drift"
    return f"{track.model} {track.version}: {what}: {', '.join(told)}{more}"


def _excess(verdict: Verdict) -> float:
    return verdict.value / verdict.threshold if verdict.threshold > 0 else float("inf")


def _subject(verdict: Verdict) -> str:
    return f"{verdict.cause.value}:{verdict.subject}"


def _union(known: tuple[str, ...], new: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*known, *new}))


def _move(track: IncidentTrack, state: IncidentState) -> IncidentTrack:
    if state not in TRANSITIONS[track.state]:
        raise RejectedError(f"an incident cannot go from {track.state} to {state}")
    return replace(track, state=state)
