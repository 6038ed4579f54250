"""A view's memory as plain arrays, independent of how it is laid out, and back."""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import plain
from feature_store.kernels import I64, shape_of
from feature_store.plan import NEVER_US, NULL, ViewPlan
from feature_store.state import drain_kernels, table_kernels
from feature_store.state.state_arrays import (
    CHANGED,
    COUNT,
    DIRTY,
    EMITTED,
    KEY,
    PENDING,
    PendingLabels,
    empty_pending,
    power_of_two,
)
from feature_store.state.state_memory import StateMemory
from headrace.errors import IntegrityError

__all__ = ["FORMAT", "pack", "pack_slots", "unpack"]

FORMAT = 2
"""Version of the dictionary; a reader refuses others."""
_COLUMNS = (("dirty", DIRTY), ("emitted", EMITTED), ("changed", CHANGED))


def pack(plan: ViewPlan, memory: StateMemory) -> dict[str, NDArray[np.generic]]:
    """Arrays of a state: everything that later answers depend on, and nothing else."""
    held = memory.held()
    return pack_slots(plan, memory, held, np.zeros(len(held), dtype=np.int64))


def pack_slots(
    plan: ViewPlan, memory: StateMemory, held: I64, skip: I64, *, labels_since_us: int = NULL
) -> dict[str, NDArray[np.generic]]:
    """Arrays of some slots, without the first ``skip`` events of each, and of labels that wait since an instant."""
    meta, pending = memory.slots.meta, memory.pending
    shape = shape_of(plan)
    starts = np.zeros(len(held) + 1, dtype=np.int64)
    np.cumsum(meta[held, COUNT] - skip, out=starts[1:])
    size = int(starts[-1])
    t, ids = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    inputs = np.empty((len(plan.inputs), size), dtype=np.int64)
    drain_kernels.write_state(held, skip, shape, memory.slots, memory.arena, starts, t, ids, inputs)
    base = np.empty((len(held), shape.width - shape.base), dtype=np.int64)
    drain_kernels.write_base(held, shape, memory.slots, memory.arena, base)
    waiting = np.flatnonzero((pending.at != NEVER_US) & (pending.at >= labels_since_us))
    waiting = waiting[np.argsort(pending.id[waiting])]
    arrays: dict[str, NDArray[np.generic]] = {
        "format": np.array([FORMAT], dtype=np.int64),
        "plan_version": np.frombuffer(plan.version.encode(), dtype=np.uint8),
        "count": meta[held, COUNT],
        "next_change": memory.slots.next_change[held],
        "event_t": t,
        "event_id": ids,
        "event_inputs": inputs,
        "base": base,
        "peaks": memory.peaks.copy(),
        "pending_id": pending.id[waiting],
        "pending_value": pending.value[waiting],
        "pending_at": pending.at[waiting],
    }
    for name, column in _COLUMNS:
        arrays[name] = meta[held, column]
    if memory.sketches:
        arrays |= memory.sketches.arrays(held)
    if plan.has_text_keys:
        encoded = [memory.texts[slot].encode() for slot in held.tolist()]
        arrays["key_bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        arrays["key_sizes"] = np.array([len(text) for text in encoded], dtype=np.int64)
    else:
        arrays["keys"] = meta[held, KEY]
    return arrays


def unpack(plan: ViewPlan, arrays: dict[str, NDArray[np.generic]]) -> StateMemory:
    """The memory again.

    Raises:
        IntegrityError: another format, or the state of another definition.
    """
    form = int(plain(arrays["format"])[0])
    if form != FORMAT:
        raise IntegrityError(f"state snapshot has format {form}, this program reads {FORMAT}")
    version = arrays["plan_version"].tobytes().decode()
    if version != plan.version:
        raise IntegrityError(
            f"state snapshot is of definition {version}, view {plan.view.name!r} is now {plan.version}",
            hint="start the changed view from the log instead",
        )
    memory = StateMemory(plan)
    names = ("count", "event_t", "event_id", "event_inputs", "base")
    memory.load(_texts(arrays) if plan.has_text_keys else arrays["keys"], *(plain(arrays[name]) for name in names))
    if memory.sketches:
        memory.sketches.load(arrays)
    n = memory.used
    memory.peaks = plain(arrays["peaks"]).copy()
    memory.slots.next_change[:n] = plain(arrays["next_change"])
    memory.due.rebuild(memory.slots.next_change)
    for name, column in _COLUMNS:
        memory.slots.meta[:n, column] = plain(arrays[name])
    waiting = PendingLabels(*(plain(arrays[f"pending_{name}"]) for name in PendingLabels._fields))
    memory.pending = empty_pending(power_of_two(4 * len(waiting.id)))
    memory.slots.counters[PENDING] = table_kernels.rebuild_pending(waiting, memory.pending, -(2**63))
    memory.mark_taken(np.arange(n, dtype=np.int64))
    return memory


def _texts(arrays: dict[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    sizes = plain(arrays["key_sizes"]).tolist()
    data, end = arrays["key_bytes"].tobytes(), 0
    texts = np.empty(len(sizes), dtype=object)
    for slot, size in enumerate(sizes):
        texts[slot] = data[end : end + size].decode()
        end += size
    return texts
