"""Kernels that take stored rows apart, and decide what each of them says at its instant.

                   watermark - lateness                valid_from            valid_until
───────────────────────────●──────────────────────────────●─────────────────────●───────────► q
 events may be missing     │  evaluated from the events stored with the row, exact at any q
 stored row, STALE         │  without those: the stored values here ├───────────┤, STALE elsewhere
"""

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64
from feature_store.online.online_layout import HEADER_WORDS, ROW_FORMAT, WITHOUT_STATE
from feature_store.online.packing_kernels import read_size, unpack_state
from feature_store.plan import NULL

__all__ = [
    "MOVABLE",
    "STORED",
    "VALID_FROM",
    "VALID_UNTIL",
    "VERSION",
    "WATERMARK",
    "extract",
    "judge",
    "locate",
    "read_stored",
    "read_views",
]

_ABSENT, _FOREIGN, STORED, MOVABLE = range(4)
"""No row; a row of another definition of the view; a row without its events; one with them."""

_DEFINITION, VERSION, VALID_FROM, VALID_UNTIL, WATERMARK = range(1, HEADER_WORDS)
"""Words of a row's header."""

_PRESENT, _NOT_FOUND, _EXPIRED, _STALE = range(4)
"""As feature_store.online.view_rows.STATUSES."""


