"""Definitions check themselves when built; every error names the field, the value and the next step."""

import dataclasses

import pytest

from headrace import (
    ArrowBatches,
    Avro,
    BeatsChampion,
    EventStream,
    FeatureView,
    Float64,
    Int64,
    Json,
    LabelStream,
    Model,
    MonitorPolicy,
    RequestFeatures,
    RolloutPolicy,
    String,
    count,
    mean,
)
from headrace.errors import DefinitionError
from headrace.spec.project import fingerprint

PAYMENTS = EventStream(
    "payments", key="card", time="at", id="payment", schema={"card": Int64, "shop": String(), "amount": Float64()}
)
OUTCOMES = LabelStream("outcomes", of=PAYMENTS, value="fraud", delay="7d")
CLICKS = EventStream("clicks", key="card", time="at", id=None, schema={"card": Int64, "page": Int64})


def view(**changes: object) -> FeatureView:
    given = {"entity": "card", "source": PAYMENTS, "features": [count().over("1d")]} | changes
    return FeatureView("activity", **given)


def test_names_are_derived_from_what_is_computed() -> None:
    activity = view(features=[count().over("1d", "36h"), mean("amount").over("7d")])

    assert activity.feature_names == ("count_1d", "count_1d12h", "mean_amount_7d")
    assert activity.full_names[2] == "activity__mean_amount_7d"


@pytest.mark.parametrize(
    ("closed", "enter_us", "leave_us"),
    [("left", 1, 61), ("right", 0, 60), ("both", 0, 61), ("neither", 1, 60)],
)
def test_closed_decides_the_first_and_last_visible_instant(closed: str, enter_us: int, leave_us: int) -> None:
    """An event at t is visible at q iff t + enter <= q < t + leave; window 60 µs, no delay."""
    (feature,) = count().over("60us")

    assert feature.window.enters(closed, 0).passes(0) == enter_us
    assert feature.window.leaves(closed, 0).passes(0) == leave_us


def test_a_delay_shifts_both_ends() -> None:
    (feature,) = count().over("10us", delay="5us")

    assert feature.window.enters("right", feature.delay_us).passes(0) == 5
    assert feature.window.leaves("right", feature.delay_us).passes(0) == 15


