"""Laws of Avro: whatever schema a writer has, an event is what fastavro reads and what JSON would make of it."""

import copy
import io
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import fastavro
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.contracts.streams import DEAD_LETTER_REASONS
from tests.format_cases import (
    as_json,
    avro_decoder,
    avro_message,
    events,
    json_decoder,
    outcomes,
    plain_avro,
    same,
)

JSON = json_decoder()
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}


@st.composite
def other_types(draw: st.DrawFn, deep: int = 3) -> Any:
    """A type of a field nobody declared."""
    kinds = ["null", "boolean", "int", "long", "float", "double", "bytes", "string", "enum", "fixed"]
    kind = draw(st.sampled_from(kinds + ["array", "map", "record", "union"] * 2 * (deep > 0)))
    name = "Other"
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": ["A", "B", "C"]}
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": draw(st.integers(0, 20))}
    if kind == "array":
        return {"type": "array", "items": draw(other_types(deep - 1))}
    if kind == "map":
        return {"type": "map", "values": draw(other_types(deep - 1))}
    if kind == "record":
        fields = draw(st.lists(other_types(deep - 1), max_size=3))
        named = [{"name": f"f{n}", "type": inner} for n, inner in enumerate(fields)]
        return {"type": "record", "name": name, "fields": named}
    if kind == "union":
        return ["null", *draw(st.sampled_from([["long"], ["string", "int"], [draw(other_types(0).filter(_is_named))]]))]
    return kind


def _numbered(kind: Any, numbers: Iterator[int]) -> Any:
    """The same type; its named types have names of their own."""
    if isinstance(kind, list):
        return [_numbered(branch, numbers) for branch in kind]
    if not isinstance(kind, dict):
        return kind
    made = {
        word: _numbered(inner, numbers) if word in ("type", "items", "values") else inner
        for word, inner in kind.items()
    }
    if "name" in made and "fields" in made:
        made["fields"] = [{**entry, "type": _numbered(entry["type"], numbers)} for entry in made["fields"]]
    return {**made, "name": f"N{next(numbers)}"} if "name" in made else made


def _is_named(kind: Any) -> bool:
    return isinstance(kind, dict)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as fastavro writes them."""
    if isinstance(kind, list):
        return st.one_of([values_of(branch) for branch in kind])
    what = kind if isinstance(kind, str) else kind["type"]
    if what == "array":
        return st.lists(values_of(kind["items"]), max_size=4)
    if what == "map":
        return st.dictionaries(st.text(max_size=3), values_of(kind["values"]), max_size=3)
    if what == "record":
        return st.fixed_dictionaries({entry["name"]: values_of(entry["type"]) for entry in kind["fields"]})
    simple: dict[str, st.SearchStrategy[Any]] = {
        "null": st.none(),
        "boolean": st.booleans(),
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "float": st.floats(width=32),
        "double": st.floats(),
        "bytes": st.binary(max_size=40),
        "string": st.text(max_size=20),
        "enum": st.sampled_from(["A", "B", "C"]),
        "fixed": st.binary(min_size=kind["size"], max_size=kind["size"])
        if isinstance(kind, dict) and "size" in kind
        else st.nothing(),
    }
    return simple[what]


@st.composite
def writers(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A schema that fits the declaration in its own way, and a record of it."""
    schema, event = plain_avro(), draw(events(time_step_us=draw(st.sampled_from([1, 1000]))))
    kinds: dict[str, Any] = {entry["name"]: entry["type"] for entry in schema["fields"]}
    if event["at"].microsecond % 1000 == 0 and draw(st.booleans()):
        kinds["at"] = MILLIS
    if abs(event["id"]) < 2**31 and draw(st.booleans()):
        kinds["id"] = "int"
    if draw(st.booleans()):
        event["amount"] = draw(st.floats(width=32))
        kinds["amount"] = "float"
    elif draw(st.booleans()):
        event["amount"] = draw(st.integers(-(2**63), 2**63 - 1))
        kinds["amount"] = draw(st.sampled_from(["long", ["null", "long"]]))
    elif draw(st.booleans()):
        event["amount"] = draw(st.decimals(-(10**6), 10**6, places=2, allow_nan=False))
        decimal = {"logicalType": "decimal", "precision": 15, "scale": 2}
        kinds["amount"] = draw(
            st.sampled_from([{"type": "bytes", **decimal}, {"type": "fixed", "name": "Money", "size": 7, **decimal}])
        )
    if event["tries"] is not None and draw(st.booleans()):
        kinds["tries"] = "long"
    if event["note"] is not None and draw(st.booleans()):
        kinds["note"] = draw(st.sampled_from(["string", ["string", "null"], ["null", "boolean", "string"]]))
    if draw(st.integers(0, 3)) == 0:
        del kinds["fee"]
        event["fee"] = None
    numbers = itertools.count()
    extra = [_numbered(kind, numbers) for kind in draw(st.lists(other_types(), max_size=3))]
    record = dict(event)
    for n, kind in enumerate(extra):
        kinds[f"extra{n}"] = kind
        record[f"extra{n}"] = draw(values_of(kind))
    names = draw(st.permutations(list(kinds)))
    schema["fields"] = [{"name": name, "type": kinds[name]} for name in names]
    return schema, {name: record[name] for name in names} | {"fee": event["fee"]}