@kernel
def locate(
    data: NDArray[np.uint8],
    words: I64,
    ends: I64,
    cells: int,
    inputs: int,
    base: int,
    definition: int,
    has_sketches: bool,
    kind: NDArray[np.int8],
    start: I64,
    state_ends: I64,
) -> int:
    """Tell the kinds of rows and where the events of each will lie; returns a damaged row's number, or -1.

    ``state_ends``: where in the data the state of each ends, and its sketches begin; of a row with its events.
    """
    low = 0
    for row in range(ends.size):
        high = ends[row]
        size = (high - low) // 8
        events = 0
        if high == low:
            kind[row] = _ABSENT
        else:
            if (high - low) % 8 != 0 or size < HEADER_WORDS:
                return row
            first = words[low // 8]
            if first & 0xFF != ROW_FORMAT:
                return row
            if words[low // 8 + 1] != definition:
                kind[row] = _FOREIGN
            else:
                state = size - HEADER_WORDS - cells
                if (first >> 16) & 0xFFFF != cells or state < 0:
                    return row
                if (first >> 8) & WITHOUT_STATE or state == 0:  # or it was fetched without its state
                    kind[row] = STORED
                    if state != 0:
                        return row
                else:
                    kind[row] = MOVABLE
                    if (first >> 32) & 0xFFFF != inputs or (first >> 48) & 0xFFFF != base:
                        return row
                    claimed, events = read_size(data, words, high - 8 * state, inputs, base)
                    if claimed > 8 * state or (claimed < 8 * state and not has_sketches):
                        return row
                    state_ends[row] = high - 8 * state + claimed
        start[row + 1] = start[row] + events
        low = high
    return -1


@kernel
def _word(data: NDArray[np.uint8], at: int) -> int:
    word = np.int64(0)
    for k in range(8):
        word |= np.int64(data[at + k]) << (8 * k)
    return int(word)


@kernel
def read_stored(
    data: NDArray[np.uint8],
    spans: I64,
    place: int,
    definition: int,
    head: I64,
    bits: I64,
    status: NDArray[np.int8],
) -> int:
    """Rows as they were stored, without what :func:`locate`, :func:`extract` and :func:`judge` do for other instants.

    Args:
        data: anything, the rows among it.
        spans: (n, .., 2) where each value of each reply begins and ends; one without bytes is none.
        place: of the rows among the values.
        definition: fingerprint of the view.
        head: (HEADER_WORDS, n) written.
        bits: (n, W) of the values, NaN beforehand; written.
        status: (n,) written.

    Returns:
        The number of a damaged row, or -1.
    """
    cells = bits.shape[1]
    for row in range(status.size):
        low, size = spans[row, place, 0], spans[row, place, 1] - spans[row, place, 0]
        status[row] = _NOT_FOUND
        if size == 0:
            continue
        if size % 8 != 0 or size < 8 * HEADER_WORDS or data[low] != ROW_FORMAT:
            return row
        if _word(data, low + 8) != definition:
            continue
        if size != 8 * (HEADER_WORDS + cells) or (_word(data, low) >> 16) & 0xFFFF != cells:
            return row
        status[row] = _PRESENT
        for word in range(HEADER_WORDS):
            head[word, row] = _word(data, low + 8 * word)
        for cell in range(cells):
            bits[row, cell] = _word(data, low + 8 * (HEADER_WORDS + cell))
    return -1


@kernel
def read_views(data: NDArray[np.uint8], ends: I64, views: I64, valid_from: I64, bits: I64) -> bool:
    """Rows of several views as they were stored, for as many questions.

    Args:
        data: the rows, one behind another.
        ends: where each ends; one without bytes is none.
        views: (V, 6) of each its definition, its cells, its first of all cells, views before those of its entity,
            views of its entity, its place among these. Rows stand by entity, then by question, then by view.
        valid_from: (n, V) written; NULL where there is no row.
        bits: (n, all cells) of the values, NaN beforehand; written.

    Returns:
        Whether all is as usual; false when something should be looked at one by one.
    """
    n = valid_from.shape[0]
    for view in range(views.shape[0]):
        definition, cells, first = views[view, 0], views[view, 1], views[view, 2]
        before, width, place = views[view, 3], views[view, 4], views[view, 5]
        for row in range(n):
            number = before * n + row * width + place
            low, high = (ends[number - 1] if number > 0 else 0), ends[number]
            valid_from[row, view] = NULL
            if high == low:
                continue
            if high - low < 8 * HEADER_WORDS or (high - low) % 8 != 0 or data[low] != ROW_FORMAT:
                return False
            if _word(data, low + 8) != definition:
                continue
            if high - low < 8 * (HEADER_WORDS + cells) or (_word(data, low) >> 16) & 0xFFFF != cells:
                return False
            valid_from[row, view] = _word(data, low + 8 * VALID_FROM)
            for cell in range(cells):
                bits[row, first + cell] = _word(data, low + 8 * (HEADER_WORDS + cell))
    return True


@allocating_kernel
def extract(
    data: NDArray[np.uint8],
    words: I64,
    ends: I64,
    kind: NDArray[np.int8],
    start: I64,
    inputs: int,
    head: I64,
    values: NDArray[np.float64],
    base: I64,
) -> tuple[I64, I64, I64]:
    """Copy headers and values, and the events of all rows one after another."""
    total = start[-1]
    times, ids, columns = (
        np.empty((1, total), np.int64), np.empty((1, total), np.int64), np.empty((inputs, total), np.int64),
    )  # fmt: skip
    cells = values.shape[1]
    decimals = words.view(np.float64)
    low = 0
    for row in range(ends.size):
        if kind[row] >= STORED:
            at = low // 8
            head[row] = words[at : at + HEADER_WORDS]
            values[row] = decimals[at + HEADER_WORDS : at + HEADER_WORDS + cells]
            if kind[row] == MOVABLE:
                state = 8 * (at + HEADER_WORDS + cells)
                unpack_state(data, words, state, start[row], row, base, times, ids, columns)
        low = ends[row]
    return times[0], ids[0], columns


@allocating_kernel
def judge(
    kind: NDArray[np.int8],
    asked: NDArray[np.bool_],
    q: I64,
    has_own: NDArray[np.bool_],
    ttl_us: int,
    lateness_us: int,
    is_continuous: bool,
    fresh: NDArray[np.float64],
    fresh_from: I64,
    fresh_until: I64,
    head: I64,
    values: NDArray[np.float64],
    own_state: NDArray[np.int8],
    status: NDArray[np.int8],
) -> None:
    """Choose between the stored and the evaluated values of each row; writes head, values, own_state and status."""
    for row in range(kind.size):
        stored_from, stored_until = head[row, VALID_FROM], head[row, VALID_UNTIL]
        if not asked[row]:
            status[row] = _PRESENT if kind[row] >= STORED else _NOT_FOUND
            own_state[row] = 0
            continue
        movable = kind[row] == MOVABLE and q[row] >= head[row, WATERMARK] - lateness_us
        if movable or (kind[row] == _ABSENT and has_own[row]):
            changed = fresh_from[row]
            # The newest change may be the leaving of an event that no window needs and the row no longer carries.
            if movable and stored_from <= q[row]:
                changed = max(changed, stored_from)
            status[row] = _NOT_FOUND if changed == NULL else _PRESENT
            values[row] = fresh[row]
            head[row, VALID_FROM], head[row, VALID_UNTIL] = changed, fresh_until[row]
        else:
            own_state[row] = 0
            if kind[row] < STORED:
                status[row] = _NOT_FOUND
            elif not has_own[row] and stored_from <= q[row] < (stored_from + 1 if is_continuous else stored_until):
                status[row] = _PRESENT
            else:
                status[row] = _STALE
        if status[row] == _PRESENT and q[row] - head[row, VALID_FROM] > ttl_us:
            status[row] = _EXPIRED
