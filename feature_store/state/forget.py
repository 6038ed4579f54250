"""Taking keys and events out of a view's state, as plain arrays; the only place that edits them.

The arrays are those of :mod:`feature_store.state.view_snapshot`. What is left is the state of a stream that never had
them:

    a key goes      its slot goes, with all its events
    an event goes   it leaves its key's window; the key is marked as touched, so that the next drain writes its row anew
    a key without any event left has no slot; its row online is the caller's
    a lifetime keeps what older events added up to, in cells and in sketches; that is computed anew, for it cannot be
    taken back
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import plain
from feature_store.kernels import shape_of
from feature_store.plan import NULL, ViewPlan
from feature_store.sketch_layout import BYTES, SIZES, Saved, chosen_sketches, pack, unpack
from feature_store.state_kernels import lifetime_cells
from feature_store.window_kernels import raise_peaks

__all__ = ["Forgotten", "LifetimeBase", "forget_events", "forget_keys", "held_keys"]

Arrays = dict[str, NDArray[np.generic]]
I64 = NDArray[np.int64]
_BY_SLOT = ("count", "next_change", "dirty", "emitted", "changed", "base")
_WAITING = ("pending_id", "pending_value", "pending_at")
_WATERMARK = 0
"""Place of the watermark among the counters of :meth:`feature_store.state.view_state.ViewState.snapshot`."""


class LifetimeBase(NamedTuple):
    """What a key's lifetimes have added up before some event."""

    cells: I64
    sketches: Saved


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forgotten:
    """A state without some of its events."""

    arrays: Arrays
    events: int
    """How many events went."""
    labels: int
    """How many labels went that waited for their event."""


def held_keys(plan: ViewPlan, arrays: Arrays) -> NDArray[np.generic]:
    """Keys that have events, by slot."""
    if not plan.has_text_keys:
        return arrays["keys"]
    edges = np.append(0, np.cumsum(arrays["key_sizes"])).tolist()
    data = arrays["key_bytes"].tobytes()
    texts = np.empty(len(edges) - 1, dtype=object)
    texts[:] = [data[start:end].decode() for start, end in itertools.pairwise(edges)]
    return texts


def forget_keys(
    plan: ViewPlan, arrays: Arrays, gone: Callable[[NDArray[np.generic]], NDArray[np.bool_]]
) -> tuple[Arrays, int]:
    """The state without the keys ``gone`` says true for, and how many that were."""
    mask = gone(held_keys(plan, arrays))
    if not mask.any():
        return arrays, 0
    counts = _numbers(arrays["count"])
    return _keep(plan, arrays, ~mask, np.repeat(~mask, counts), counts[~mask]), int(mask.sum())


def forget_events(
    plan: ViewPlan,
    arrays: Arrays,
    gone: Callable[[NDArray[np.int64]], NDArray[np.bool_]],
    changed_us: Mapping[Any, int],
    base_of: Callable[[Any, int, int], LifetimeBase | None] | None = None,
) -> Forgotten:
    """The state without the events ``gone`` says true for.

    Args:
        plan: the view.
        arrays: its state.
        gone: of event ids; which of them go.
        changed_us: key -> last instant up to now at which its row changed for another reason than these events.
        base_of: of a key, a time and an id: what its events before those add up to, without the ones that go; None of
            a key that had none of them. Needed by a view with lifetimes.
    """
    counts = _numbers(arrays["count"])
    mask = gone(_numbers(arrays["event_id"]))
    arrays = arrays | {"peaks": _peaks(_numbers(arrays["event_inputs"])[:, ~mask])}
    waiting = gone(_numbers(arrays["pending_id"]))
    if waiting.any():
        arrays = arrays | {name: arrays[name][~waiting] for name in _WAITING}
    rebased = np.zeros(len(counts), dtype=np.bool_)
    if plan.view.has_lifetime and base_of is not None:
        base, rebased = _rebase(plan, arrays, counts, base_of)
        arrays = arrays | base
    if not (mask.any() or rebased.any()):
        return Forgotten(arrays=arrays, events=0, labels=int(waiting.sum()))
    slots = np.repeat(np.arange(len(counts)), counts)
    left = np.bincount(slots[~mask], minlength=len(counts)).astype(np.int64)
    stays = (left > 0) | _adds_up_to_something(plan, arrays)
    touched = np.flatnonzero(stays & ((left < counts) | rebased))
    newest = np.full(len(counts), NULL, dtype=np.int64)
    np.maximum.at(newest, slots[~mask], _numbers(arrays["event_t"])[~mask])
    next_change, changed, emitted = (_numbers(arrays[name]).copy() for name in ("next_change", "changed", "emitted"))
    next_change[touched] = NULL
    keys = held_keys(plan, arrays)[touched].tolist()
    changed[touched] = [changed_us.get(key, NULL) for key in keys]
    # A row is never said beyond the newest event and the watermark; the log goes on from there.
    horizon = np.maximum(newest[touched], int(_numbers(arrays["counters"])[_WATERMARK]))
    emitted[touched] = np.minimum(emitted[touched], horizon)
    arrays = arrays | {"next_change": next_change, "changed": changed, "emitted": emitted}
    return Forgotten(
        arrays=_keep(plan, arrays, stays, ~mask, left[stays]),
        events=int(mask.sum()),
        labels=int(waiting.sum()),
    )


