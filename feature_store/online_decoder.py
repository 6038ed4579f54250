"""Online rows back to values: of one entity or of many, as stored or at another instant, with or without an own event.

Pure; the readers in :mod:`feature_store.lookup` bring the bytes. What a read at an instant ``q`` can say:

                       watermark - lateness                valid_from            valid_until
    ───────────────────────────●──────────────────────────────●─────────────────────●───────────► q
     events may be missing     │  evaluated from the events stored with the row, exact at any q
     stored row, STALE         │  without those: the stored values here ├───────────┤, STALE elsewhere
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_store.kernel_cache import allocating_kernel, kernel
from feature_store.kernels import I64, begin, shape_of
from feature_store.online_layout import HEADER_WORDS, ROW_FORMAT, WITHOUT_STATE
from feature_store.own_event import OwnEvent, OwnEventReader
from feature_store.plan import NEVER_US, NULL, ViewPlan
from feature_store.row_values import Value, value_lists
from feature_store.state_kernels import evaluate_states
from headrace.errors import IntegrityError

__all__ = ["EXPIRED", "NOT_FOUND", "PRESENT", "STALE", "RowDecoder", "ViewRow"]

PRESENT = "PRESENT"
"""The values hold at the instant asked for; when none was, they are as they were stored."""
NOT_FOUND = "NOT_FOUND"
"""No event of this key is known, or none up to the instant; values are null."""
EXPIRED = "EXPIRED"
"""The values are older than the view's ttl, and null therefore."""
STALE = "STALE"
"""The stored values are given; they do not hold at the instant and cannot be moved there."""

_ABSENT, _FOREIGN, _BARE, _MOVABLE = range(4)
"""No row; a row of another definition of the view; a row without its events; one with them."""

_DEFINITION, _VERSION, _VALID_FROM, _VALID_UNTIL, _WATERMARK = range(1, HEADER_WORDS)
"""Words of a row's header."""

_STATUS = (PRESENT, NOT_FOUND, EXPIRED, STALE)
_PRESENT, _NOT_FOUND, _EXPIRED, _STALE = range(4)
_OWN_EVENT = ("", "applied", "merged")
"""By own_state of evaluate_states."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRow:
    """What one view says about one entity."""

    view: str
    status: str
    """PRESENT, NOT_FOUND, EXPIRED or STALE."""
    values: dict[str, Value]
    """By feature name."""
    event_time_us: int | None = None
    """Instant from which the values hold (``valid_from``)."""
    valid_until_us: int | None = None
    """First instant at which they no longer do, as far as known; NEVER_US when only an event can change them."""
    version: int | None = None
    """Offset in the keyed log the stored row reflects."""
    watermark_us: int | None = None
    """Event time the stored row is refreshed to."""
    own_event: str = ""
    """``applied``: the stored row counts the own event already; ``merged``: it was added here."""


class RowDecoder:
    """Decodes ``_hr:<view>`` fields of one view, any number at once."""

    def __init__(self, plan: ViewPlan) -> None:
        self.plan = plan
        self._shape = shape_of(plan)
        self._definition = int(plan.version, 16)
        self._own = OwnEventReader(plan)
        self._names = plan.feature_names
        self._nothing: dict[str, Value] = dict.fromkeys(self._names)
        self._base = self._shape.width - self._shape.base
        self._ttl_us = NEVER_US if plan.view.ttl_us is None else plan.view.ttl_us
        self.decode([None], [0], [None])  # so that the kernels are loaded before the first request waits for them

    def decode(
        self, stored: Sequence[bytes | None], at_us: Sequence[int | None], own: Sequence[OwnEvent | None]
    ) -> list[ViewRow]:
        """One row per request.

        Args:
            stored: bytes of the field, None where Redis has none.
            at_us: instant asked for; None: the own event's time, and without one the values as stored.
            own: event to be counted in; once, if the stream applied it already.

        Raises:
            IntegrityError: a row is cut off or of another format.
            RejectedError: an own event lacks a field or has one of the wrong type.
        """
        n = len(stored)
        instants = [event.time_us if at is None and event else at for at, event in zip(at_us, own, strict=True)]
        kind, head, values, start, base, times, ids, inputs = self._unpack(stored)
        own_t, own_id, own_inputs = self._own.columns(own)
        q = np.array([instant or 0 for instant in instants], np.int64)
        has_own = np.array([event is not None for event in own], np.bool_)
        fresh, fresh_from, fresh_until = np.empty_like(values), np.empty(n, np.int64), np.empty(n, np.int64)
        own_state, status = np.zeros(n, np.int8), np.empty(n, np.int8)
        asked = np.array([instant is not None for instant in instants], np.bool_)
        if asked.any():
            # What is older than the state remembers was counted or came too late, long ago.
            remembered = (kind != _MOVABLE) | (own_t >= head[:, _WATERMARK] - self.plan.retention_us)
            evaluate_states(
                self._shape, start, times, ids, inputs, base, q, has_own & remembered, own_t, own_id, own_inputs,
                fresh, fresh_from, fresh_until, own_state,
            )  # fmt: skip
        _judge(
            kind, asked, q, has_own, self._ttl_us, self.plan.lateness_us, self.plan.is_continuous,
            fresh, fresh_from, fresh_until, head, values, own_state, status,
        )  # fmt: skip
        return self._rows(kind, status, own_state, head, values)

    def _unpack(
        self, stored: Sequence[bytes | None]
    ) -> tuple[NDArray[np.int8], I64, NDArray[np.float64], I64, I64, I64, I64, I64]:
        words = np.frombuffer(b"".join([data for data in stored if data]), np.uint8)
        ends = np.cumsum([len(data) if data else 0 for data in stored], dtype=np.int64)
        cells, inputs = self.plan.width, len(self.plan.inputs)
        kind, start = np.empty(len(stored), np.int8), np.zeros(len(stored) + 1, np.int64)
        whole = words[: len(words) & ~7].view(np.int64)
        if _locate(whole, ends, cells, inputs, self._base, self._definition, kind, start) >= 0:
            raise IntegrityError(
                f"a row of view {self.plan.view.name!r} online is cut off or not of format {ROW_FORMAT}",
                hint="upgrade this process, or find out what else writes this view",
            )
        head, values = np.zeros((len(stored), HEADER_WORDS), np.int64), np.full((len(stored), cells), np.nan)
        base = self._nothing_yet(len(stored))
        times, ids, columns = _extract(whole, ends, kind, start, inputs, head, values, base)
        return kind, head, values, start, base, times, ids, columns

    def _nothing_yet(self, rows: int) -> I64:
        """Lifetime cells of keys without events."""
        history = np.empty((1, self._shape.width), np.int64)
        begin(history, 0, self._shape.features, self._shape.folds)
        return np.repeat(history[:, self._shape.base :], rows, axis=0)

    def _rows(
        self,
        kind: NDArray[np.int8],
        status: NDArray[np.int8],
        own_state: NDArray[np.int8],
        head: I64,
        values: NDArray[np.float64],
    ) -> list[ViewRow]:
        view, names = self.plan.view.name, self._names
        rows = []
        columns = (kind.tolist(), status.tolist(), own_state.tolist(), head.tolist(), value_lists(self.plan, values))
        for source, code, own_code, line, row in zip(*columns, strict=True):
            if code == _NOT_FOUND:
                rows.append(ViewRow(view=view, status=NOT_FOUND, values=self._nothing.copy()))
                continue
            stored = source >= _BARE
            rows.append(
                ViewRow(
                    view=view,
                    status=_STATUS[code],
                    values=self._nothing.copy() if code == _EXPIRED else dict(zip(names, row, strict=True)),
                    event_time_us=line[_VALID_FROM],
                    valid_until_us=line[_VALID_UNTIL],
                    version=line[_VERSION] if stored else None,
                    watermark_us=line[_WATERMARK] if stored else None,
                    own_event=_OWN_EVENT[own_code],
                )
            )
        return rows


@kernel
def _locate(
    words: I64, ends: I64, cells: int, inputs: int, base: int, definition: int, kind: NDArray[np.int8], start: I64
) -> int:
    """Tell the kinds of rows and where the events of each will lie; returns a damaged row's number, or -1."""
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
                if (first >> 8) & WITHOUT_STATE:
                    kind[row] = _BARE
                    if state != 0:
                        return row
                else:
                    kind[row] = _MOVABLE
                    state -= base
                    events = state // (2 + inputs)
                    if state < 0 or (first >> 32) & 0xFFFF != inputs or state % (2 + inputs) != 0:
                        return row
                    if (first >> 48) & 0xFFFF != base:
                        return row
        start[row + 1] = start[row] + events
        low = high
    return -1


