"""Feast's answer to ``POST /get-online-features``, put together from bytes.

Format: ``convert_response_to_dict`` of Feast 0.67: the join keys, then the features, each with one value, one status
and one time per row. A read as stored knows two statuses. All features of a view share statuses and times.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec

from feature_store.online.stored_lookup import StoredLookup, StoredValues
from feature_store.plan import compile_view
from headrace.spec.features import FeatureView
from serving.lookups.answer_form import AnswerForm

__all__ = ["FeatureShape", "feast_timestamp"]

_NEVER = "1970-01-01T00:00:00Z"
_SAME_ONE = b'],"statuses":["PRESENT"],"event_timestamps":["%b"]}'
_NONE_ONE = b'],"statuses":["NOT_FOUND"],"event_timestamps":["1970-01-01T00:00:00Z"]}'
_MOST_ORDERS = 64
_encode = msgspec.json.Encoder().encode

Entities = Mapping[str, Sequence[int | str]]
Replies = Sequence[Sequence[bytes | None]]


class FeatureShape:
    """Everything about a request but its keys; made once for all requests that ask for the same features.

    Args:
        columns: name in the answer, view, feature.
        views: those views.
        project: name of the project.
        with_versions: whether the answer names the views.
    """

    def __init__(
        self,
        columns: Sequence[tuple[str, str, str]],
        views: Sequence[FeatureView],
        project: str,
        *,
        with_versions: bool,
    ) -> None:
        self.columns, self.views = tuple(columns), tuple(views)
        self.entities = frozenset(view.entity for view in views)
        """Join keys a request must give."""
        self.lookup = StoredLookup([compile_view(view) for view in views], project)
        numbers = {name: number for number, name in enumerate(self.lookup.views)}
        names = {view.name: {name: place for place, name in enumerate(view.feature_names)} for view in views}
        self._places = [(numbers[view], names[view][feature]) for _, view, feature in columns]
        """Of each column its view among those of the lookup, and its feature among those of the view."""
        self._with_versions = with_versions
        self._openings: dict[tuple[str, ...], bytes] = {}
        by_name = {view.name: view for view in views}
        ordered = [by_name[name] for name in self.lookup.views]
        self._plans = [compile_view(view) for view in ordered]
        self._has_lists = any(entry.feature.is_list for plan in self._plans for entry in plan.features)
        self._one = None if self._has_lists else _picker(self._places, [len(view.feature_names) for view in ordered])
        self._template = b",".join([b'{"values":[%b%b'] * len(columns)) + b"]}"

    def answer(self, entities: Entities, replies: Replies) -> bytes:
        """The answer as JSON, from the replies to ``lookup.commands(entities)``."""
        names = tuple(entities)
        opening = self._openings.get(names) or self._opening(names)
        size = len(entities[names[0]])
        if size == 1 and self._one is not None:
            return self._answer_one(opening, entities, replies, self._one)
        found = self.lookup.read(replies)
        same = _rest(["PRESENT"] * size, [_NEVER] * size)
        rests = [
            _rest(["NOT_FOUND" if at is None else "PRESENT" for at, _ in rows], [feast_timestamp(at) for at, _ in rows])
            for rows in found
        ]
        parts = [b'{"values":%b%b' % (_encode(keys), same) for keys in entities.values()]
        for view, place in self._places:
            parts.append(b'{"values":%b%b' % (_encode([values[place] for _, values in found[view]]), rests[view]))
        return b"%b%b]}" % (opening, b",".join(parts))

    def form(self, entities: tuple[str, ...]) -> AnswerForm | None:
        """What writes the answers to many requests about one row; None where features are lists.

        Args:
            entities: as the requests name them.
        """
        if self._has_lists:
            return None
        widths = [plan.width for plan in self._plans]
        columns = []
        for view, place in self._places:
            slot = self._plans[view].features[place].slot
            columns.append((view, sum(widths[:view]) + slot, bool(self._plans[view].is_int[slot])))
        return AnswerForm(self._openings.get(entities) or self._opening(entities), len(entities), columns, widths)

    def _answer_one(self, opening: bytes, entities: Entities, replies: Replies, pick: Callable[[Any], Any]) -> bytes:
        """Of one row without lists: all numbers are written at once, and each is put into its place."""
        keys = [
            b'{"values":%b,"statuses":["PRESENT"],"event_timestamps":["1970-01-01T00:00:00Z"]},' % _encode(given)
            for given in entities.values()
        ]
        found = self.lookup.read_one(replies)
        numbers: list[Any] = []
        for _, values in found:
            numbers += values
        pieces = _encode(numbers)[1:-1].split(b",")
        pieces += [_rest_one(row) for row in found]
        return b"%b%b%b" % (opening, b"".join(keys), self._template % pick(pieces))

    def _opening(self, entities: tuple[str, ...]) -> bytes:
        """Everything before the results, which depends on the order of the join keys alone."""
        metadata: dict[str, object] = {"feature_names": [*entities, *(name for name, _, _ in self.columns)]}
        if self._with_versions:
            metadata["feature_view_metadata"] = [{"name": view.name} for view in self.views]
        opening = b'{"metadata":%b,"results":[' % _encode(metadata)
        if len(self._openings) < _MOST_ORDERS:
            self._openings[entities] = opening
        return opening


def _picker(places: Sequence[tuple[int, int]], widths: Sequence[int]) -> Callable[[Any], Any]:
    """Takes (numbers of all views one after another, then a rest for each view) to (number, rest) of each column."""
    starts = [sum(widths[:view]) for view in range(len(widths))]
    pairs = [(starts[view] + place, sum(widths) + view) for view, place in places]
    return itemgetter(*(index for pair in pairs for index in pair))


def _rest_one(row: StoredValues) -> bytes:
    return _NONE_ONE if row[0] is None else _SAME_ONE % feast_timestamp(row[0]).encode()


def _rest(statuses: list[str], times: list[str]) -> bytes:
    return b',"statuses":%b,"event_timestamps":%b}' % (_encode(statuses), _encode(times))


def feast_timestamp(instant_us: int | None) -> str:
    """RFC 3339 with as many decimals as needed, in threes, as protobuf writes it.

    >>> feast_timestamp(1_522_540_800_500_000), feast_timestamp(None)
    ('2018-04-01T00:00:00.500Z', '1970-01-01T00:00:00Z')
    """
    if not instant_us:
        return _NEVER
    seconds, micros = divmod(instant_us, 1_000_000)
    day, second = divmod(seconds, 86_400)
    text = f"{_day(day)}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    if not micros:
        return text + "Z"
    return f"{text}.{micros // 1000:03d}Z" if micros % 1000 == 0 else f"{text}.{micros:06d}Z"


@lru_cache(1024)
def _day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, tz=UTC).strftime("%Y-%m-%d")
