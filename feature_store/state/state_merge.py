"""Makes a state of its pieces: a whole one, and what changed after it, in the order it was taken.

In one pass from the newest piece to the oldest, so the cost follows the bytes of all pieces, not their number times
the state:

    newest    slot 7: 2 new events, 3 kept, earlier than t    ─► the last two of five
    before    slot 7: 1 new event earlier than t, 4 kept …    ─► the third; its kept ones lie further back
    whole     slot 7: all its events                          ─► the first two
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import plain
from feature_store.kernels import I64
from feature_store.plan import NEVER_US, NULL
from feature_store.sketch_layout import BYTES, SIZES, chosen_sketches
from feature_store.state import change_kernels
from headrace.errors import IntegrityError

__all__ = ["merge"]

Arrays = Mapping[str, NDArray[np.generic]]
_BY_SLOT = ("count", "next_change", "dirty", "emitted", "changed", "base")
_WAITING = ("pending_id", "pending_value", "pending_at")
_NEWEST = ("format", "plan_version", "peaks", "counters")
_GONE = -2


class _Events(NamedTuple):
    t: I64
    ids: I64
    inputs: I64


def merge(pieces: Sequence[Arrays]) -> dict[str, NDArray[np.generic]]:
    """The state after the last piece, as :meth:`feature_store.state.view_state.ViewState.snapshot` gives it, with
    ``slots``.

    Args:
        pieces: a whole state or the first changes of one that began empty, then changes. The slots of a whole state
            that does not name them are counted from 0.

    Raises:
        IntegrityError: the pieces do not belong together.
    """
    owner, row = _owners(pieces)
    held = np.flatnonzero(owner >= 0)
    firsts = np.cumsum([0, *(len(piece["count"]) for piece in pieces)])
    chosen = firsts[owner[held]] + row[held]
    merged: dict[str, NDArray[np.generic]] = {name: pieces[-1][name] for name in _NEWEST}
    merged |= {name: np.concatenate([piece[name] for piece in pieces])[chosen] for name in _BY_SLOT}
    events = _events(pieces, held, plain(merged["count"]), len(owner))
    merged |= {"event_t": events.t, "event_id": events.ids, "event_inputs": events.inputs}
    if SIZES in pieces[-1]:
        sizes = np.concatenate([plain(piece[SIZES]) for piece in pieces])
        data = np.concatenate([piece[BYTES] for piece in pieces])
        merged |= chosen_sketches(sizes, data.astype(np.uint8, copy=False), chosen)
    merged |= _waiting(pieces) | _keys(pieces, chosen) | {"slots": held}
    return merged


def _owners(pieces: Sequence[Arrays]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The newest piece that names each slot, and in which row; -1: none does, _GONE: it has no key any more."""
    named = [np.concatenate([_slots(piece), _gone(piece)]) for piece in pieces]
    size = max((int(slots.max(initial=-1)) for slots in named), default=-1) + 1
    owner, row = np.full(size, -1, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for number, piece in enumerate(pieces):
        slots = _slots(piece)
        owner[slots], row[slots] = number, np.arange(len(slots))
        owner[_gone(piece)] = _GONE
    return owner, row


def _events(pieces: Sequence[Arrays], held: I64, counts: I64, size: int) -> _Events:
    total = int(counts.sum())
    inputs = len(pieces[-1]["event_inputs"])
    events = _Events(*(np.empty(shape, dtype=np.int64) for shape in (total, total, (inputs, total))))
    missing, ends = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    missing[held], ends[held] = counts, np.cumsum(counts)
    before_us = np.full(size, NEVER_US, dtype=np.int64)
    for piece in reversed(pieces):
        new = plain(piece["count"]) - plain(piece["kept"]) if "kept" in piece else plain(piece["count"])
        from_us = piece.get("from_us", np.full(len(new), NULL, dtype=np.int64))
        change_kernels.take_events(
            _slots(piece),
            plain(from_us),
            np.append(0, np.cumsum(new)),
            plain(piece["event_t"]),
            plain(piece["event_id"]),
            plain(piece["event_inputs"]),
            missing,
            before_us,
            ends,
            *events,
        )
    if missing.any():
        raise IntegrityError(f"{int(missing.sum())} events of a state are in none of its pieces")
    return events


def _waiting(pieces: Sequence[Arrays]) -> dict[str, NDArray[np.generic]]:
    """Labels that wait, by id; of those with one id the newest."""
    ids, values, at = (np.concatenate([plain(piece[name]) for piece in pieces]) for name in _WAITING)
    last = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]
    dropped_us = [int(plain(piece["pending_from"])[0]) for piece in pieces if "pending_from" in piece]
    last = last[at[last] >= max(dropped_us, default=NULL)]
    return {"pending_id": ids[last], "pending_value": values[last], "pending_at": at[last]}


def _keys(pieces: Sequence[Arrays], chosen: I64) -> dict[str, NDArray[np.generic]]:
    if "keys" in pieces[-1]:
        return {"keys": np.concatenate([piece["keys"] for piece in pieces])[chosen]}
    sizes = np.concatenate([plain(piece["key_sizes"]) for piece in pieces])
    data = np.concatenate([piece["key_bytes"] for piece in pieces])
    kept = sizes[chosen]
    # For each byte that stays, where it comes from: its key's first byte, and how far behind it.
    first = (np.cumsum(sizes) - sizes)[chosen] - (np.cumsum(kept) - kept)
    return {"key_bytes": data[np.repeat(first, kept) + np.arange(int(kept.sum()))], "key_sizes": kept}


def _slots(piece: Arrays) -> I64:
    return plain(piece["slots"]) if "slots" in piece else np.arange(len(piece["count"]), dtype=np.int64)


def _gone(piece: Arrays) -> I64:
    return plain(piece["gone"]) if "gone" in piece else np.empty(0, dtype=np.int64)