def declared(record: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a record that is declared, amounts as decimals."""
    found = {name: value for name, value in record.items() if not name.startswith("extra")}
    return {**found, "amount": float(found["amount"]) if isinstance(found["amount"], int) else found["amount"]}


@settings(max_examples=250, deadline=None)
@given(writers())
def test_an_avro_event_is_what_fastavro_reads_and_json_makes_of_it(
    written: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    schema, record = written
    message = avro_message(copy.deepcopy(schema), record)
    read = fastavro.schemaless_reader(io.BytesIO(message[5:]), fastavro.parse_schema(copy.deepcopy(schema)))
    assert isinstance(read, dict)

    (got,) = outcomes(avro_decoder(schema), [message])

    (wanted,) = outcomes(JSON, [as_json(declared({"fee": None, **read}))])
    assert len(got) == 1
    assert same(got[0], wanted[0]), (got, wanted)


@settings(max_examples=80, deadline=None)
@given(writers(), st.data())
def test_a_cut_message_is_refused_and_so_is_one_with_more(
    written: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    schema, record = written
    message = avro_message(copy.deepcopy(schema), record)
    cut = message[: data.draw(st.integers(0, len(message) - 1))]

    (shorter,), (longer,) = outcomes(avro_decoder(schema), [cut, message + b"\x00"])

    assert (shorter, longer) == ("malformed_avro", "malformed_avro")


@settings(max_examples=80, deadline=None)
@given(st.lists(writers(), min_size=1, max_size=4), st.lists(st.binary(max_size=40), max_size=3), st.randoms())
def test_what_stands_beside_a_message_does_not_change_it(
    written: list[tuple[dict[str, Any], dict[str, Any]]], others: list[bytes], random: Any
) -> None:
    messages = [
        avro_message(copy.deepcopy(schema), record, number) for number, (schema, record) in enumerate(written, 1)
    ]
    decoder = avro_decoder(*(schema for schema, _ in written))
    alone = [outcomes(decoder, [message])[0] for message in messages + others]
    order = list(range(len(alone)))
    random.shuffle(order)

    together = outcomes(decoder, [(messages + others)[place] for place in order])

    for place, got in zip(order, together, strict=True):
        assert len(got) == len(alone[place]) == 1
        assert same(got[0], alone[place][0])


@settings(max_examples=100, deadline=None)
@given(writers(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_changed_bytes_are_an_event_or_are_refused(
    written: tuple[dict[str, Any], dict[str, Any]], changes: list[tuple[int, int]]
) -> None:
    schema, record = written
    message = bytearray(avro_message(copy.deepcopy(schema), record))
    for place, byte in changes:
        message[place % len(message)] = byte

    ((got,),) = outcomes(avro_decoder(schema), [bytes(message)])

    assert isinstance(got, dict) or got in DEAD_LETTER_REASONS
