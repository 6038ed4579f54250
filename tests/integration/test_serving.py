"""The HTTP server on real Redis and Kafka."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feature_store.online.online_layout import entity_key, row_field
from feature_store.online.redis_online import connect
from headrace.config import KafkaSettings, RedisSettings, Settings
from headrace.contracts.redis_keys import serving_key
from headrace.contracts.rollout import Stage
from tests.eventually import eventually
from tests.integration.serving_house import Asker, House, payment
from tests.unit.serving.cards import NOON_US

HOUR_US = 3_600_000_000
NOBODY = "127.0.0.1:1"
"""An address nobody listens at."""


@pytest.fixture
def house(stack: Settings, tmp_path: Path, fresh_name: Callable[[str], str]) -> House:
    made = House(stack, tmp_path, fresh_name("cards"))
    made.publish("v1", weight=0.01)
    made.publish("v2", weight=0.02)
    made.publish("v3", weight=0.03)
    return made


def test_a_prediction_is_the_same_whether_the_request_or_the_stream_comes_first(house: House) -> None:
    past = [payment(n, at_us=NOON_US + n * HOUR_US, amount=0.1 * n) for n in range(1, 6)]
    event = payment(6, at_us=NOON_US + 26 * HOUR_US, amount=7.77)
    house.apply(*past)
    house.roll_out()
    with house.serving() as ask:
        first = ask.predict(house.model.name, event)
        house.apply(event)
        then = ask.predict(house.model.name, event)

    assert first["views"]["spending"]["own_event"] == "merged"
    assert then["views"]["spending"]["own_event"] == "applied"
    assert (first["features"], first["score"]) == (then["features"], then["score"])
    assert first["features"]["spending__count_1d"] == 4.0  # 3 h, 4 h, 5 h and its own; 2 h has just left
    assert first["features"]["spending__mean_amount_1d"] == (30 + 40 + 50 + 777) / 400


def test_the_first_event_of_a_card_and_a_shop_has_features(house: House) -> None:
    house.roll_out()
    with house.serving() as ask:
        answer = ask.predict(house.model.name, payment(1, amount=12.5))

    assert answer["features"] == {
        "spending__count_1d": 1.0,
        "spending__mean_amount_1d": 12.5,
        "trouble__mean_bad_7d": 0.0,
        "night__late": 0.0,
        "amount": 12.5,
        "tip": None,
    }
    assert (answer["fallback"], answer["version"], answer["stage"]) == ("", "v1", "steady")


def test_features_are_answered_in_feasts_form(house: House) -> None:
    house.apply(payment(1, card=1, shop=7, amount=4.0), payment(2, card=1, shop=7, at_us=NOON_US + 5, amount=5.0))
    body = {"features": ["spending:count_1d", "spending:mean_amount_1d"], "entities": {"card": [1, 99]}}
    with house.serving() as ask:
        status, answer = ask("POST", "/get-online-features", body)

    stamps = ["2018-04-01T12:00:00.000005Z", "1970-01-01T00:00:00Z"]
    seen = ["PRESENT", "NOT_FOUND"]
    assert status == 200
    assert answer["metadata"]["feature_names"] == ["card", "count_1d", "mean_amount_1d"]
    assert answer["results"][1] == {"values": [2, None], "statuses": seen, "event_timestamps": stamps}
    assert answer["results"][2] == {"values": [4.5, None], "statuses": seen, "event_timestamps": stamps}


def test_requests_that_come_together_are_answered_as_each_alone(house: House, stack: Settings) -> None:
    house.apply(*(payment(n, card=n, shop=7, amount=1.5 * n) for n in range(1, 9)))
    spending = ["spending:count_1d", "spending:mean_amount_1d"]
    bodies: list[Any] = [{"features": spending, "entities": {"card": [n]}} for n in range(1, 12)]
    bodies += [{"features": ["trouble:mean_bad_7d"], "entities": {"shop": [n]}} for n in (7, 8)]
    bodies += [{"features": spending, "entities": {"card": keys}} for keys in ([1, 2, 99], ["1"], [], [2**64])]
    bodies += [{"features": ["nobody:none"], "entities": {"card": [3]}}, [5]]
    store = connect(stack.redis.url)
    keys = {n: entity_key("card", n, house.project.name) for n in (4, 5)}
    store.delete(*keys.values())
    store.set(keys[4], "no hash")
    store.hset(keys[5], row_field("spending").decode(), "cut off")
    with house.serving() as ask:
        alone = [ask("POST", "/get-online-features", body) for body in bodies]
        together = ask.pipelined("/get-online-features", bodies)
    store.delete(*keys.values())

    assert together == alone
    assert [status for status, _ in alone[:8]] == [200, 200, 200, 500, 500, 200, 200, 200]


def test_a_batch_is_answered_in_order(house: House) -> None:
    house.roll_out()
    events = [payment(n, card=n, amount=float(n)) for n in range(1, 40)]
    with house.serving() as ask:
        status, answer = ask("POST", f"/predict/{house.model.name}", {"events": events})
        single = ask.predict(house.model.name, events[7])

    assert status == 200
    assert [one["prediction_id"] for one in answer["predictions"]] == [f"{n}/http" for n in range(1, 40)]
    assert answer["predictions"][7] == {**single, "score": pytest.approx(single["score"], rel=1e-12)}


def test_every_prediction_is_in_the_log_with_the_features_used(house: House, stack: Settings) -> None:
    house.roll_out(stage=Stage.SHADOW, epoch=3)
    with house.serving() as ask:
        answers = {n: ask.predict(house.model.name, payment(n, card=n)) for n in range(1, 21)}

    logged = {int(one.event_id): one for one in house.logged()}
    assert logged.keys() == answers.keys()
    for number, answer in answers.items():
        assert logged[number].features == answer["features"]
        assert logged[number].scores["v1"] == logged[number].score == answer["score"]
        assert set(logged[number].scores) == {"v1", "v2"}


def test_a_hundred_hot_swaps_under_load_fail_no_request(house: House) -> None:
    house.roll_out(epoch=1)
    load = _Load(house)
    with house.serving() as ask, load.running(ask, clients=4):
        for epoch in range(2, 102):
            house.roll_out(epoch=epoch, champion=f"v{epoch % 3 + 1}")
            eventually(lambda epoch=epoch: epoch in load.epochs, what=f"an answer of epoch {epoch}")

    assert load.failures == []
    assert load.epochs == set(range(1, 102))
    assert {answer["fallback"] for answer in load.answers} == {""}
    assert all(answer["version"] == f"v{answer['epoch'] % 3 + 1}" for answer in load.answers if answer["epoch"] > 1)


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.CANARY, Stage.PROBATION])
def test_a_version_that_answers_nan_is_rolled_back_and_no_user_notices(
    house: House, stack: Settings, stage: Stage
) -> None:
    house.publish("v4", weight=float("nan"))
    names = {"champion": "v4"} if stage is Stage.PROBATION else {"challenger": "v4"}
    trial = house.roll_out(stage=stage, epoch=3, share=0.5, **names)
    load = _Load(house)
    with house.serving() as ask, load.running(ask, clients=2):
        eventually(lambda: _in_force(house).stage is Stage.STEADY, timeout_s=5, what="a rollback")
        eventually(lambda: 4 in load.epochs)

    assert load.failures == []
    assert {(answer["version"], answer["score"] is None, answer["fallback"]) for answer in load.answers} == {
        ("v1", False, "")
    }
    record = _in_force(house)
    assert (record.epoch, record.champion, record.challenger, record.written_by) == (4, "v1", None, "serving")
    assert "v4 tripped: score nan" in record.reason
    change = house.store.history(house.model.name)[-1]
    assert (change.kind, change.evidence["rollout_id"]) == ("rollback", trial.rollout_id)
    assert change in eventually(house.announced)


def test_servers_say_what_they_have_loaded_until_they_stop(house: House) -> None:
    """A line whose server was killed long ago is cleared away."""
    house.roll_out(stage=Stage.CANARY, epoch=3)
    killed = '{"epoch": 1, "versions": ["v1"], "beat_us": 0}'
    connect(house.settings.redis.url).hset(serving_key(house.model.name), "10.0.0.1:80", killed)
    with house.serving() as ask:
        lines = eventually(lambda: (told := house.told()) and b"10.0.0.1:80" not in told and told)
        assert list(lines) == [f"127.0.0.1:{ask.port}".encode()]
        assert b'"epoch": 3, "versions": ["v1", "v2"]' in next(iter(lines.values()))

    assert house.told() == {}


def test_predictions_are_served_while_the_broker_is_away(house: House) -> None:
    house.roll_out()
    with house.serving(replace(house.settings, kafka=KafkaSettings(bootstrap=NOBODY))) as ask:
        answers = [ask.predict(house.model.name, payment(n)) for n in range(50)]
        metrics = ask("GET", "/metrics")[1].decode()

    assert {answer["fallback"] for answer in answers} == {""}
    assert "headrace_prediction_log_written 50.0" in metrics
    assert "headrace_prediction_log_dropped 0.0" in metrics


def test_without_the_online_store_a_server_boots_from_its_copy_and_answers_by_a_flagged_fallback(house: House) -> None:
    house.roll_out(epoch=5)
    with house.serving() as ask:
        assert ask.predict(house.model.name, payment(1))["epoch"] == 5
    alone = replace(house.settings, redis=RedisSettings(url=f"redis://{NOBODY}/0"))
    with house.serving(alone) as ask:
        answer = ask.predict(house.model.name, payment(2))
        features = ask("POST", "/get-online-features", {"features": ["spending:count_1d"], "entities": {"card": [1]}})
        ready = ask("GET", "/ready")

    assert (answer["score"], answer["flagged"], answer["epoch"], answer["version"]) == (None, False, 5, "v1")
    assert answer["fallback"].startswith("features unavailable")
    assert (features[0], features[1]["error"]["field"]) == (503, "")
    assert (ready[0], ready[1]["status"]) == (200, "degraded")


def test_before_the_first_champion_features_are_served_and_predictions_are_not(house: House) -> None:
    with house.serving() as ask:
        predicted = ask("POST", f"/predict/{house.model.name}", payment(1))
        features = ask("POST", "/get-online-features", {"features": ["spending:count_1d"], "entities": {"card": [1]}})

    assert (predicted[0], features[0]) == (503, 200)
    assert "no version" in predicted[1]["error"]["message"]


GOOD = payment(1)
BAD: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/predict/{model}", b"{", 400, ""),
    ("POST", "/predict/{model}", b"", 400, ""),
    ("POST", "/predict/{model}", b'{"card": NaN}', 400, ""),
    ("POST", "/predict/{model}", b"[" * 5000, 400, ""),
    ("POST", "/predict/{model}", {"event": {**GOOD, "card": "1"}}, 400, "event.card"),
    ("POST", "/predict/{model}", {"event": {**GOOD, "at": "2018-04-01T12:00:00"}}, 400, "event.at"),
    ("POST", "/predict/{model}", {"event": {**GOOD, "colour": 1}}, 400, "event.colour"),
    ("POST", "/predict/{model}", {"events": [GOOD] * 1001}, 413, "events"),
    ("POST", "/predict/{model}", b" " * 1_100_000, 413, ""),
    ("POST", "/predict/nobody", GOOD, 404, "model"),
    ("POST", "/get-online-features", {"features": ["spending:none"], "entities": {"card": [1]}}, 400, "features[0]"),
    ("POST", "/get-online-features", {"features": ["nobody:none"], "entities": {"card": [1]}}, 400, "features[0]"),
    ("POST", "/get-online-features", {"features": ["spending:count_1d"], "entities": {"x": [1]}}, 400, "entities.x"),
    (
        "POST",
        "/get-online-features",
        {"features": ["spending:count_1d"], "entities": {"card": [1] * 1001}},
        413,
        "entities.card",
    ),
    ("GET", "/models/nobody", None, 404, "model"),
    ("GET", "/predict/{model}", None, 405, ""),
    ("GET", "/nowhere", None, 404, ""),
]


def test_bad_input_is_a_clear_4xx_and_the_next_request_is_served(house: House) -> None:
    house.roll_out()
    with house.serving() as ask:
        for method, path, body, status, field in BAD:
            said_status, said = ask(method, path.format(model=house.model.name), body)

            assert (said_status, said["error"]["field"]) == (status, field), (path, body)
            assert said["error"]["message"], (path, body)
            assert "Traceback" not in str(said)
        assert ask.predict(house.model.name, GOOD)["score"] is not None


def test_a_server_tells_about_itself(house: House) -> None:
    house.roll_out(stage=Stage.CANARY, epoch=3)
    with house.serving() as ask:
        ask.predict(house.model.name, GOOD)
        health, ready, models = ask("GET", "/health"), ask("GET", "/ready"), ask("GET", f"/models/{house.model.name}")
        # A request is counted after its answer has left.
        counted = 'headrace_requests_total{route="/predict/{model}",status="200"} 1.0'
        eventually(lambda: counted in ask("GET", "/metrics")[1].decode(), what=counted)
        metrics = ask("GET", "/metrics")[1].decode()

    assert (health, ready[1]["status"]) == ((200, {"status": "ok"}), "ready")
    assert (models[1]["record"]["stage"], models[1]["versions"]) == ("canary", ["v1", "v2"])
    assert f'headrace_rollout_epoch{{model="{house.model.name}"}} 3.0' in metrics


class _Load:
    """Clients that ask as fast as they are answered, and remember everything."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stop = threading.Event()
        self.answers: list[dict[str, Any]] = []
        self.failures: list[str] = []

    @property
    def epochs(self) -> set[int]:
        """Epochs anybody was answered under."""
        return {answer["epoch"] for answer in list(self.answers)}

    def running(self, ask: Asker, *, clients: int) -> "_Running":
        return _Running(
            [threading.Thread(target=self._run, args=(ask.another(), n)) for n in range(clients)], self._stop
        )

    def _run(self, ask: Asker, client: int) -> None:
        number = client * 1_000_000
        while not self._stop.is_set():
            number += 1
            event = payment(number, card=number % 997, amount=number % 89)
            try:
                self.answers.append(ask.predict(self._house.model.name, event))
            except Exception as error:
                self.failures.append(repr(error))


class _Running:
    def __init__(self, threads: list[threading.Thread], stop: threading.Event) -> None:
        self._threads, self._stop = threads, stop

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _in_force(house: House) -> Any:
    return house.store.read(house.model.name)
