"""Feast's answer with holes, for many at once: what those of one shape share is put together when it is first seen."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64
from feature_store.online.stored_lookup import StoredColumns
from serving.lookups.answer_kernels import HOLE_BYTES, KEY, NUMBER, REST, WHOLE, write_answers

__all__ = ["AnswerForm"]

_VALUES = b'{"values":['
_KEY_REST = b'],"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]},'
_encode = msgspec.json.Encoder().encode


class AnswerForm:
    """Answers to requests about one key of each entity, without lists.

    Args:
        opening: everything before the results.
        entities: how many there are.
        columns: of each feature in the answer its view, its cell among those of all views, and whether it is whole.
        widths: (V,) cells of each view.
    """

    def __init__(
        self, opening: bytes, entities: int, columns: Sequence[tuple[int, int, bool]], widths: Sequence[int]
    ) -> None:
        parts: list[tuple[bytes, int, int]] = []
        before = opening + _VALUES
        for entity in range(entities):
            parts.append((before, KEY, entity))
            before = _KEY_REST + _VALUES
        for view, cell, is_whole in columns:
            parts += [(before, WHOLE if is_whole else NUMBER, cell), (b'],"statuses":["', REST, view)]
            before = b'"]},' + _VALUES
        texts = [text for text, _, _ in parts] + [b'"]}]}']
        self._texts = np.frombuffer(b"".join(texts), np.uint8)
        self._text_ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self._holes = np.array([hole for _, *hole in parts], np.int64)
        numbers = sorted({cell for _, cell, is_whole in columns if not is_whole})
        self._numbers = np.array(numbers, np.int64)
        self._numbers_of = np.full(sum(widths), -1, np.int64)
        self._numbers_of[self._numbers] = np.arange(len(numbers))
        self._token_ends, self._rests = np.zeros(len(numbers) + 1, np.int64), np.zeros((len(widths), 2), np.int64)

    def write(self, keys: I64, found: StoredColumns) -> list[bytes] | None:
        """One answer for each row; None when one of them must be written by itself.

        Args:
            keys: (n, entities) in the order of the answer.
            found: what the store said of them.
        """
        out = np.empty(len(keys) * (len(self._texts) + HOLE_BYTES * len(self._holes)), np.uint8)
        cells = found.cells.take(self._numbers, axis=1).ravel().tolist()
        numbers: NDArray[np.uint8] = np.frombuffer(_encode(cells), np.uint8)
        ends = np.empty(len(keys), np.int64)
        can = write_answers(
            out, ends, self._texts, self._text_ends, self._holes, keys, found.valid_from_us, found.cells,
            numbers, self._numbers_of, self._token_ends, self._rests,
        )  # fmt: skip
        if not can:
            return None
        text = out[: ends[-1]].tobytes()
        return [text[low:high] for low, high in pairwise([0, *ends.tolist()])]
