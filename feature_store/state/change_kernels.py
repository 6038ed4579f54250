"""Kernels of snapshots that hold changes only: what of a slot is still as it was, and putting pieces together."""

from feature_store.kernel_cache import kernel
from feature_store.kernels import I64, T, upper_bound
from feature_store.plan import NULL
from feature_store.state.state_arrays import COUNT, START, Slots

__all__ = ["newest_events", "take_events", "unchanged_events"]


@kernel
def unchanged_events(held: I64, from_us: I64, slots: Slots, arena: I64, kept: I64) -> None:
    """How many events of each slot are earlier than ``from_us``; none are where it is NULL."""
    meta = slots.meta
    for row in range(held.size):
        start = meta[held[row], START]
        end = start + meta[held[row], COUNT]
        kept[row] = 0 if from_us[row] == NULL else upper_bound(arena, start, end, from_us[row] - 1) - start


@kernel
def newest_events(held: I64, slots: Slots, arena: I64, newest_us: I64) -> None:
    """Time of the newest event of each slot; NULL without any."""
    meta = slots.meta
    for row in range(held.size):
        end = meta[held[row], START] + meta[held[row], COUNT]
        newest_us[row] = arena[end - 1, T] if meta[held[row], COUNT] > 0 else NULL


@kernel
def take_events(
    piece: I64,
    from_us: I64,
    starts: I64,
    t: I64,
    ids: I64,
    inputs: I64,
    missing: I64,
    before_us: I64,
    ends: I64,
    out_t: I64,
    out_ids: I64,
    out_inputs: I64,
) -> None:
    """Fill the events of slots from the back with what a piece has of them; newer pieces come first.

    ``piece`` are its slots, from ``starts`` their events. Of slot s ``missing[s]`` events still lack; they are the last
    ones earlier than ``before_us[s]`` and belong just before ``ends[s]``.
    """
    for row in range(piece.size):
        slot = piece[row]
        if missing[slot] == 0:
            continue
        end = starts[row + 1]
        while end > starts[row] and t[end - 1] >= before_us[slot]:
            end -= 1
        taken = min(missing[slot], end - starts[row])
        source, target = end - taken, ends[slot] - taken
        for k in range(taken):
            out_t[target + k], out_ids[target + k] = t[source + k], ids[source + k]
        for i in range(inputs.shape[0]):
            for k in range(taken):
                out_inputs[i, target + k] = inputs[i, source + k]
        missing[slot] -= taken
        ends[slot] = target
        before_us[slot] = min(before_us[slot], from_us[row])
