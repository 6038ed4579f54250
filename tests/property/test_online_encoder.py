"""The fast encoder and the readable layout write the same bytes."""

import itertools
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from feature_store.kernels import shape_of
from feature_store.online.online_encoder import CHUNK_BYTES, CHUNK_ROWS, RowEncoder
from feature_store.online.online_layout import (
    HEADER_WORDS,
    StoredRow,
    encode_row,
    encode_timestamp,
    encode_value,
    entity_key,
    feature_field,
    row_field,
    state_field,
    timestamp_field,
)
from feature_store.plan import NEVER_US, NULL, ViewPlan, compile_view
from feature_store.rows import RowBatch
from feature_store.sketch_layout import encode_sketches
from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    String,
    approx_distinct,
    approx_top_k,
    count,
    last_k,
    lifetime,
    mean,
    top_k,
)
from tests.stored_rows import parse_command

STREAM = EventStream(
    "visits", key="user", time="at", id="id", schema={"user": Int64, "town": String, "eur": Float64, "n": Int64}
)
PLANS = {
    "both inputs": compile_view(
        FeatureView("a", entity="user", source=STREAM, features=[count().over("1h"), mean("eur").over("1h", "1d")])
    ),
    "text keys": compile_view(
        FeatureView("b", entity="town", source=STREAM, features=[mean("eur").over("1h"), mean("n").over("1h")])
    ),
    "lists and lifetimes": compile_view(
        FeatureView(
            "d",
            entity="user",
            source=STREAM,
            features=[last_k("eur", 3).over("1h"), mean("n").over(lifetime()), top_k("n", 17).over("1d")],
        )
    ),
    "sketches": compile_view(
        FeatureView(
            "e",
            entity="user",
            source=STREAM,
            features=[approx_distinct("town").over(lifetime()), approx_top_k("n", 2).over(lifetime())],
        )
    ),
    "no input": compile_view(FeatureView("c", entity="user", source=STREAM, features=[count().over("1h")])),
}
INT64 = st.integers(-(2**63), 2**63 - 1)
INSTANT = st.integers(-(10**16), 10**16)


@st.composite
def times(draw: st.DrawFn, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """In order within each row, often of whole milliseconds or seconds from the first on."""
    step = draw(st.sampled_from([1, 1_000, 1_000_000]))
    rows = []
    for n in np.diff(starts).tolist():
        first, later = draw(INSTANT), draw(st.lists(st.integers(0, 10**10), min_size=n, max_size=n))
        rows.append(np.array(sorted(first + step * after for after in later), np.int64))
    return np.concatenate([*rows, np.empty(0, np.int64)])


@st.composite
def batches(draw: st.DrawFn, plan: ViewPlan) -> RowBatch:
    keys = draw(st.lists(st.text(max_size=9) if plan.has_text_keys else INT64, max_size=5, unique=True))
    sizes = [draw(st.integers(0, 3)) for _ in keys]
    has_state = np.array([draw(st.booleans()) for _ in keys], bool)
    starts = np.concatenate(([0], np.cumsum(np.where(has_state, sizes, 0)))).astype(np.int64)
    m = int(starts[-1])
    shape = shape_of(plan)
    base = shape.width - shape.base
    values = np.array(
        [
            [
                draw(st.none() | (st.integers(-(2**53), 2**53) if whole else st.floats(allow_nan=False)))
                for whole in plan.is_int
            ]
            for _ in keys
        ],
        dtype=np.float64,
    ).reshape(len(keys), len(plan.is_int))
    words = st.lists(INT64 | st.just(NULL), min_size=m, max_size=m)
    sketches = st.binary(max_size=30).map(lambda data: encode_sketches((data, b"")))
    return RowBatch(
        keys=np.array(keys, object if plan.has_text_keys else np.int64),
        valid_from_us=np.array([draw(INSTANT) for _ in keys], np.int64),
        valid_until_us=np.array([draw(INSTANT | st.just(NEVER_US)) for _ in keys], np.int64),
        values=values,
        has_state=has_state,
        state_start=starts,
        state_t=draw(times(starts)),
        state_id=np.array(draw(words), np.int64),
        state_inputs=np.array([draw(words) for _ in plan.inputs], np.int64).reshape(len(plan.inputs), m),
        state_base=np.array([[draw(INT64) for _ in range(base)] for _ in keys], np.int64).reshape(len(keys), base),
        state_sketches=tuple(draw(sketches) for _ in keys) if plan.sketches else (),
    )


def reference(plan: ViewPlan, rows: RowBatch, i: int, version: int, watermark_us: int) -> tuple[bytes, list[bytes]]:
    """Key and field values of row ``i``, by the readable layout."""
    kept, low, high = rows.has_state[i], rows.state_start[i], rows.state_start[i + 1]
    stored = StoredRow(
        definition=int(plan.version, 16),
        version=version,
        valid_from_us=int(rows.valid_from_us[i]),
        valid_until_us=int(rows.valid_until_us[i]),
        watermark_us=watermark_us,
        values=rows.values[i],
        base=rows.state_base[i],
        times_us=rows.state_t[low:high] if kept else None,
        ids=rows.state_id[low:high] if kept else None,
        inputs=rows.state_inputs[:, low:high] if kept else None,
        sketches=rows.state_sketches[i] if plan.sketches else b"",
    )
    values = []
    for entry in plan.features:
        cells = rows.values[i, entry.slot : entry.slot + entry.feature.width].tolist()
        items = list(itertools.takewhile(lambda cell: cell == cell, cells))
        whole = bool(plan.is_int[entry.slot])
        values.append(encode_value(items if entry.feature.is_list else cells[0], is_int=whole))
    key = rows.keys[i] if plan.has_text_keys else int(rows.keys[i])
    data, cut = encode_row(stored), 8 * (HEADER_WORDS + plan.width)
    return entity_key(plan.view.entity, key, "proj"), [
        data[:cut],
        *values,
        encode_timestamp(stored.valid_from_us),
        data[cut:],
    ]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(PLANS)), st.integers(0, 2**53), INSTANT)
