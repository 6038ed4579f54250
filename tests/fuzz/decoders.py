"""What must hold of every decoder for any input at all.

Nothing is raised; each message is events or is refused with a known reason; an event that is accepted has values its
declaration allows, and they are those another reader finds in the same bytes.
"""

import io
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa

from headrace.contracts.streams import DEAD_LETTER_REASONS
from headrace.spec.types import Float64, String
from streams.formats.decode import BatchDecoder, Decoded, Decoder
from streams.formats.message_check import NULL_INT, Refused
from streams.messages.payloads import Payloads
from tests.format_cases import (
    ARRIVAL_US,
    SCHEMA,
    arrow_decoder,
    arrow_message,
    as_json,
    avro_decoder,
    avro_message,
    json_decoder,
    plain_avro,
    same,
)
from tests.fuzz.mutation import mutate

__all__ = ["TARGETS", "Target", "check"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_US, _LATEST_US = 631_152_000_000_000, ARRIVAL_US + 3_600_000_000


class Target(ABC):
    """A decoder under fire."""

    decoder: BatchDecoder

    @abstractmethod
    def good(self, rng: np.random.Generator) -> list[bytes]:
        """Messages to start from."""

    @abstractmethod
    def compare(self, message: bytes, outcome: Sequence[Any]) -> None:
        """Hold what became of a message against another reader of the same bytes."""


class JsonTarget(Target):
    """The scanner against the slow path."""

    def __init__(self) -> None:
        self.decoder: Decoder = json_decoder()

    def good(self, rng: np.random.Generator) -> list[bytes]:
        messages = [as_json(event) for event in _events(rng, 40)]
        messages += [b"[" * int(rng.integers(1, 60_000)), b'{"a":' * int(rng.integers(1, 10_000)), b"{}"]
        return messages

    def compare(self, message: bytes, outcome: Sequence[Any]) -> None:
        try:
            wanted: Any = self.decoder.check(message, ARRIVAL_US)
        except Refused as refusal:
            wanted = refusal.reason
        assert len(outcome) == 1
        assert same(outcome[0], wanted), (outcome, wanted)


class AvroTarget(Target):
    """The kernel against fastavro, for schemas in which both go the same way through any bytes."""

    def __init__(self) -> None:
        self._schemas = _avro_schemas()
        self.decoder = avro_decoder(*self._schemas)
        self._parsed = [fastavro.parse_schema(schema) for schema in self._schemas]

    def good(self, rng: np.random.Generator) -> list[bytes]:
        extra = {
            "tags": ["a", "", "b" * 9],
            "more": {"x": [1, 2], "y": []},
            "kind": "B",
            "raw": b"1234567",
            "list": {"next": {"next": None}},
            "many": [None] * 3,
            "either": {"f": 1.5},
        }
        messages = []
        for event in _events(rng, 8):
            for number, schema in enumerate(self._parsed, 1):
                messages.append(avro_message(schema, {**event, **extra}, number))
        return [*messages, b"\x00\x00\x00\x00\x63" + rng.bytes(20)]

    def compare(self, message: bytes, outcome: Sequence[Any]) -> None:
        assert len(outcome) == 1
        number = int.from_bytes(message[1:5], "big")
        if isinstance(outcome[0], str) or number > 2:
            return
        body = io.BytesIO(message[5:])
        read: Any = fastavro.schemaless_reader(body, self._parsed[number - 1])
        assert body.tell() == len(message) - 5
        at = (read["at"] - _EPOCH) // timedelta(microseconds=1)
        wanted = {**{name: read[name] for name in SCHEMA}, "at": at}
        wanted = {name: value + 0.0 if isinstance(value, float) else value for name, value in wanted.items()}
        assert same(outcome[0], {**wanted, "amount": float(wanted["amount"])}), (outcome, wanted)


class ArrowTarget(Target):
    """Validated columns against pyarrow's own Python values."""

    def __init__(self) -> None:
        self.decoder = arrow_decoder()
        self._count = itertools.count()

    def good(self, rng: np.random.Generator) -> list[bytes]:
        rows = _events(rng, 12)
        kinds = [
            {"id": pa.int64(), "card": pa.string(), "amount": pa.float64(), "at": pa.timestamp("us", "UTC")},
            {"id": pa.int64(), "card": pa.large_string(), "amount": pa.float32(), "at": pa.timestamp("ns", "+01:00")},
            {
                "id": pa.int64(),
                "card": pa.dictionary(pa.int8(), pa.string()),
                "amount": pa.decimal128(20, 2),
                "at": pa.timestamp("s", "UTC"),
            },
        ]
        messages = []
        for kind in kinds:
            columns = {
                name: pa.array([_as_arrow(row[name], kind.get(name)) for row in rows], kind.get(name))
                for name in (*SCHEMA, "at")
            }
            columns["extra"] = pa.array([[1, 2], None] * 6)
            batch = pa.record_batch(columns)
            cut = int(rng.integers(13))
            messages += [arrow_message([batch[:cut], batch[cut:]]), arrow_message([batch[:1]], compression="lz4")]
        return messages

    def compare(self, message: bytes, outcome: Sequence[Any]) -> None:
        events = [entry for entry in outcome if isinstance(entry, dict)]
        if not events or next(self._count) % 4:
            return
        read = pa.ipc.open_stream(message).read_all().select(["id", "card"]).to_pylist()
        wanted = iter((row["id"], row["card"]) for row in read)
        assert all((event["id"], event["card"]) in wanted for event in events), "rows in their order"


TARGETS: dict[str, type[Target]] = {"json": JsonTarget, "avro": AvroTarget, "arrow": ArrowTarget}


def check(target: Target, seed: Sequence[int], count: int) -> dict[str, int]:
    """Throw ``count`` inputs at a decoder in one batch; gives how many ended how.

    Raises:
        AssertionError: something does not hold; the message has the input.
    """
    rng = np.random.default_rng(list(seed))
    good = target.good(rng)
    messages = [mutate(rng, good) for _ in range(count)]
    decoded = target.decoder.decode(Payloads.of(messages), np.full(count, ARRIVAL_US))
    _check_values(decoded)
    outcomes: list[list[Any]] = [[] for _ in messages]
    ends: dict[str, int] = {"events": len(decoded.rows)}
    for refusal in decoded.refused:
        assert refusal.reason in DEAD_LETTER_REASONS
        assert refusal.detail
        assert len(refusal.detail) < 2_000, refusal.detail
        assert 0 < refusal.events <= 65_536
        outcomes[refusal.row].append(refusal.reason)
        ends[refusal.reason] = ends.get(refusal.reason, 0) + 1
    for position, row in enumerate(decoded.rows.tolist()):
        outcomes[row].append(_event(decoded, position))
    for message, outcome in zip(messages, outcomes, strict=True):
        try:
            target.compare(message, outcome)
        except AssertionError as error:
            raise AssertionError(f"{error}\ninput: {message[:4_000].hex()}") from error
    return ends


def _check_values(decoded: Decoded) -> None:
    assert (np.diff(decoded.rows) >= 0).all()
    for name, kind in SCHEMA.items():
        column, null = decoded.columns[name], decoded.nulls.get(name)
        assert len(column) == len(decoded.rows)
        assert (null is not None) == kind.nullable
        held = column if null is None else column[~null]
        if isinstance(kind, String):
            assert all(isinstance(text, str) and len(text.encode()) <= kind.max_bytes for text in held.tolist())
        elif isinstance(kind, Float64):
            assert (np.abs(np.rint(held.astype(np.float64) * kind.scale)) < 2**53).all()
        else:
            assert (held.astype(np.int64) != NULL_INT).all()
    times_us = decoded.columns["at"].astype(np.int64)
    assert ((times_us >= _EARLIEST_US) & (times_us <= _LATEST_US)).all()


def _event(decoded: Decoded, position: int) -> dict[str, Any]:
    event = {}
    for name, column in decoded.columns.items():
        null = name in decoded.nulls and bool(decoded.nulls[name][position])
        event[name] = None if null else column[position].item() if column.dtype != object else column[position]
    return event


def _events(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": int(rng.integers(-(2**63), 2**63 - 1)) >> int(rng.integers(63)),
            "card": "card é"[: int(rng.integers(7))],
            "amount": int(rng.integers(-10_000, 10_000)) / 100,
            "fee": None if rng.random() < 0.5 else float(rng.normal()),
            "online": bool(rng.random() < 0.5),
            "tries": None if rng.random() < 0.5 else int(rng.integers(-5, 5)),
            "note": None if rng.random() < 0.5 else "n" * int(rng.integers(9)),
            "at": _EPOCH + timedelta(seconds=int(rng.integers(631_152_000, ARRIVAL_US // 10**6))),
        }
        for _ in range(count)
    ]


def _as_arrow(value: Any, kind: Any) -> Any:
    if kind is not None and pa.types.is_decimal(kind):
        return pa.scalar(str(value)).cast(kind).as_py()
    return value


def _avro_schemas() -> list[dict[str, Any]]:
    """Two without blocks, which fastavro reads as we do, and some with everything."""
    link = {"type": "record", "name": "Link", "fields": [{"name": "next", "type": ["null", "Link"]}]}
    extra: dict[str, Any] = {
        "tags": {"type": "array", "items": "string"},
        "more": {"type": "map", "values": {"type": "array", "items": "int"}},
        "kind": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]},
        "raw": {"type": "fixed", "name": "Raw", "size": 7},
        "list": link,
        "many": {"type": "array", "items": "null"},
        "either": [{"type": "record", "name": "E", "fields": [{"name": "f", "type": "float"}]}, "string", "null"],
    }
    flat, full, mixed = plain_avro(), plain_avro(), plain_avro()
    flat["fields"] = [*({"name": name, "type": extra[name]} for name in ("kind", "raw", "list")), *flat["fields"]]
    full["fields"] = [*full["fields"], *({"name": name, "type": kind} for name, kind in extra.items())]
    mixed["fields"] = [{"name": name, "type": kind} for name, kind in extra.items()] + [
        {**entry, "type": ["null", "string", "long"]} if entry["name"] == "id" else entry for entry in mixed["fields"]
    ]
    return [plain_avro(), flat, full, mixed, json.loads(json.dumps({**plain_avro(), "fields": []}))]
