"""The demo: the whole loop on a replay clock, told as it happens.

servers ─► features ─► first model ─► days under load: drift, page, retrain, gate, shadow, canary, promotion
        ─► a bad candidate by override: harm, rollback ─► the same with Temporal stopped ─► proof and pictures
"""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace.contracts.control import OperatorCommand
from headrace.contracts.rollout import RolloutChange, Stage
from headrace.demo import outcome
from headrace.demo.harness import Harness
from headrace.demo.narrator import Narrator
from headrace.demo.page import write_page
from headrace.demo.pages import PageBook
from headrace.demo.pictures import draw_quality
from headrace.demo.promises import all_held
from headrace.demo.replay import Replay
from headrace.demo.sabotage import invert, overflow
from headrace.demo.source import Source
from headrace.demo.summary import Harm
from headrace.errors import RejectedError, UnavailableError
from headrace.local.stack import EmbeddedStack
from headrace.rollout_records import begin_canary, begin_shadow
from headrace.rollout_store import announce
from headrace.spec.model import Model
from headrace.spec.project import Project
from monitors.pager import Pager
from streams.publisher import Publisher
from trainers.registry import ModelRegistry

__all__ = ["run_demo"]

FIRST_MODEL_DAY = 15
"""Labels of the first week are known by then."""
LAST_DAYS = 9
"""Days kept for the two bad candidates."""
STEADY_RATE = 20.0
OPERATOR = "operator"
LARGE_AMOUNT = "tx_amount"
LOCK = "demo.lock"
"""Marks the home of a demo, and is held while one runs."""


def run_demo(home: Path, project: Project, model: Model, source: Source, *, out: Path, narrator: Narrator) -> bool:
    """Run the whole story; returns whether every promise held.

    Args:
        home: folder of the embedded stack; emptied first, so that the story begins at the beginning.
        project: definitions.
        model: the model to keep right.
        source: events to replay.
        out: folder for pictures and page.
        narrator: where the story goes.

    Raises:
        RejectedError: the folder is not a demo's, or another demo runs in it.
    """
    with _own(home):
        return _tell(home, project, model, source, out, narrator)


def _tell(home: Path, project: Project, model: Model, source: Source, out: Path, narrator: Narrator) -> bool:
    narrator.chapter(f"{source.title}: {source.table.num_rows:,} events of {source.days} days")
    pager_file = home / "logs" / "pager.jsonl"
    pager_file.parent.mkdir(parents=True, exist_ok=True)
    with Pager(pager_file) as pager, pager.as_settings(), Harness(home, project, model, narrator) as harness:
        narrator.chapter("Definitions into Feast, features into both stores")
        _print_plan(narrator, harness.run_command("apply", "--project", str(project.path)))
        harness.start_roles()
        publisher = Publisher(harness.settings, project, source.stream, source.table, source.labels)
        replay = Replay(harness, source, publisher, PageBook(pager_file, []))
        replay.warm_up(min(FIRST_MODEL_DAY, source.days - 1))

        narrator.chapter("The first model, and load from a foreign client")
        _first_model(replay)
        harness.start_serving(rate=STEADY_RATE)
        narrator.say(f"serving at {harness.address}, asked {STEADY_RATE:g} times a second from now on", day=replay.day)

        narrator.chapter("Days under load")
        while replay.day < source.days - LAST_DAYS:
            replay.play_day()

        narrator.chapter("A bad candidate, forced through by an operator")
        inverted = _forced_candidate(replay)
        narrator.chapter("The same with Temporal stopped")
        overflowed = _without_temporal(replay)
        narrator.chapter("The last days")
        while replay.day < source.days:
            replay.play_day()

        narrator.chapter("Proof")
        summary = outcome.judge(replay, [inverted, overflowed], _verify(harness))
        out.mkdir(parents=True, exist_ok=True)
        draw_quality(summary, out / "quality.png")
        write_page(summary, out / "quality.png", out / "summary.html")
        narrator.facts(summary)
        narrator.promises(summary)
        narrator.say(f"pictures and page: {out / 'summary.html'}")
        narrator.say(
            f"servers are stopped, data stays in {home}; look around with `headrace up --mlflow --home {home}`"
        )
    return all_held(list(summary.promises))


