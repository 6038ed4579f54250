"""Online rows back to values: of one entity or of many, as stored or at another instant, with or without an own event.

Pure; the readers in :mod:`feature_store.online.lookup` bring the bytes, and :mod:`feature_store.online.stored_kernels`
says what a read at an instant can say.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64, begin, shape_of
from feature_store.online.online_layout import HEADER_WORDS, ROW_FORMAT
from feature_store.online.stored_kernels import (
    MOVABLE,
    STORED,
    VALID_FROM,
    VALID_UNTIL,
    VERSION,
    WATERMARK,
    extract,
    judge,
    locate,
    read_stored,
)
from feature_store.online.stored_row import StoredRowReader
from feature_store.online.view_rows import EXPIRED, NOT_FOUND, PRESENT, STATUSES, ViewColumns, ViewRow
from feature_store.own_event import OwnEvent, OwnEventReader
from feature_store.plan import NEVER_US, NULL, ViewPlan
from feature_store.row_values import Value, value_lists
from feature_store.sketch_answers import answer_rows
from feature_store.sketch_layout import Saved, decode_sketches
from feature_store.state_kernels import evaluate_states
from headrace.errors import IntegrityError

__all__ = ["RowDecoder"]

_OWN_EVENT = ("", "applied", "merged")
"""By own_state of evaluate_states."""
_NOT_FOUND, _EXPIRED = STATUSES.index(NOT_FOUND), STATUSES.index(EXPIRED)


class _Answer(NamedTuple):
    """Rows of one view in columns; shapes (n,), head (n, HEADER_WORDS), values (n, W)."""

    kind: NDArray[np.int8]
    status: NDArray[np.int8]
    own_state: NDArray[np.int8]
    head: I64
    values: NDArray[np.float64]


class RowDecoder:
    """Decodes rows of one view, any number at once: the bytes of ``_hr:<view>``, with those of ``_hs:<view>`` behind
    them where an instant or an own event is given.
    """

    def __init__(self, plan: ViewPlan) -> None:
        self.plan = plan
        self._shape = shape_of(plan)
        self._definition = int(plan.version, 16)
        self._own = OwnEventReader(plan)
        self._names = plan.feature_names
        self._nulls: dict[str, Value] = dict.fromkeys(self._names)
        self._base = self._shape.width - self._shape.base
        self._nothing = self._lifetimes_of_none()
        self._ttl_us = NEVER_US if plan.view.ttl_us is None else plan.view.ttl_us
        self._stored = StoredRowReader(plan)
        # So that the kernels are loaded before the first request waits for them.
        self.decode([None], [0], [None])
        self.stored_columns(np.empty(0, np.uint8), np.zeros((1, 1, 2), np.int64), 0)

    def decode(
        self, stored: Sequence[bytes | None], at_us: Sequence[int | None], own: Sequence[OwnEvent | None]
    ) -> list[ViewRow]:
        """One row per request.

        Args:
            stored: bytes of the row, None where Redis has none.
            at_us: instant asked for; None: the own event's time, and without one the values as stored.
            own: event to be counted in; once, if the stream applied it already.

        Raises:
            IntegrityError: a row is cut off or of another format.
            RejectedError: an own event lacks a field or has one of the wrong type.
        """
        instants = [event.time_us if at is None and event else at for at, event in zip(at_us, own, strict=True)]
        asked = np.array([instant is not None for instant in instants], np.bool_)
        q = np.array([instant or 0 for instant in instants], np.int64)
        data = np.frombuffer(b"".join([data for data in stored if data]), np.uint8)
        ends = np.cumsum([len(data) if data else 0 for data in stored], dtype=np.int64)
        return self._rows(self._answer(data, ends, asked, q, own))

    def as_stored(self, data: bytes | None) -> ViewRow:
        """One row as it was stored, without arrays: of a few rows those would cost more than what is in them.

        Raises:
            IntegrityError: it is cut off or of another format.
        """
        view, row = self.plan.view.name, self._stored.read(data)
        if row is None:
            return ViewRow(view=view, status=NOT_FOUND, values=self._nulls.copy())
        values = [None if value != value else value for value in row.values]  # NaN is null
        return ViewRow(
            view=view,
            status=PRESENT,
            values=dict(zip(self._names, values, strict=True)),
            event_time_us=row.valid_from_us,
            valid_until_us=row.valid_until_us,
            version=row.version,
            watermark_us=row.watermark_us,
        )

    def columns(self, data: NDArray[np.uint8], ends: I64, at_us: I64) -> ViewColumns:
        """Columns of n rows at instants.

        Args:
            data: bytes of the rows, one behind another.
            ends: (n,) where each ends; nothing between two: there is no row.
            at_us: (n,) instants asked for.

        Raises:
            IntegrityError: a row is cut off or of another format.
        """
        answer = self._answer(data, ends, np.full(len(ends), True), at_us, ())
        answer.values[(answer.status == _NOT_FOUND) | (answer.status == _EXPIRED)] = np.nan
        return self._as_columns(answer.status, answer.values, np.ascontiguousarray(answer.head.T))

    def stored_columns(self, data: NDArray[np.uint8], spans: I64, place: int) -> ViewColumns:
        """Columns of n rows as they were stored.

        Args:
            data: anything, the bytes of ``_hr:<view>`` of each row among it.
            spans: (n, .., 2) where each value of each reply begins and ends; no bytes: there is no row.
            place: of the rows among the values.

        Raises:
            IntegrityError: a row is cut off or of another format.
        """
        n = len(spans)
        head, values = np.zeros((HEADER_WORDS, n), np.int64), np.full((n, self.plan.width), np.nan)
        status = np.empty(n, np.int8)
        if read_stored(data, spans, place, self._definition, head, values.view(np.int64), status) >= 0:
            raise self._damaged()
        return self._as_columns(status, values, head)

    def _as_columns(self, status: NDArray[np.int8], values: NDArray[np.float64], head: I64) -> ViewColumns:
        return ViewColumns(
            plan=self.plan,
            codes=status,
            cells=values,
            event_time_us=head[VALID_FROM],
            valid_until_us=head[VALID_UNTIL],
            version=head[VERSION],
            watermark_us=head[WATERMARK],
        )

    def _answer(
        self, data: NDArray[np.uint8], ends: I64, asked: NDArray[np.bool_], q: I64, own: Sequence[OwnEvent | None]
    ) -> _Answer:
        n, cells, inputs = len(ends), self.plan.width, len(self.plan.inputs)
        kind, start = np.empty(n, np.int8), np.zeros(n + 1, np.int64)
        words = data[: len(data) & ~7].view(np.int64)
        state_ends, sketched = np.zeros(n, np.int64), bool(self.plan.sketches)
        if locate(
            data, words, ends, cells, inputs, self._base, self._definition, sketched, kind, start, state_ends
        ) >= 0:  # fmt: skip
            raise self._damaged()
        head, values, base = (
            np.zeros((n, HEADER_WORDS), np.int64),
            np.full((n, cells), np.nan),
            np.repeat(self._nothing, n, axis=0),
        )
        times, ids, columns = extract(data, words, ends, kind, start, inputs, head, values, base)
        fresh, fresh_from, fresh_until = values, np.empty(n, np.int64), np.empty(n, np.int64)
        own_state, status, has_own = np.zeros(n, np.int8), np.empty(n, np.int8), np.zeros(n, np.bool_)
        if asked.any():
            own_t, own_id, own_inputs = self._own.columns(own or [None] * n)
            has_own[:] = [event is not None for event in own] if own else False
            fresh = np.empty_like(values)
            # What is older than the state remembers was counted or came too late, long ago.
            remembered = (kind != MOVABLE) | (own_t >= head[:, WATERMARK] - self.plan.retention_us)
            evaluate_states(
                self._shape, start, times, ids, columns, base, q, has_own & remembered, own_t, own_id, own_inputs,
                fresh, fresh_from, fresh_until, own_state,
            )  # fmt: skip
            if self._base and self._ttl_us == NEVER_US:
                # Events the row no longer carries are in its lifetimes: when the last one was is not known, but that.
                had_events = (base != self._nothing).any(axis=1) & (fresh_from == NULL)
                fresh_from[had_events] = head[had_events, WATERMARK] - self.plan.lateness_us
            if sketched:
                saved = self._sketches(data, kind, state_ends, ends)
                answer_rows(
                    self.plan, saved, start, times, ids, columns, q, own_state == 2, own_t, own_id, own_inputs, fresh
                )
        judge(
            kind, asked, q, has_own, self._ttl_us, self.plan.lateness_us, self.plan.is_continuous,
            fresh, fresh_from, fresh_until, head, values, own_state, status,
        )  # fmt: skip
        return _Answer(kind, status, own_state, head, values)

    def _lifetimes_of_none(self) -> I64:
        """(1, C) lifetime cells of a key without events."""
        history = np.empty((1, self._shape.width), np.int64)
        begin(history, 0, self._shape.features, self._shape.folds)
        return history[:, self._shape.base :]

    def _sketches(self, data: NDArray[np.uint8], kind: NDArray[np.int8], state_ends: I64, ends: I64) -> list[Saved]:
        """Sketches of each row; empty ones of a row without its events."""
        number = len(self.plan.sketches)
        try:
            return [
                decode_sketches(data[first:last].tobytes(), number) if of == MOVABLE else (b"",) * number
                for of, first, last in zip(kind.tolist(), state_ends.tolist(), ends.tolist(), strict=True)
            ]
        except IntegrityError as error:
            raise IntegrityError(f"view {self.plan.view.name!r}: {error}", hint=error.hint) from error

    def _damaged(self) -> IntegrityError:
        return IntegrityError(
            f"a row of view {self.plan.view.name!r} online is cut off or not of format {ROW_FORMAT}",
            hint="upgrade this process, or find out what else writes this view",
        )

    def _rows(self, answer: _Answer) -> list[ViewRow]:
        view, names = self.plan.view.name, self._names
        rows = []
        columns = (
            answer.kind.tolist(), answer.status.tolist(), answer.own_state.tolist(), answer.head.tolist(),
            value_lists(self.plan, answer.values),
        )  # fmt: skip
        for source, code, own_code, line, row in zip(*columns, strict=True):
            if code == _NOT_FOUND:
                rows.append(ViewRow(view=view, status=NOT_FOUND, values=self._nulls.copy()))
                continue
            stored = source >= STORED
            rows.append(
                ViewRow(
                    view=view,
                    status=STATUSES[code],
                    values=self._nulls.copy() if code == _EXPIRED else dict(zip(names, row, strict=True)),
                    event_time_us=line[VALID_FROM],
                    valid_until_us=line[VALID_UNTIL],
                    version=line[VERSION] if stored else None,
                    watermark_us=line[WATERMARK] if stored else None,
                    own_event=_OWN_EVENT[own_code],
                )
            )
        return rows
