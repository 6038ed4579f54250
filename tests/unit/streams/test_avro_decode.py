"""Every reason to refuse an Avro message, in words, and what writers may do."""

import json
from typing import Any

import numpy as np
import pytest

from headrace.clock import ManualClock
from headrace.config import StreamSettings
from streams.formats.avro_decoder import AvroDecoder
from streams.formats.decode import Refusal
from streams.messages.payloads import Payloads
from streams.schemas.avro_schema import SchemaRefusedError, parse_schema
from tests.format_cases import ARRIVAL_US, SCHEMA, Schemas, avro_decoder, avro_message, outcomes, plain_avro

EVENT = {
    "id": 7,
    "card": "a",
    "amount": 57.16,
    "fee": None,
    "online": True,
    "tries": 2,
    "note": "ok",
    "at": ARRIVAL_US,
}


def refusal(message: bytes, *schemas: Any) -> Refusal | None:
    """Why the message is refused; None when it is not."""
    decoded = avro_decoder(*schemas).decode(Payloads.of([message]), np.array([ARRIVAL_US]))
    return decoded.refused[0] if decoded.refused else None


def changed(name: str, kind: Any) -> dict[str, Any]:
    """The plain schema with another type for a field; without it when the type is None."""
    schema = plain_avro()
    kept = [entry for entry in schema["fields"] if entry["name"] != name]
    schema["fields"] = kept if kind is None else [*kept, {"name": name, "type": kind}]
    return schema


PLAIN = avro_message(plain_avro(), EVENT)


def test_the_plain_event_is_read() -> None:
    ((got,),) = outcomes(avro_decoder(plain_avro()), [PLAIN])

    assert got == EVENT


