"""A view's state as plain arrays, independent of how memory is laid out, and back."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store import drain_kernels, ring_kernels, table_kernels
from feature_store.kernels import I64, shape_of
from feature_store.plan import NEVER_US, ViewPlan
from feature_store.state_arrays import (
    CAP,
    CHANGED,
    COUNT,
    DIRTY,
    EMITTED,
    KEY,
    PENDING,
    USED,
    PendingLabels,
    Slots,
    empty_arena,
    empty_ids,
    empty_pending,
    empty_slots,
    power_of_two,
)
from headrace.errors import IntegrityError

__all__ = ["FORMAT", "Packed", "pack", "unpack"]

FORMAT = 1
"""Version of the dictionary; a reader refuses others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The parts of a state."""

    slots: Slots
    arena: I64
    known: I64
    pending: PendingLabels
    texts: list[str]
    """Key of each slot when keys are texts."""
    counters: list[int]
    """Watermark and the state's own counts, opaque here."""


def pack(plan: ViewPlan, parts: Packed) -> dict[str, NDArray[np.generic]]:
    """Arrays of a state: everything that later answers depend on, and nothing else."""
    meta = parts.slots.meta
    held = np.flatnonzero(meta[: parts.slots.counters[USED], COUNT]).astype(np.int64)
    starts = np.zeros(len(held) + 1, dtype=np.int64)
    np.cumsum(meta[held, COUNT], out=starts[1:])
    size = int(starts[-1])
    t, ids = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    inputs = np.empty((len(plan.inputs), size), dtype=np.int64)
    drain_kernels.write_state(held, shape_of(plan), parts.slots, parts.arena, starts, t, ids, inputs)
    waiting = parts.pending.at != NEVER_US
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array([FORMAT], dtype=np.int64),
        "plan_version": np.frombuffer(plan.version.encode(), dtype=np.uint8),
        "counters": np.array(parts.counters, dtype=np.int64),
        "next_change": parts.slots.next_change[held],
        "pending_id": parts.pending.id[waiting],
        "pending_value": parts.pending.value[waiting],
        "pending_at": parts.pending.at[waiting],
        "event_t": t,
        "event_id": ids,
        "event_inputs": inputs,
    }
    for name, column in (("count", COUNT), ("dirty", DIRTY), ("emitted", EMITTED), ("changed", CHANGED)):
        arrays[name] = meta[held, column]
    if plan.has_text_keys:
        encoded = [parts.texts[slot].encode() for slot in held.tolist()]
        arrays["key_bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        arrays["key_sizes"] = np.array([len(text) for text in encoded], dtype=np.int64)
    else:
        arrays["keys"] = meta[held, KEY]
    return arrays


def unpack(plan: ViewPlan, arrays: dict[str, NDArray[np.generic]]) -> Packed:
    """The state again.

    Raises:
        IntegrityError: another format, or the state of another definition.
    """
    form = int(arrays["format"][0])
    if form != FORMAT:
        raise IntegrityError(f"state snapshot has format {form}, this program reads {FORMAT}")
    version = arrays["plan_version"].tobytes().decode()
    if version != plan.version:
        raise IntegrityError(
            f"state snapshot is of definition {version}, view {plan.view.name!r} is now {plan.version}",
            hint="start the changed view from the log instead",
        )
    counts, t, ids = (_int64(arrays[name]) for name in ("count", "event_t", "event_id"))
    n = len(counts)
    texts = _texts(arrays) if plan.has_text_keys else []
    slots = empty_slots()
    size = power_of_two(n + 1)
    slots = slots._replace(
        meta=np.zeros((size, 8), dtype=np.int64),
        next_change=np.full(size, NEVER_US, dtype=np.int64),
        table=np.full(2 * size, -1, dtype=np.int32),
    )
    table_kernels.find_slots(np.arange(n) if plan.has_text_keys else _int64(arrays["keys"]), slots)
    slots.next_change[:n] = _int64(arrays["next_change"])
    slots.meta[:n, COUNT] = counts
    slots.meta[:n, CAP] = 1
    arena = empty_arena(plan, 2 * int(ring_kernels.room_needed(slots)) + 1024)
    known = empty_ids(power_of_two(4 * len(t)))
    inputs = np.ascontiguousarray(_int64(arrays["event_inputs"]))
    ring_kernels.load(counts, t, ids, inputs, shape_of(plan), slots, arena, known)
    for name, column in (("dirty", DIRTY), ("emitted", EMITTED), ("changed", CHANGED)):
        slots.meta[:n, column] = _int64(arrays[name])
    waiting = PendingLabels(*(_int64(arrays[f"pending_{name}"]) for name in ("id", "value", "at")))
    pending = empty_pending(power_of_two(4 * len(waiting.id)))
    slots.counters[PENDING] = table_kernels.rebuild_pending(waiting, pending, -(2**63))
    return Packed(
        slots=slots,
        arena=arena,
        known=known,
        pending=pending,
        texts=texts,
        counters=_int64(arrays["counters"]).tolist(),
    )


def _int64(array: NDArray[np.generic]) -> I64:
    return array.astype(np.int64, copy=False)


def _texts(arrays: dict[str, NDArray[np.generic]]) -> list[str]:
    data, texts, end = arrays["key_bytes"].tobytes(), [], 0
    for size in arrays["key_sizes"].tolist():
        texts.append(data[end : end + size].decode())
        end += size
    return texts