@contextmanager
def _own(home: Path) -> Iterator[None]:
    """Empty the folder and keep it from other demos; only a folder that a demo made is ever emptied.

    Raises:
        RejectedError: it holds something else, or a demo runs in it.
    """
    lock = home / LOCK
    if home.exists() and any(home.iterdir()) and not lock.exists():
        raise RejectedError(f"{home} holds files that are no demo's", hint="give --home a new or empty folder")
    home.mkdir(parents=True, exist_ok=True)
    with lock.open("a", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RejectedError(
                f"another demo runs in {home}", hint="wait for it, or give this one a --home of its own"
            ) from error
        EmbeddedStack(home).down()
        for path in home.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != lock:
                path.unlink()
        yield


def _print_plan(narrator: Narrator, plan: str) -> None:
    for line in plan.strip().splitlines():
        narrator.say(line)


def _first_model(replay: Replay) -> None:
    harness = replay.harness
    at_us = replay.source.day_end_us(replay.day - 1)
    harness.narrator.say("the operator asks for a first model", day=replay.day)
    harness.controller.command(OperatorCommand(action="retrain", by=OPERATOR, reason="first model", at_us=at_us))
    harness.barriers.wait("first model", lambda: _first_is_there(replay))
    replay.tell()


def _first_is_there(replay: Replay) -> bool:
    if replay.record() is not None:
        return True
    state = replay.harness.controller.state()
    ended = ("rejected,", "too_few_labels,", "failed:")
    if state is not None and state.history and any(word in state.history[-1] for word in ended):
        raise UnavailableError(f"there is no first model: {state.history[-1]}", hint="see the worker's log")
    return False


def _forced_candidate(replay: Replay) -> Harm:
    """An inverted model is registered and forced past the gates; traffic's evidence sends it back."""
    harness, narrator = replay.harness, replay.harness.narrator
    _until_steady(replay, days_left=7)
    version = _register(replay, "inverted", lambda good, bad: invert(good, bad))
    narrator.say(f"{version} scores 1 - p, as after swapped labels; the operator overrides the gates", day=replay.day)
    before, started = len(replay.changes), time.monotonic()
    at_us = replay.source.day_end_us(replay.day - 1)
    harness.controller.command(
        OperatorCommand(action="override", by=OPERATOR, reason="urgent, skip the gates", version=version, at_us=at_us)
    )
    harness.barriers.wait("override", lambda: _challenger(replay) == version)
    replay.tell()
    while replay.day < replay.source.days - 4 and _challenger(replay) == version:
        replay.play_day()
    return _judged(replay, version, before, started)


def _without_temporal(replay: Replay) -> Harm:
    """Temporal is down; a model that overflows is put on trial by hand; serving's own tripwire sends it back."""
    harness, narrator = replay.harness, replay.harness.narrator
    _until_steady(replay, days_left=4)
    version = _register(replay, "overflowing", lambda good, bad: overflow(good, bad, feature=LARGE_AMOUNT))
    harness.stack.stop_service("temporal")
    narrator.say("Temporal is stopped", day=replay.day, style="yellow")
    record, before = replay.record(), len(replay.changes)
    assert record is not None
    at_us = replay.source.day_end_us(replay.day - 1)
    reason = f"{version} put on trial by hand while Temporal is away"
    shadow = begin_shadow(
        record,
        challenger=version,
        rollout_id=f"by-hand-{version}",
        salt=version,
        reason=reason,
        by=OPERATOR,
        at_us=at_us,
    )
    canary = begin_canary(shadow, share=0.25, reason=reason, by=OPERATOR, at_us=at_us)
    narrator.say(f"{version} answers NaN on large amounts; the operator gives it a quarter of traffic", day=replay.day)
    started = time.monotonic()
    for step, kind in ((shadow, "shadow"), (canary, "canary")):
        change = RolloutChange(record=step, kind=kind, evidence={"by_hand": True}, wall_us=time.time_ns() // 1000)
        harness.rollouts.write(change)
        announce(harness.settings, change)
    rows = replay.source.rows_of(replay.day - 1)
    assert harness.client is not None
    harness.client.steady(replay.source.requests(list(range(rows.start, min(rows.stop, rows.start + 400)))))
    harness.barriers.wait("tripwire", lambda: _challenger(replay) != version, timeout_s=60)
    replay.tell()
    harm = _judged(replay, version, before, started)
    harness.stack.start_service("temporal")
    narrator.say("Temporal is back", day=replay.day)
    return harm


def _until_steady(replay: Replay, *, days_left: int) -> None:
    """Let a rollout in flight come to its end; when the days run out, the operator ends it."""
    while _stage(replay) is not Stage.STEADY and replay.day < replay.source.days - days_left:
        replay.play_day()
    stage = _stage(replay)
    if stage is Stage.STEADY:
        return
    action = "promote" if stage is Stage.PROBATION else "rollback"
    reason = "probation ends early" if stage is Stage.PROBATION else "the trial is called off"
    replay.harness.narrator.say(f"the operator: {reason}", day=replay.day)
    at_us = replay.source.day_end_us(replay.day - 1)
    replay.harness.controller.command(OperatorCommand(action=action, by=OPERATOR, reason=reason, at_us=at_us))
    replay.harness.barriers.wait("operator", lambda: _stage(replay) is Stage.STEADY)
    replay.tell()


def _stage(replay: Replay) -> Stage:
    record = replay.record()
    return Stage.STEADY if record is None else record.stage


def _register(replay: Replay, name: str, make: Any) -> str:
    """Make a bad candidate of the champion and register it as any other version; returns its version."""
    settings, model = replay.harness.settings, replay.harness.model
    record = replay.record()
    assert record is not None
    bad = settings.runs_dir / f"demo-{name}" / "artifact"
    bad.parent.mkdir(parents=True, exist_ok=True)
    make(settings.models_dir / model.name / record.champion, bad)
    registry = ModelRegistry(settings)
    return registry.register(bad, registry.record_run(bad, tags={"demo": name})).version


def _challenger(replay: Replay) -> str | None:
    record = replay.record()
    return None if record is None else record.challenger


def _judged(replay: Replay, version: str, before: int, started: float) -> Harm:
    changes = replay.harness.rollouts.history(replay.harness.model.name)[before:]
    change = next((c for c in changes if c.kind == "rollback" and c.record.champion != version), None)
    return Harm(version=version, change=change, wall_s=time.monotonic() - started)


def _verify(harness: Harness) -> dict[str, Any]:
    printed = harness.run_command("verify", "--project", str(harness.project.path), "--json", accept=(0, 1))
    found: dict[str, Any] = json.loads(printed)
    return found