def _rebase(
    plan: ViewPlan, arrays: Arrays, counts: I64, base_of: Callable[[Any, int, int], LifetimeBase | None]
) -> tuple[Arrays, NDArray[np.bool_]]:
    """What each slot's lifetimes have added up before its events, and of which slots that is something else now."""
    base = _numbers(arrays["base"]).copy()
    sketches = list(unpack(_numbers(arrays[SIZES]), _bytes(arrays[BYTES]))) if plan.sketches else []
    rebased = np.zeros(len(counts), dtype=np.bool_)
    times, ids = _numbers(arrays["event_t"]), _numbers(arrays["event_id"])
    oldest_us = int(_numbers(arrays["counters"])[_WATERMARK]) - plan.retention_us
    first = 0
    for slot, (key, count) in enumerate(zip(held_keys(plan, arrays).tolist(), counts.tolist(), strict=True)):
        bound = (int(times[first]), int(ids[first])) if count else (oldest_us, NULL)
        before = base_of(key, *bound)
        if before is not None:
            base[slot], rebased[slot] = before.cells, True
            if sketches:
                sketches[slot] = before.sketches
        first += count
    changed: Arrays = {"base": base}
    return changed | (pack(sketches, len(plan.sketches)) if plan.sketches else {}), rebased


def _adds_up_to_something(plan: ViewPlan, arrays: Arrays) -> NDArray[np.bool_]:
    """Slots whose lifetimes have counted any event."""
    nothing = np.empty(0, dtype=np.int64)
    cells = lifetime_cells(shape_of(plan), nothing, nothing, np.empty((len(plan.inputs), 0), dtype=np.int64))
    differs: NDArray[np.bool_] = (_numbers(arrays["base"]) != cells).any(axis=1)
    if plan.sketches:
        differs |= (_numbers(arrays[SIZES]) > 0).any(axis=1)
    return differs


def _peaks(inputs: I64) -> I64:
    """Largest magnitude of each input; the one there ever was may have been the subject's key."""
    peaks = np.zeros(len(inputs), dtype=np.int64)
    raise_peaks(plain(inputs), peaks)
    return peaks


def _keep(
    plan: ViewPlan, arrays: Arrays, slots: NDArray[np.bool_], events: NDArray[np.bool_], counts: NDArray[np.int64]
) -> Arrays:
    kept = dict(arrays)
    for name in _BY_SLOT:
        kept[name] = arrays[name][slots]
    kept["count"] = counts
    if plan.sketches:
        kept |= chosen_sketches(_numbers(arrays[SIZES]), _bytes(arrays[BYTES]), np.flatnonzero(slots))
    for name in ("event_t", "event_id"):
        kept[name] = arrays[name][events]
    kept["event_inputs"] = np.ascontiguousarray(arrays["event_inputs"][:, events])
    if plan.has_text_keys:
        encoded = [text.encode() for text in held_keys(plan, arrays)[slots].tolist()]
        kept["key_bytes"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        kept["key_sizes"] = np.array([len(text) for text in encoded], dtype=np.int64)
    else:
        kept["keys"] = arrays["keys"][slots]
    return kept


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return array.astype(np.uint8, copy=False)


def _numbers(array: NDArray[np.generic]) -> NDArray[np.int64]:
    return array.astype(np.int64, copy=False)
