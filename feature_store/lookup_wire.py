"""Lookups as the bytes of Redis commands, and their replies as rows; pure."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feature_store.online_decoder import RowDecoder, ViewRow
from feature_store.online_layout import entity_key_parts, row_field
from feature_store.own_event import OwnEvent
from feature_store.plan import compile_view
from headrace.errors import RejectedError
from headrace.spec.features import FeatureView
from headrace.spec.project import Project

__all__ = ["LookupRequest", "LookupWire"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupRequest:
    """What is asked about one event or one combination of entities."""

    views: Sequence[FeatureView]
    entities: Mapping[str, int | str]
    """Entity name -> key; more than the views need is allowed."""
    at_us: int | None = None
    """Instant the values are asked at; None: the own event's time, and without one the values as stored."""
    own: OwnEvent | None = None
    """Event to be counted in, whether or not the stream has applied it."""


class LookupWire:
    """Encodes the lookups of one project and decodes what Redis answers."""

    def __init__(self, project: Project) -> None:
        self._project = project.name
        self._decoders = {view.name: RowDecoder(compile_view(view)) for view in project.views}
        self._openings: dict[str, tuple[bytes, bytes, bool]] = {}
        for decoder in self._decoders.values():
            entity, text = decoder.plan.view.entity, decoder.plan.has_text_keys
            self._openings[entity] = (*entity_key_parts(entity, text=text, project=project.name), text)
        self._layouts: dict[tuple[str, ...], dict[str, tuple[list[str], bytes, bytes]]] = {}

    def encode(self, requests: Sequence[LookupRequest]) -> list[bytes]:
        """One command for each request and entity."""
        commands = []
        for request in requests:
            for entity, (_, opening, fields) in self._layout(request).items():
                head, tail, text = self._openings[entity]
                value = _key_bytes(entity, request.entities.get(entity), text=text)
                key = b"%b%b%b%b" % (head, struct.pack("<I", len(value)), value, tail)
                commands.append(b"%b%d\r\n%b\r\n%b" % (opening, len(key), key, fields))
        return commands

    def decode(
        self, requests: Sequence[LookupRequest], replies: Sequence[Sequence[bytes | None]]
    ) -> list[dict[str, ViewRow]]:
        """Rows of each request, from the replies to its commands; each view is decoded for all requests at once."""
        asked: dict[str, tuple[list[bytes | None], list[int]]] = {}
        reply = iter(replies)
        for number, request in enumerate(requests):
            for views, _, _ in self._layout(request).values():
                for view, data in zip(views, next(reply), strict=True):
                    stored, numbers = asked.setdefault(view, ([], []))
                    stored.append(data)
                    numbers.append(number)
        rows: list[dict[str, ViewRow]] = [{} for _ in requests]
        for view, (stored, numbers) in asked.items():
            decoder = self._decoders[view]
            stream = decoder.plan.view.events.name
            at_us, own = [_instant(requests[i]) for i in numbers], [_own(requests[i], stream) for i in numbers]
            for number, row in zip(numbers, decoder.decode(stored, at_us, own), strict=True):
                rows[number][view] = row
        return rows

    def _layout(self, request: LookupRequest) -> dict[str, tuple[list[str], bytes, bytes]]:
        """By entity: its views, the command up to the key's length, and what stands after the key."""
        names = tuple(view.name for view in request.views)
        layout = self._layouts.get(names)
        if layout is None:
            by_entity: dict[str, list[str]] = {}
            for name in dict.fromkeys(names):
                if name not in self._decoders:
                    raise RejectedError(
                        f"view {name!r} is unknown in project {self._project!r}",
                        hint=f"known are {list(self._decoders)}",
                    )
                by_entity.setdefault(self._decoders[name].plan.view.entity, []).append(name)
            layout = self._layouts[names] = {
                entity: (
                    views,
                    b"*%d\r\n$5\r\nHMGET\r\n$" % (2 + len(views)),
                    b"".join(b"$%d\r\n%b\r\n" % (len(row_field(view)), row_field(view)) for view in views),
                )
                for entity, views in by_entity.items()
            }
        return layout


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