def test_encoder_writes_the_bytes_of_the_reference(
    data: st.DataObject, name: str, version: int, watermark_us: int
) -> None:
    plan = PLANS[name]
    rows = data.draw(batches(plan))
    encoder = RowEncoder(plan, "proj")

    commands = [
        bytes(chunk.data)
        for chunk in encoder.chunks(
            rows, b"$2\r\nDO\r\n$4\r\nthis\r\n", [b"x"], version=version, watermark_us=watermark_us
        )
    ]

    expected = [reference(plan, rows, i, version, watermark_us) for i in range(len(rows))]
    fields = [row_field(plan.view.name), *(feature_field(plan.view.name, feature) for feature in plan.feature_names)]
    fields += [timestamp_field(plan.view.name), state_field(plan.view.name)]
    words = [b"DO", b"this", b"%d" % len(rows), *(key for key, _ in expected), b"x", b"%d" % len(fields), *fields]
    assert [parse_command(command) for command in commands] == (
        [words + [value for _, values in expected for value in values]] if len(rows) else []
    )


def test_commands_are_bounded_in_rows_and_bytes() -> None:
    plan = PLANS["both inputs"]
    events = np.full(CHUNK_ROWS * 3 + 5, 60)
    events[:100] = 2000
    starts = np.concatenate(([0], np.cumsum(events)))
    n, m = len(events), int(starts[-1])
    rows = RowBatch(
        keys=np.arange(n),
        valid_from_us=np.zeros(n, np.int64),
        valid_until_us=np.zeros(n, np.int64),
        values=np.zeros((n, 3)),
        has_state=np.ones(n, bool),
        state_start=starts,
        state_t=np.zeros(m, np.int64),
        state_id=np.zeros(m, np.int64),
        state_inputs=np.zeros((1, m), np.int64),
        state_base=np.zeros((n, 0), np.int64),
    )

    chunks = [
        (chunk.rows, len(chunk.data), bytes(chunk.data))
        for chunk in RowEncoder(plan, "p").chunks(rows, b"", [], version=1, watermark_us=0)
    ]

    assert sum(count for count, _, _ in chunks) == n
    assert all(count <= CHUNK_ROWS for count, _, _ in chunks)
    assert all(size <= CHUNK_BYTES + 4096 for _, size, _ in chunks)
    keys = [word for count, _, data in chunks for word in parse_command(data)[1 : 1 + count]]
    assert [struct.unpack_from("<q", key, len(key) - 9)[0] for key in keys] == list(range(n))
