"""One model's answers: every event is answered and logged, whatever the version on trial does."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headrace.clock import ManualClock
from headrace.contracts.predictions import PredictionRecord
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.errors import UnavailableError
from serving.metrics import Metrics
from serving.model_service import ModelService
from serving.model_shelf import ModelShelf
from serving.record_cache import RecordCache
from serving.record_follower import RecordFollower
from serving.request_event import RequestEvent
from serving.score_along import AlongJob, ScoreAlong
from tests.unit.serving.artifacts import write_version
from tests.unit.serving.cards import NOON_US, model, record
from tests.unit.serving.memory_store import MemoryStore

ROWS: Any = {
    "spending": SimpleNamespace(
        status="PRESENT", values={"count_1d": 3, "mean_amount_1d": None}, version=7, watermark_us=5, own_event="merged"
    ),
    "trouble": SimpleNamespace(
        status="STALE", values={"mean_bad_7d": 0.25}, version=8, watermark_us=6, own_event="applied"
    ),
}
SLOW_NS = 6_000_000


class Bad:
    """A scorer in place of a loaded version."""

    def __init__(self, score: Callable[[Any], Any]) -> None:
        self.score = score


def raising(_: Any) -> Any:
    raise ValueError("boom")


class Bench:
    """A service whose versions and log can be looked into."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        self.logged: list[PredictionRecord] = []
        self.ticks_ns = 20_000
        self._now_ns = 0
        write_version(folder / "models", model, "v1", bias=-1.0)
        write_version(folder / "models", model, "v2", bias=1.0)
        self.follower = RecordFollower(
            self.store,  # type: ignore[arg-type]  # the same methods, in memory
            ModelShelf(folder / "models", [model]),
            RecordCache(folder / "serving"),
            ["cards"],
            announce=lambda change: None,
            changed=lambda loaded: None,
            clock=ManualClock(),
        )
        self.metrics = Metrics()

    def serve(
        self, current: RolloutRecord, *, along: ScoreAlong | None = None, **bad: Callable[[Any], Any]
    ) -> ModelService:
        """A service that follows ``current``, some versions replaced by what they do wrong."""
        self.store.record = current
        self.follower.refresh()
        loaded = self.follower.current("cards")
        if loaded is not None:
            loaded.versions.update({name: Bad(score) for name, score in bad.items()})  # type: ignore[attr-defined]  # a dict
        return ModelService(
            model,
            self.follower,
            self.logged.append,
            along=along,
            metrics=self.metrics,
            clock=ManualClock(99),
            source="http",
            timer_ns=self._tick,
        )

    def _tick(self) -> int:
        self._now_ns += self.ticks_ns
        return self._now_ns


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    return Bench(tmp_path)


def event(payment: int = 1, card: int = 5) -> RequestEvent:
    return RequestEvent(payment, NOON_US, {"payment": payment, "card": card, "shop": 6, "amount": 12.5, "tip": None})


def test_the_log_says_what_was_asked_known_and_answered(bench: Bench) -> None:
    prediction = bench.serve(record()).predict([event()], [ROWS])[0]

    assert prediction.record == bench.logged[0]
    expected = PredictionRecord(
        model="cards",
        prediction_id="1/http",
        event_id="1",
        event_us=NOON_US,
        unit="5",
        entities={"card": "5", "shop": "6"},
        event={"payment": 1, "card": 5, "shop": 6, "amount": 12.5, "tip": None, "at": NOON_US},
        features={
            "spending__count_1d": 3.0,
            "spending__mean_amount_1d": None,
            "trouble__mean_bad_7d": 0.25,
            "night__late": 0.0,
            "amount": 12.5,
            "tip": None,
        },
        views={
            "spending": {"status": "PRESENT", "version": 7, "watermark_us": 5, "own_event": "merged"},
            "trouble": {"status": "STALE", "version": 8, "watermark_us": 6, "own_event": "applied"},
        },
        served_version="v1",
        score=prediction.answer.score,
        flagged=False,
        scores={"v1": prediction.answer.score},
        latency_us={"v1": 20},
        fallback="",
        epoch=2,
        stage="steady",
        source="http",
        at_us=99,
    )
    assert bench.logged[0] == expected


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY, Stage.PROBATION])
def test_in_every_trial_both_versions_score_and_one_answers(bench: Bench, stage: Stage) -> None:
    bench.serve(record(stage)).predict([event()], [ROWS])

    logged = bench.logged[0]
    assert set(logged.scores) == set(logged.latency_us) == {"v1", "v2"}
    assert logged.score == logged.scores[logged.served_version]


def test_along_scores_come_behind_the_answer(bench: Bench) -> None:
    jobs: list[AlongJob] = []
    waiting = SimpleNamespace(submit=jobs.append)
    service = bench.serve(record(Stage.SHADOW), along=waiting)  # type: ignore[arg-type]  # only submit is used
    answered = service.predict([event()], [ROWS])

    assert (answered[0].answer.version, bench.logged) == ("v1", [])
    jobs[0].run()
    assert set(bench.logged[0].scores) == {"v1", "v2"}


