"""Requests that differ in their keys alone: taken apart and answered many at once.

    {"features": [..], "entities": {"user_id": [5]}}       body
    {"features": [..], "entities": {"user_id": []}}        form, the same for every key

A form that was seen is known, as a prepared statement of a database is: what it asks for was checked then, and only
keys are new. Other requests, about several rows or with keys that are texts, are read one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from feature_store.kernels import I64
from feature_store.online.stored_lookup import StoredLookup
from serving.lookups.answer_form import AnswerForm
from serving.lookups.feast_payload import FeastPayload, FeatureQuery
from serving.lookups.request_kernels import MOST_KEYS, read_keys, take_keys_out

__all__ = ["PreparedRequest", "PreparedRequests"]

_MOST_FORMS = 256
"""Forms that are remembered; what a client writes freely is bounded."""
_MOST_BYTES = 8_192
"""Of a body; one that is longer asks for so much that its form hardly matters."""
_MOST_TOGETHER = 128
"""Requests that are answered at once: others wait meanwhile, and memory stays bounded."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """Everything about requests of one form but their keys."""

    lookup: StoredLookup
    answers: AnswerForm
    asked: list[int]
    """Which of a body's keys belong to the entities of ``lookup``."""
    given: list[int]
    """Which belong to the entities of the answer."""
    texts: NDArray[np.uint8]
    """The form, cut where the keys were."""
    text_ends: I64

    def commands(self, keys: I64) -> bytes:
        """What to ask the online store; ``keys`` (n, MOST_KEYS) as the bodies had them."""
        return self.lookup.commands_of(keys, self.asked)

    def replies(self, count: int) -> int:
        """How many there will be for so many bodies."""
        return count * len(self.asked)

    def answer(self, keys: I64, replies: Sequence[Sequence[bytes | None]]) -> list[bytes] | None:
        """The answers, from the replies to ``commands``; None when one of them must be looked at by itself."""
        found = self.lookup.read_columns(replies)
        return None if found is None else self.answers.write(keys.take(self.given, axis=1), found)


class PreparedRequests:
    """The forms of one project's requests.

    Args:
        payload: reads requests.
    """

    def __init__(self, payload: FeastPayload) -> None:
        self._payload = payload
        self._forms: dict[tuple[bytes, int], PreparedRequest | None] = {}
        """By form and number of keys, for a list may have been empty; None for one that cannot be prepared."""
        self._last: PreparedRequest | None = None
        """That of the last bodies, which most likely is that of the next."""

    def sort(self, bodies: Sequence[bytes]) -> tuple[list[tuple[PreparedRequest, list[int], I64]], list[int]]:
        """Which bodies may be answered together, by number, with their keys; and the numbers of the others."""
        if self._last is not None and len(bodies) <= _MOST_TOGETHER:
            keys = _keys_of(self._last, bodies)
            if keys is not None:
                return [(self._last, list(range(len(bodies))), keys)], []
        short = [body if len(body) <= _MOST_BYTES else b"" for body in bodies]
        forms, keys, counts = _take_apart(short)
        alike: dict[PreparedRequest, list[int]] = {}
        others = []
        for number, form in enumerate(zip(forms, counts.tolist(), strict=True)):
            known = self._forms.get(form)
            if known is None and form not in self._forms:
                if len(self._forms) >= _MOST_FORMS:
                    self._forms.clear()
                known = self._forms[form] = self._prepare(*form)
            if known is None:
                others.append(number)
            else:
                alike.setdefault(known, []).append(number)
                self._last = known
        together = [
            (known, part, keys[part])
            for known, numbers in alike.items()
            for part in (numbers[first : first + _MOST_TOGETHER] for first in range(0, len(numbers), _MOST_TOGETHER))
        ]
        return together, others

    def warm_up(self) -> None:
        """Load the kernels, so that no request waits for them; the first time ever they are compiled, for seconds."""
        examples = self._payload.examples()
        alike, _ = self.sort(examples)
        self.sort(examples)  # once more, as bodies whose form may be known
        for known, _, keys in alike[:1]:
            known.commands(keys)
            known.answer(keys, [[None]])

    def _prepare(self, form: bytes, count: int) -> PreparedRequest | None:
        """Read the form with other keys: those that come out where an entity's were are its keys, whatever they are.

        Numbers of JSON are alike to its grammar, so what holds for these holds for all; a list in a text, or of
        something else than an entity, does not come out.
        """
        if not 0 < count <= MOST_KEYS:
            return None
        pieces = form.split(b"[]")
        if len(pieces) != count + 1:
            return None
        trial = b"".join(b"%b[%d]" % (piece, place) for place, piece in enumerate(pieces[:-1])) + pieces[-1]
        try:
            return _prepared(self._payload.read(trial), pieces)
        except Exception:  # whatever it is, the request says it when it is read by itself
            return None


def _prepared(query: FeatureQuery, pieces: Sequence[bytes]) -> PreparedRequest | None:
    """From a request whose keys are their own numbers, and the pieces of its form between them."""
    lookup, names, count = query.shape.lookup, tuple(query.entities), len(pieces) - 1
    answers = query.shape.form(names)
    keys = [query.entities[name] for name in names]
    numbers = [key[0] for key in keys if len(key) == 1 and isinstance(key[0], int)]
    if answers is None or lookup.has_text_keys or sorted(numbers) != list(range(count)) or len(keys) != count:
        return None
    of = dict(zip(names, numbers, strict=True))
    opened, closed = [b"", *[b"]"] * count], [*[b"["] * count, b""]
    texts, text_ends = _joined([b"".join(piece) for piece in zip(opened, pieces, closed, strict=True)])
    return PreparedRequest(
        lookup, answers, [of[name] for name in lookup.entities], [of[name] for name in names], texts, text_ends
    )


def _joined(texts: Sequence[bytes]) -> tuple[NDArray[np.uint8], I64]:
    """One behind another, and where each ends."""
    return np.frombuffer(b"".join(texts), np.uint8), np.fromiter(accumulate(map(len, texts)), np.int64, len(texts))


def _keys_of(known: PreparedRequest, bodies: Sequence[bytes]) -> I64 | None:
    """The keys of bodies of this form; None when one is of another."""
    keys = np.empty((len(bodies), MOST_KEYS), np.int64)
    return keys if read_keys(*_joined(bodies), known.texts, known.text_ends, keys) else None


def _take_apart(bodies: Sequence[bytes]) -> tuple[list[bytes], I64, I64]:
    """The form of each body, its keys and how many they are."""
    data, ends = _joined(bodies)
    forms, form_ends = np.empty(len(data), np.uint8), np.empty(len(bodies), np.int64)
    keys, counts = np.zeros((len(bodies), MOST_KEYS), np.int64), np.empty(len(bodies), np.int64)
    size = take_keys_out(data, ends, forms, form_ends, keys, counts)
    text, bounds = forms[:size].tobytes(), [0, *form_ends.tolist()]
    return [text[low:high] for low, high in pairwise(bounds)], keys, counts