MALFORMED = {
    "JSON": (b'{"id":7}', "begin with a zero byte"),
    "nothing but the id": (PLAIN[:5], "schema 1: the record ends at byte 5"),
    "cut": (PLAIN[:-1], "in the middle of a value"),
    "one byte more": (PLAIN + b"\x00", "the message does not"),
    "a number of eleven bytes": (PLAIN[:5] + b"\xff" * 10 + b"\x01" + PLAIN[6:], "does not fit"),
    "a negative length": (PLAIN[:6] + b"\x01" + PLAIN[7:], "negative"),
    "a length beyond the end": (PLAIN[:6] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "ends at byte"),
    "a truth value of two": (PLAIN.replace(b"\x00\x01\x02\x04", b"\x00\x02\x02\x04"), "no truth value"),
    "a branch of a union there is not": (PLAIN.replace(b"\x00\x01\x02\x04", b"\x08\x01\x02\x04"), "no such branch"),
    "a text that is none": (PLAIN.replace(b"\x02a", b"\x02\xff"), "not UTF-8"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_bytes_that_are_no_record_are_malformed(case: str) -> None:
    message, words = MALFORMED[case]

    found = refusal(message, plain_avro())

    assert found is not None
    assert (found.reason, words in found.detail) == ("malformed_avro", True), found


WRONG_SCHEMAS = {
    "missing": (changed("amount", None), "schema 1: field 'amount' is missing; the schema has id, card"),
    "renamed": (
        {
            **plain_avro(),
            "fields": [{**e, "name": "eur"} if e["name"] == "amount" else e for e in plain_avro()["fields"]],
        },
        "field 'amount' is missing",
    ),
    "text for a number": (changed("id", "string"), "field 'id' is string; it must be Int64"),
    "double for a whole number": (changed("id", "double"), "field 'id' is double; it must be Int64"),
    "union without it": (changed("tries", ["null", "string"]), "field 'tries' is null or string; it must be Int64"),
    "a record": (
        changed("card", {"type": "record", "name": "C", "fields": []}),
        "field 'card' is C; it must be String",
    ),
    "time without a unit": (changed("at", "long"), "must be a long with logicalType timestamp-micros"),
    "local time": (
        changed("at", {"type": "long", "logicalType": "local-timestamp-micros"}),
        "field 'at' is long (local-timestamp-micros)",
    ),
    "not a record": ({"type": "array", "items": "long"}, "is array, not a record"),
}


@pytest.mark.parametrize("case", WRONG_SCHEMAS)
def test_a_schema_that_does_not_fit_refuses_its_messages_and_names_both_types(case: str) -> None:
    schema, words = WRONG_SCHEMAS[case]

    found = refusal(PLAIN, schema)

    assert found is not None
    assert (found.reason, words in found.detail) == ("wrong_schema", True), found


def patient_decoder(known: dict[int, Any], **bounds: int) -> tuple[AvroDecoder, Schemas, ManualClock]:
    """A decoder whose clock stands, and its registry."""
    registry, clock = Schemas(known), ManualClock(ARRIVAL_US)
    decoder = AvroDecoder(SCHEMA, registry, time="at", future_us=10**9, bounds=StreamSettings(**bounds), clock=clock)
    return decoder, registry, clock


def of_schema(schema_id: int) -> bytes:
    return b"\x00" + schema_id.to_bytes(4, "big") + PLAIN[5:]


def test_a_schema_nobody_knew_is_asked_for_again_after_ten_seconds() -> None:
    known: dict[int, Any] = {}
    decoder, registry, clock = patient_decoder(known)
    first = outcomes(decoder, [PLAIN, PLAIN])
    known[1] = plain_avro()
    clock.advance_to(ARRIVAL_US + 9_999_999)
    soon = outcomes(decoder, [PLAIN])
    clock.advance_to(ARRIVAL_US + 10_000_000)

    later = outcomes(decoder, [PLAIN])

    assert first == [["unknown_schema"], ["unknown_schema"]]
    assert (soon, later) == ([["unknown_schema"]], [[EVENT]])
    outcomes(decoder, [PLAIN])
    assert registry.asked == 2


def test_a_batch_asks_for_so_many_schemas_and_for_the_usual_one_first() -> None:
    decoder, registry, _ = patient_decoder({50_000: plain_avro()}, max_schema_lookups=7)
    messages = [of_schema(number) for number in range(40_000)] + [of_schema(50_000)] * 2

    decoded = decoder.decode(Payloads.of(messages), np.full(len(messages), ARRIVAL_US))

    assert registry.asked == 7
    assert decoded.rows.tolist() == [40_000, 40_001]
    assert {refusal.reason for refusal in decoded.refused} == {"unknown_schema"}
    assert sum("stream.max_schema_lookups" in refusal.detail for refusal in decoded.refused) == 40_000 - 6
    outcomes(decoder, messages[:6])
    assert registry.asked == 7


def test_as_many_schemas_as_are_asked_for_come_in_with_the_next_batches() -> None:
    decoder, registry, _ = patient_decoder(dict.fromkeys(range(1, 10), plain_avro()), max_schema_lookups=4)
    messages = [of_schema(number) for number in range(1, 10)]

    accepted = [len(decoder.decode(Payloads.of(messages), np.full(9, ARRIVAL_US)).rows) for _ in range(3)]

    assert (accepted, registry.asked) == ([4, 8, 9], 9)


def test_what_is_remembered_of_unknown_schemas_is_bounded() -> None:
    decoder, _, _ = patient_decoder({}, max_schema_lookups=100_000)

    outcomes(decoder, [of_schema(number) for number in range(10_050)])

    assert len(decoder._unknown) == 10_000


def test_types_that_hold_each_other_too_deep_refuse_the_schema() -> None:
    """Flat as a text: each names the one before. What stands in a union is not looked at before the last is."""
    links: list[Any] = [{"type": "record", "name": "L0", "fields": []}]
    links += [
        {"type": "record", "name": f"L{n}", "fields": [{"name": "x", "type": f"L{n - 1}"}]} for n in range(1, 5_000)
    ]
    schema = changed("card", ["string", *links])
    schema["fields"].append({"name": "last", "type": "L4999"})

    found = refusal(PLAIN, schema)

    assert found is not None
    assert (found.reason, found.detail) == ("wrong_schema", "schema 1: its types hold each other too deep")


VALUES = {
    "null for a required field": (changed("id", ["null", "long"]), {"id": None}, "wrong_type"),
    "another branch": (changed("id", ["long", "string"]), {"id": "7"}, "wrong_type"),
    "not a number": (plain_avro(), {"amount": float("nan")}, "not_finite"),
    "too large": (plain_avro(), {"amount": 1e300}, "out_of_range"),
    "the sentinel of null": (plain_avro(), {"id": -(2**63)}, "out_of_range"),
    "a long text": (plain_avro(), {"card": "é" * 7}, "too_large"),
    "seconds for microseconds": (plain_avro(), {"at": ARRIVAL_US // 10**6}, "before_earliest"),
    "milliseconds beyond 64 bits": (
        changed("at", {"type": "long", "logicalType": "timestamp-millis"}),
        {"at": 2**62},
        "future",
    ),
    "a decimal of thirty digits": (
        changed("amount", {"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 2}),
        {"amount": b"\x11" * 12},
        "out_of_range",
    ),
}


@pytest.mark.parametrize("case", VALUES)
def test_a_value_no_event_may_have_is_refused_with_its_reason(case: str) -> None:
    schema, values, reason = VALUES[case]

    found = refusal(avro_message(schema, {**EVENT, **values}), schema)

    assert found is not None
    assert found.reason == reason


def test_a_large_message_is_refused_unread() -> None:
    schema = changed("blob", "bytes")

    found = refusal(avro_message(schema, {**EVENT, "blob": bytes(65_536)}), schema)

    assert found is not None
    assert found.reason == "too_large"


def chain(length: int) -> bytes:
    """A linked list within a record."""
    return PLAIN + b"\x02" * length + b"\x00"


LIST = changed("next", {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]})


def test_a_type_that_holds_itself_is_followed_to_a_depth() -> None:
    most = StreamSettings().max_depth
    deep, too_deep = refusal(chain(most - 1), LIST), refusal(chain(60_000), LIST)

    assert deep is None
    assert too_deep is not None
    assert (too_deep.reason, "by stream.max_depth" in too_deep.detail) == ("too_large", True)


def test_any_number_of_values_without_bytes_takes_no_time() -> None:
    nothing = {"type": "record", "name": "Nothing", "fields": [{"name": "n", "type": "null"}]}
    for items in ("null", nothing, {"type": "fixed", "name": "F", "size": 0}):
        schema = changed("many", {"type": "array", "items": items})

        found = refusal(PLAIN + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" * 2 + b"\x00", schema)

        assert found is None


def test_types_named_many_times_stay_small() -> None:
    """Each level holds the one below twice: written out it would be 2**40 fields."""
    kind: Any = {"type": "record", "name": "L0", "fields": [{"name": "x", "type": "long"}]}
    for level in range(1, 40):
        twice = [{"name": "a", "type": kind}, {"name": "b", "type": f"L{level - 1}"}]
        kind = {"type": "record", "name": f"L{level}", "fields": twice}

    found = refusal(PLAIN, changed("tree", kind))

    assert found is not None
    assert found.reason == "malformed_avro"


BROKEN = ["{", '"nothing"', "[]", '{"type":"record","name":"A"}', '{"type":"record","name":"A","fields":[{}]}', "1"]
BROKEN += ['{"type":"fixed","name":"F","size":-1}', '{"type":"array"}', "[" * 100_000, '{"type":' * 90 + "1" + "}" * 90]


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(SchemaRefusedError):
        parse_schema(text)


def test_names_are_found_in_their_namespace() -> None:
    inner = {"type": "record", "name": "Shop", "fields": [{"name": "x", "type": "string"}]}
    schema = {**changed("shop", inner), "namespace": "com.example"}
    schema["fields"].append({"name": "again", "type": "com.example.Shop"})
    schema["fields"].append({"name": "short", "type": ["null", "Shop"]})
    record = {**EVENT, "shop": {"x": "a"}, "again": {"x": "b"}, "short": {"x": "c"}}

    assert refusal(avro_message(schema, record), schema) is None


def test_a_referenced_schema_is_known_by_its_name() -> None:
    shop = {"type": "record", "name": "Shop", "namespace": "com.example", "fields": [{"name": "x", "type": "int"}]}
    types = parse_schema(json.dumps(changed("shop", "com.example.Shop")), [json.dumps(shop)])

    assert dict(types.top["fields"])["shop"] == "com.example.Shop"
    assert set(SCHEMA) < set(dict(types.top["fields"]))