def test_a_full_queue_logs_without_the_comparison(bench: Bench) -> None:
    service = bench.serve(record(Stage.SHADOW), along=SimpleNamespace(submit=lambda job: job.skip()))  # type: ignore[arg-type]  # only submit is used
    service.predict([event()], [ROWS])

    assert set(bench.logged[0].scores) == {"v1"}


@pytest.mark.parametrize(
    "score",
    [lambda rows: np.full(len(rows), np.nan), lambda rows: np.zeros((len(rows), 2)), raising],
    ids=["nan", "shape", "exception"],
)
def test_a_challenger_that_fails_never_leaves_a_user_without_the_champions_answer(bench: Bench, score: Any) -> None:
    service = bench.serve(record(Stage.CANARY, share=0.999999), v2=score)
    answers = [service.predict([event(n, card=n)], [ROWS])[0].answer for n in range(10)]

    assert {(answer.version, answer.score is None, answer.fallback) for answer in answers} == {("v1", False, "")}
    loaded = bench.follower.current("cards")
    assert loaded is not None
    assert loaded.routing.challenger is None
    bench.follower.refresh()
    assert bench.store.record is not None
    assert (bench.store.record.stage, bench.store.record.champion) == (Stage.STEADY, "v1")


def test_the_request_on_which_a_constant_challenger_trips_is_answered_by_the_champion(bench: Bench) -> None:
    service = bench.serve(record(Stage.CANARY, share=0.999999), v2=lambda rows: np.full(len(rows), 0.5))
    rows = [
        {**ROWS, "trouble": SimpleNamespace(**{**vars(ROWS["trouble"]), "values": {"mean_bad_7d": n / 8}})}
        for n in range(5)
    ]
    versions = [service.predict([event(n)], [rows[n]])[0].answer.version for n in range(5)]

    assert versions == ["v2", "v2", "v2", "v2", "v1"]


def test_a_slow_challenger_trips(bench: Bench) -> None:
    bench.ticks_ns = SLOW_NS
    service = bench.serve(record(Stage.SHADOW))
    for number in range(4):
        service.predict([event(number)], [ROWS])
    bench.follower.refresh()

    assert bench.store.record is not None
    assert "4 predictions in a row above 5 ms" in bench.store.record.reason


def test_in_probation_the_predecessor_answers_when_the_promoted_version_fails(bench: Bench) -> None:
    service = bench.serve(record(Stage.PROBATION), v2=raising)
    answer = service.predict([event()], [ROWS])[0].answer

    assert (answer.version, answer.fallback) == ("v1", "")


def test_a_steady_champion_that_fails_is_a_flagged_fallback(bench: Bench) -> None:
    service = bench.serve(record(), v1=raising)
    prediction = service.predict([event()], [ROWS])[0]

    assert (prediction.answer.score, prediction.answer.fallback) == (None, "v1 failed: ValueError: boom")
    assert prediction.record.scores == {"v1": None}


def test_without_features_nobody_scores_and_the_answer_says_so(bench: Bench) -> None:
    answers = bench.serve(record()).predict([event(1), event(2)], "features unavailable: the store is away")

    assert [answer.record.score for answer in answers] == [None, None]
    assert {answer.record.fallback for answer in answers} == {"features unavailable: the store is away"}
    assert (set(bench.logged[0].features.values()), bench.logged[0].scores) == ({None}, {})


def test_request_features_that_fail_are_a_flagged_fallback(bench: Bench) -> None:
    answer = bench.serve(record()).predict([event()], [{}])[0].answer

    assert (answer.score, answer.fallback) == (None, "features unavailable: KeyError('spending')")


def test_a_batch_is_answered_row_by_row_like_single_events(bench: Bench) -> None:
    service = bench.serve(record(Stage.CANARY, share=0.5))
    events = [event(n, card=n) for n in range(20)]

    together = [prediction.answer for prediction in service.predict(events, [ROWS] * 20)]
    alone = [service.predict([one], [ROWS])[0].answer for one in events]

    assert [answer.version for answer in together] == [answer.version for answer in alone]
    assert [answer.score for answer in together] == pytest.approx([answer.score for answer in alone], rel=1e-12)
    assert {answer.version for answer in together} == {"v1", "v2"}


def test_without_any_version_the_request_is_told_what_to_do(bench: Bench) -> None:
    service = ModelService(
        model,
        bench.follower,
        bench.logged.append,
        along=None,
        metrics=bench.metrics,
        clock=ManualClock(),
        source="http",
    )
    with pytest.raises(UnavailableError, match="no version to answer with"):
        service.predict([event()], [ROWS])


def test_predictions_fallbacks_and_trips_are_counted(bench: Bench) -> None:
    bench.serve(record(), v1=raising).predict([event()], [ROWS])
    bench.serve(record(Stage.CANARY, epoch=3, share=0.999999), v2=lambda rows: np.full(len(rows), np.nan)).predict(
        [event()], [ROWS]
    )
    text = bench.metrics.text().decode()

    assert re.search(r'headrace_fallbacks_total\{model="cards",source="http"\} [1-9]', text)
    assert 'headrace_tripwires_total{model="cards",version="v2"} 1.0' in text
