"""Lookups as the bytes of Redis commands, and their replies as rows; pure.

Of a row that is taken as it is stored only ``_hr:<view>`` is asked for; where an instant or an own event is given,
``_hs:<view>`` right behind it.
"""

import struct
from collections.abc import Mapping, Sequence

import msgspec

from feature_store.online.online_decoder import RowDecoder
from feature_store.online.online_layout import entity_key_parts, row_field, state_field
from feature_store.online.view_rows import ViewRow
from feature_store.own_event import OwnEvent
from feature_store.plan import compile_view
from headrace.errors import IntegrityError, RejectedError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project

__all__ = ["LookupRequest", "LookupWire", "Opening", "state_is_lost"]

_FEW = 4
"""Requests whose rows are taken apart one by one."""


class LookupRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about one event or one combination of entities."""

    views: Sequence[FeatureView]
    entities: Mapping[str, int | str]
    """Entity name -> key; more than the views need is allowed."""
    at_us: int | None = None
    """Instant the values are asked at; None: the own event's time, and without one the values as stored."""
    own: OwnEvent | None = None
    """Event to be counted in, whether or not the stream has applied it."""

    @property
    def is_moved(self) -> bool:
        """Whether values are asked for at an instant, not as they are stored."""
        return self.at_us is not None or self.own is not None


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """A command that reads views of one entity, but for its key."""

    views: list[str]
    before: bytes
    """Up to the key's length."""
    after: bytes
    """From behind the key on."""


class LookupWire:
    """Encodes the lookups of one project and decodes what Redis answers."""

    def __init__(self, project: Project) -> None:
        self._project = project.name
        self.decoders = {view.name: RowDecoder(compile_view(view)) for view in project.views}
        """By view name."""
        self._keys: dict[str, tuple[bytes, bytes, bool]] = {}
        for decoder in self.decoders.values():
            entity, text = decoder.plan.view.entity, decoder.plan.has_text_keys
            self._keys[entity] = (*entity_key_parts(entity, text=text, project=project.name), text)
        self._openings: dict[tuple[bool, tuple[str, ...]], dict[str, Opening]] = {}

    def encode(self, requests: Sequence[LookupRequest]) -> list[bytes]:
        """One command for each request and entity."""
        commands = []
        for request in requests:
            for entity, opening in self.openings(request.views, moved=request.is_moved).items():
                key = self.key(entity, request.entities.get(entity))
                commands.append(b"%b%d\r\n%b\r\n%b" % (opening.before, len(key), key, opening.after))
        return commands

    def decode(
        self, requests: Sequence[LookupRequest], replies: Sequence[Sequence[bytes | None]]
    ) -> list[dict[str, ViewRow]]:
        """Rows of each request, from the replies to its commands; each view is decoded for all requests at once."""
        if len(requests) <= _FEW and not any(request.is_moved for request in requests):
            return self._decode_few(requests, replies)
        asked: dict[str, tuple[list[bytes | None], list[int]]] = {}
        reply = iter(replies)
        for number, request in enumerate(requests):
            moved = request.is_moved
            for opening in self.openings(request.views, moved=moved).values():
                values = next(reply)
                for place, view in enumerate(opening.views):
                    stored, numbers = asked.setdefault(view, ([], []))
                    stored.append(_joined(view, *values[2 * place : 2 * place + 2]) if moved else values[place])
                    numbers.append(number)
        rows: list[dict[str, ViewRow]] = [{} for _ in requests]
        for view, (stored, numbers) in asked.items():
            decoder = self.decoders[view]
            stream = decoder.plan.view.events.name
            at_us, own = [_instant(requests[i]) for i in numbers], [_own(requests[i], stream) for i in numbers]
            for number, row in zip(numbers, decoder.decode(stored, at_us, own), strict=True):
                rows[number][view] = row
        return rows

    def _decode_few(
        self, requests: Sequence[LookupRequest], replies: Sequence[Sequence[bytes | None]]
    ) -> list[dict[str, ViewRow]]:
        """Rows as they were stored, each by itself."""
        reply, decoders = iter(replies), self.decoders
        return [
            {
                view: decoders[view].as_stored(value)
                for opening in self.openings(request.views, moved=False).values()
                for view, value in zip(opening.views, next(reply), strict=True)
            }
            for request in requests
        ]

    def key(self, entity: str, key: object) -> bytes:
        """Hash key of one entity.

        Raises:
            RejectedError: there is none, or it has the wrong type.
        """
        head, tail, text = self._keys[entity]
        value = _key_bytes(entity, key, text=text)
        return b"%b%b%b%b" % (head, struct.pack("<I", len(value)), value, tail)

    def has_text_keys(self, entity: str) -> bool:
        """Whether its keys are texts."""
        return self._keys[entity][2]

    def openings(self, views: Sequence[FeatureView], *, moved: bool) -> dict[str, Opening]:
        """Commands by entity.

        Raises:
            RejectedError: a view is unknown.
        """
        names = tuple(view.name for view in views)
        found = self._openings.get((moved, names))
        if found is None:
            by_entity: dict[str, list[str]] = {}
            for name in dict.fromkeys(names):
                if name not in self.decoders:
                    raise RejectedError(
                        f"view {name!r} is unknown in project {self._project!r}",
                        hint=f"known are {list(self.decoders)}",
                    )
                by_entity.setdefault(self.decoders[name].plan.view.entity, []).append(name)
            found = {entity: _opening(of_entity, moved=moved) for entity, of_entity in by_entity.items()}
            self._openings[moved, names] = found
        return found


def _opening(views: list[str], *, moved: bool) -> Opening:
    fields = [field for view in views for field in ((row_field(view), state_field(view))[: 1 + moved])]
    return Opening(
        views=views,
        before=b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(fields)),
        after=b"".join(b"$%d\r\n%b\r\n" % (len(field), field) for field in fields),
    )


def _joined(view: str, row: bytes | None, state: bytes | None) -> bytes | None:
    if row is None or state is None:
        if row is None:
            return None
        raise state_is_lost(view)
    return row + state


def state_is_lost(view: str) -> IntegrityError:
    """A row says it has a state, and there is none."""
    return IntegrityError(
        f"a row of view {view!r} online has lost its state", hint="find out what else writes this view"
    )


def _instant(request: LookupRequest) -> int | None:
    return request.own.time_us if request.at_us is None and request.own is not None else request.at_us


def _own(request: LookupRequest, stream: str) -> OwnEvent | None:
    """The own event, for views of its stream."""
    return request.own if request.own is not None and request.own.stream in (None, stream) else None


def _key_bytes(entity: str, key: object, *, text: bool) -> bytes:
    if text and isinstance(key, str):
        return key.encode()
    if not text and isinstance(key, int) and not isinstance(key, bool) and -(2**63) <= key < 2**63:
        return struct.pack("<q", key)
    if key is None:
        raise RejectedError(f"entity {entity!r} is missing in the lookup", hint="give its key in entities")
    raise RejectedError(
        f"entity {entity!r} has key {key!r}", hint=f"its keys are {'texts' if text else 'integers of 64 bits'}"
    )
