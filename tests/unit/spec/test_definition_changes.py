"""Each change of a view is called what it is, for the reason it is."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from headrace import EventStream, FeatureView, Float64, Int64, Json, LabelStream, String, col, count, last_k, mean, sum
from headrace.contracts.codec import decode, encode
from headrace.manifest_file import from_json, to_json
from headrace.spec.definition_changes import compare_view, compare_views
from headrace.spec.view_definition import ViewDefinition, describe_view

SCHEMA = {"card": Int64, "shop": String, "eur": Float64(resolution=0.01), "country": String(nullable=True)}


def stream(**changed: object) -> EventStream:
    given = {"key": "card", "time": "at", "id": "sale", "schema": SCHEMA, "lateness": "1h"} | changed
    return EventStream("sales", **given)  # type: ignore[arg-type] # each change is of the field's type


def view(of: EventStream | None = None, features: object = None, **changed: object) -> FeatureView:
    source = of or stream()
    labels = LabelStream("frauds", of=source, value="fraud", delay="7d")
    given = {"entity": "card", "source": source.with_label(labels)} | changed
    chosen = features or [count().over("1h", "1d"), sum("eur").over("1d"), mean("fraud").over("7d", delay="7d")]
    return FeatureView("use", features=chosen, **given)  # type: ignore[arg-type] # as above


def with_delay(delay: str) -> FeatureView:
    source = stream()
    return view(source=source.with_label(LabelStream("frauds", of=source, value="fraud", delay=delay)))


FEATURES = [count().over("1h", "1d"), sum("eur").over("1d"), mean("fraud").over("7d", delay="7d")]
READERS = {"use": ("risk",)}
CASES: dict[str, tuple[str, Callable[[], FeatureView], str]] = {
    "nothing": ("unchanged", view, ""),
    "ttl": ("compatible", lambda: view(ttl="3d"), "ttl none is 3d"),
    "label delay": ("compatible", lambda: with_delay("9d"), "label delay 7d is 9d"),
    "farther future": ("compatible", lambda: view(stream(future="2h")), "2h ahead"),
    "field more": (
        "compatible",
        lambda: view(stream(schema={**SCHEMA, "device": String(nullable=True)})),
        "field device is new, nullable String",
    ),
    "other unused field": (
        "compatible",
        lambda: view(stream(schema={**SCHEMA, "shop": Int64})),
        "field shop was String of at most 256 bytes, is Int64; no feature kept looks at it",
    ),
    "feature more": ("new version", lambda: view(features=[*FEATURES, count().over("2d")]), "count_2d is new"),
    "other window": (
        "new version",
        lambda: view(features=[count().over("1h", "2d"), *FEATURES[1:]]),
        "feature count_1d is gone",
    ),
    "other condition": (
        "new version",
        lambda: view(features=[*FEATURES, count(where=col("eur") > 5).over("1d")]),
        "feature count_eur_gt_5_1d is new",
    ),
    "other value of an empty window": (
        "new version",
        lambda: view(features=[*FEATURES[:2], mean("fraud").over("7d", delay="7d", empty=0.0)]),
        "feature mean_fraud_7d is computed otherwise",
    ),
    "other order": ("new version", lambda: view(features=FEATURES[::-1]), "features stand in another order"),
    "closed": ("new version", lambda: view(closed="right"), "closed left is right"),
    "lateness": ("new version", lambda: view(stream(lateness="2h")), "lateness 1h is 2h"),
    "no labels": ("new version", lambda: view(source=stream(), features=FEATURES[:1]), "labels frauds are none"),
    "entity": ("breaking", lambda: view(entity="shop"), "entity card is shop"),
    "id": ("breaking", lambda: view(stream(id="country2", schema={**SCHEMA})), "id sale is country2"),
    "time": ("breaking", lambda: view(stream(time="when")), "time at is when"),
    "type of a used field": (
        "breaking",
        lambda: view(stream(schema={**SCHEMA, "eur": Int64})),
        "field eur was Float64 in steps of 1/100, is Int64",
    ),
    "resolution of a used field": (
        "breaking",
        lambda: view(stream(schema={**SCHEMA, "eur": Float64(resolution=0.001)})),
        "is Float64 in steps of 1/1000",
    ),
    "used field may be null": (
        "new version",
        lambda: view(stream(schema={**SCHEMA, "eur": Float64(resolution=0.01, nullable=True)})),
        "is nullable Float64",
    ),
    "a feature a model reads": (
        "breaking",
        lambda: view(features=[FEATURES[0], FEATURES[2]]),
        "feature sum_eur_1d is gone, and model risk reads it",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_called_what_it_is(name: str) -> None:
    kind, made, reason = CASES[name]
    change = compare_view(describe_view(view()), describe_view(made()), READERS if "reads" in name else {})

    assert change.kind == kind
    assert any(reason in found.text for found in change.reasons) or not reason


def test_every_change_of_the_content_has_a_reason() -> None:
    """A version that changes while nothing is said would be computed anew without a word."""
    for name, (kind, made, _) in CASES.items():
        after = made()
        change = compare_view(describe_view(view()), describe_view(after), {})
        assert (describe_view(after) == describe_view(view())) == (kind == "unchanged"), name
        assert bool(change.reasons) == (kind != "unchanged"), name


def test_a_stream_that_gets_an_id_or_loses_it_tells_its_events_apart_otherwise() -> None:
    """Even where the field is called as ours."""
    loses, other = stream(id=None), stream(id="_id")
    ours, theirs, before = (
        describe_view(FeatureView("use", entity="card", source=of, features=FEATURES[:2]))
        for of in (loses, other, stream())
    )

    for one, two in ((before, ours), (ours, before), (theirs, ours)):
        change = compare_view(one, two, {})
        assert change.kind == "breaking"
        assert "events are told apart otherwise: give the stream a new name" in change.reasons[0].text


def test_a_list_that_becomes_longer_breaks_its_reader() -> None:
    before, after = (replace(view(), features=last_k("eur", k).over("1d")) for k in (3, 4))
    change = compare_view(describe_view(before), describe_view(after), READERS)

    assert change.kind == "breaking"


def test_views_come_and_go() -> None:
    known, other = describe_view(view()), replace(describe_view(view()), name="other")
    changes = {change.view: change.kind for change in compare_views({"use": known}, {"other": other}, {})}
    read = {change.view: change.kind for change in compare_views({"use": known}, {}, READERS)}

    assert changes == {"other": "new", "use": "removed"}
    assert read == {"use": "breaking"}


def test_what_is_written_down_is_read_again() -> None:
    definition = describe_view(view(stream(format=Json())))

    assert from_json(to_json(definition), ViewDefinition) == definition
    assert decode(encode(definition), ViewDefinition) == definition