def test_definitions_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAYMENTS.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("build", "names", "hint"),
    [
        (lambda: EventStream("Payments", key="a", time="t", id="i", schema={"a": Int64}), "'Payments'", "a-z"),
        (lambda: EventStream("p", key="b", time="t", id="i", schema={"a": Int64}), "'b'", "key"),
        (lambda: EventStream("p", key="a", time="t", id="", schema={"a": Int64}), "id is ''", "id=None"),
        (lambda: EventStream("p", key="a", time="t", id=None, schema={"a": Int64, "_id": Int64}), "'_id'", "id='_id'"),
        (lambda: EventStream("p", key="a", time="_id", id=None, schema={"a": Int64}), "'_id'", "id='_id'"),
        (lambda: EventStream("p", key="a", time="_offset", id="i", schema={"a": Int64}), "'_offset'", "another name"),
        (
            lambda: EventStream("p", key="a", time="t", id="i", schema={"a": Int64, "_Late": Int64}),
            "'_Late'",
            "another name",
        ),
        (
            lambda: EventStream("p", key="a", time="t", id="i", schema={"a": Int64, "_id": Int64}),
            "'_id'",
            "another name",
        ),
        (lambda: EventStream("p", key="a", time="t", id="_key", schema={"a": Int64}), "'_key'", "another name"),
        (lambda: EventStream("p", key="_id", time="t", id=None, schema={"a": Int64}), "'_id'", "key"),
        (lambda: dataclasses.replace(CLICKS, format=ArrowBatches()), "share its offset", "a message for each event"),
        (lambda: LabelStream("l", of=CLICKS, value="back", delay="1d"), "'clicks' has no id", "random UUID"),
        (lambda: view(entity="_id", source=CLICKS), "'_id'", "['card', 'page']"),
        (lambda: view(features=[mean("_id").over("1d")], source=CLICKS), "'_id'", "['card', 'page']"),
        (lambda: RequestFeatures("r", of=CLICKS, fn=lambda e: {"x": e["_id"]}), "KeyError", "columns"),
        (lambda: EventStream("p", key=None, time="t", id="i", schema={"a": Int64}), "key is None", "partition by"),
        (lambda: EventStream("p", key="a", time=None, id="i", schema={"a": Int64}), "time is None", "event time"),
        (lambda: LabelStream("l", of=PAYMENTS, value=None, delay="1d"), "value is None", "outcome"),
        (lambda: EventStream("p", key="a", time="a", id="i", schema={"a": Int64}), "'a'", "leave it out"),
        (lambda: EventStream("p", key="a", time="t", id="i", schema={"a": float}), "float", "Int64"),
        (lambda: EventStream("p", key="a", time="t", id="i", schema={"a": Int64}, lateness="6 h"), "'6 h'", "'6h'"),
        (lambda: Float64(resolution=0.3), "0.3", "0.01"),
        (lambda: LabelStream("l", of=PAYMENTS, value="amount", delay="1d"), "'amount'", "name of its own"),
        (lambda: view(entity="amount"), "'amount'", "fields are"),
        (lambda: view(closed="open"), "'open'", "left"),
        (lambda: view(features=[]), "no features", "count"),
        (lambda: view(features=[mean("colour").over("1d")]), "'colour'", "fields are"),
        (lambda: view(features=[mean("shop").over("1d")]), "'shop'", "fields are"),
        (lambda: view(features=[count().over("1d"), count().over("24h")]), "'count_1d'", "another view"),
        (lambda: view(features=["count_1d"]), "'count_1d'", "over"),
        (lambda: count().over(), "no window", "over"),
        (lambda: count().over("0s"), "'0s'", "1us"),
        (lambda: count().over("1d", empty=3), "3", "leave empty out"),
        (lambda: RequestFeatures("r", of=PAYMENTS, fn=lambda e: {"x": e["colour"]}), "KeyError", "columns"),
        (lambda: Model("m", features=[], label=OUTCOMES), "no features", "at least one"),
        (lambda: Model("m", features=["shop"], label=OUTCOMES), "'shop'", "fields are"),
        (lambda: Model("m", features=[view(), view()], label=OUTCOMES), "twice", "leave one out"),
        (lambda: MonitorPolicy(false_pages="seldom"), "'seldom'", "1 per 30 days"),
        (lambda: MonitorPolicy(persistence=(3, 2)), "(3, 2)", "k <= m"),
        (lambda: RolloutPolicy(stages=(0.5, 0.1)), "(0.5, 0.1)", "growing"),
        (lambda: BeatsChampion(confidence=95), "95", "between 0 and 1"),
    ],
)
def test_a_wrong_definition_names_the_value_and_the_next_step(build: object, names: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build()  # type: ignore[operator]

    assert names in str(caught.value.args[0])
    assert hint in caught.value.hint


def test_a_stream_without_an_id_has_one_of_its_own_that_nobody_publishes() -> None:
    assert (CLICKS.id, CLICKS.has_id, list(CLICKS.schema)) == ("_id", False, ["card", "page", "_id"])
    assert list(CLICKS.published) == ["card", "page"]
    assert (PAYMENTS.has_id, PAYMENTS.published) == (True, PAYMENTS.schema)


def test_what_is_made_of_a_stream_without_an_id_has_none_until_it_is_given_one() -> None:
    patient, with_id = dataclasses.replace(CLICKS, lateness="1d"), dataclasses.replace(CLICKS, id="click")

    assert (patient.has_id, list(patient.schema)) == (False, ["card", "page", "_id"])
    assert (with_id.has_id, list(with_id.schema)) == (True, ["card", "page", "click"])


def test_an_id_that_producers_write_and_one_that_nobody_does_are_two_definitions() -> None:
    """Also where the field has the same name; and what always had one keeps its version."""
    theirs = EventStream("clicks", key="card", time="at", id="_id", schema={"card": Int64, "page": Int64})

    assert theirs.schema == CLICKS.schema
    assert fingerprint(theirs) != fingerprint(CLICKS)
    assert fingerprint(PAYMENTS) == "97f633f886f5"


def test_a_label_joins_only_the_stream_it_labels() -> None:
    other = EventStream("other", key="card", time="at", id="payment", schema={"card": Int64})

    with pytest.raises(DefinitionError, match="labels another stream"):
        other.with_label(OUTCOMES)


def test_request_features_are_named_by_what_their_function_returns() -> None:
    hour = RequestFeatures("clock", of=PAYMENTS, fn=lambda e: {"hour": e["at"] // 3_600_000_000 % 24})

    assert hour.full_names == ("clock__hour",)


def test_a_stream_is_json_unless_it_says_otherwise() -> None:
    given = {"key": "card", "time": "at", "id": "id", "schema": {"card": Int64}}

    assert EventStream("cards", **given).format == Json()
    assert EventStream("cards", **given, format=Avro).format == Avro(subject=None)
    assert EventStream("cards", **given, format=ArrowBatches()).format == ArrowBatches()


@pytest.mark.parametrize("form", ["avro", None, 5])
def test_a_format_is_one_of_three(form: object) -> None:
    with pytest.raises(DefinitionError, match=r"format is .*\n.*Json\(\), Avro\(\) or ArrowBatches\(\)"):
        EventStream("cards", key="card", time="at", id="id", schema={"card": Int64}, format=form)


@pytest.mark.parametrize("subject", ["", "a b", "a/b", 5])
def test_a_subject_can_be_a_file(subject: object) -> None:
    with pytest.raises(DefinitionError, match="subject"):
        Avro(subject=subject)