@allocating_kernel
def _extract(
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
    times, ids, columns = np.empty(total, np.int64), np.empty(total, np.int64), np.empty((inputs, total), np.int64)
    cells = values.shape[1]
    decimals = words.view(np.float64)
    low = 0
    for row in range(ends.size):
        if kind[row] >= _BARE:
            at = low // 8
            head[row] = words[at : at + HEADER_WORDS]
            values[row] = decimals[at + HEADER_WORDS : at + HEADER_WORDS + cells]
            at += HEADER_WORDS + cells
            if kind[row] == _MOVABLE:
                for c in range(base.shape[1]):
                    base[row, c] = words[at + c]
                at += base.shape[1]
            first, last = start[row], start[row + 1]
            n = last - first
            times[first:last] = words[at : at + n]
            ids[first:last] = words[at + n : at + 2 * n]
            for i in range(inputs):
                columns[i, first:last] = words[at + (2 + i) * n : at + (3 + i) * n]
        low = ends[row]
    return times, ids, columns


@allocating_kernel
def _judge(
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
        stored_from, stored_until = head[row, _VALID_FROM], head[row, _VALID_UNTIL]
        if not asked[row]:
            status[row] = _PRESENT if kind[row] >= _BARE else _NOT_FOUND
            own_state[row] = 0
            continue
        movable = kind[row] == _MOVABLE and q[row] >= head[row, _WATERMARK] - lateness_us
        if movable or (kind[row] == _ABSENT and has_own[row]):
            changed = fresh_from[row]
            # The newest change may be the leaving of an event that no window needs and the row no longer carries.
            if movable and stored_from <= q[row]:
                changed = max(changed, stored_from)
            status[row] = _NOT_FOUND if changed == NULL else _PRESENT
            values[row] = fresh[row]
            head[row, _VALID_FROM], head[row, _VALID_UNTIL] = changed, fresh_until[row]
        else:
            own_state[row] = 0
            if kind[row] < _BARE:
                status[row] = _NOT_FOUND
            elif not has_own[row] and stored_from <= q[row] < (stored_from + 1 if is_continuous else stored_until):
                status[row] = _PRESENT
            else:
                status[row] = _STALE
        if status[row] == _PRESENT and q[row] - head[row, _VALID_FROM] > ttl_us:
            status[row] = _EXPIRED
