"""Whether records of one schema can be read with another, by Avro's rules of resolution."""

from typing import Any

from streams.schemas.avro_schema import AvroTypes, type_words

__all__ = ["unreadable"]

_WIDER = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def unreadable(reader: AvroTypes, writer: AvroTypes) -> str | None:
    """What keeps ``reader`` from reading what ``writer`` wrote; None when nothing does."""
    return _Resolution(reader, writer).problem(reader.top, writer.top, "the record")


class _Resolution:
    def __init__(self, reader: AvroTypes, writer: AvroTypes) -> None:
        self._reader = reader
        self._writer = writer
        self._seen: set[tuple[str, str]] = set()
        """Pairs of names that were compared, or are being."""

    def problem(self, reader: Any, writer: Any, place: str) -> str | None:
        reader, writer = self._reader.resolve(reader), self._writer.resolve(writer)
        if isinstance(writer, list):
            return next(filter(None, (self.problem(reader, branch, place) for branch in writer)), None)
        if isinstance(reader, list):
            if any(self.problem(branch, writer, place) is None for branch in reader):
                return None
            return _differ(place, reader, writer)
        read, written = _what(reader), _what(writer)
        if read != written:
            return None if read in _WIDER.get(written, ()) else _differ(place, reader, writer)
        if read == "array":
            return self.problem(reader["items"], writer["items"], f"an item of {place}")
        if read == "map":
            return self.problem(reader["values"], writer["values"], f"a value of {place}")
        return self._named(reader, writer, place) if isinstance(reader, dict) and "name" in reader else None

    def _named(self, reader: dict[str, Any], writer: dict[str, Any], place: str) -> str | None:
        pair = (reader["name"], writer["name"])
        if pair in self._seen:
            return None
        self._seen.add(pair)
        if pair[0].rpartition(".")[2] != pair[1].rpartition(".")[2]:
            return _differ(place, reader, writer)
        if reader["type"] == "fixed":
            return None if reader["size"] == writer["size"] else f"{place} has another size"
        if reader["type"] == "enum":
            lost = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            return f"{place} no longer has the symbol {lost[0]!r}" if lost and not reader["has_default"] else None
        written = dict(writer["fields"])
        for name, kind in reader["fields"]:
            known = next((one for one in (name, *reader["aliases"][name]) if one in written), None)
            if known is None:
                if name not in reader["defaults"]:
                    return f"field {name!r} of {place} is new and has no default"
                continue
            found = self.problem(kind, written[known], f"field {name!r}")
            if found is not None:
                return found
        return None


def _what(kind: Any) -> str:
    return kind if isinstance(kind, str) else str(kind["type"])


def _differ(place: str, reader: Any, writer: Any) -> str:
    return f"{place} was {type_words(writer)} and is {type_words(reader)} now"
