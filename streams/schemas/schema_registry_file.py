"""The embedded schema registry: one file a schema, one a subject, below the home folder.

    <folder>/ids/7.json               the schema
    <folder>/subjects/sales-value.json   ids of its versions, oldest first

Ids and versions only grow, and a change of a subject is checked as a registry with compatibility BACKWARD does it.
"""

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_store.json_depth import is_deeper
from headrace.durable_files import write_file
from headrace.errors import IntegrityError, RejectedError
from streams.schemas.avro_compatibility import unreadable
from streams.schemas.avro_schema import MOST_JSON_DEEP, AvroTypes, SchemaRefusedError, parse_schema
from streams.schemas.schema_registry import WriterSchema

__all__ = ["FileSchemaRegistry"]

_SUBJECT = re.compile(r"[A-Za-z0-9._-]{1,200}")


class FileSchemaRegistry:
    """Keeps schemas in a folder; several processes may use it at once.

    Args:
        folder: made when the first schema is registered.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def schema(self, schema_id: int) -> WriterSchema | None:
        """The schema under an id; None when there is none.

        Raises:
            IntegrityError: its file is damaged.
        """
        path = self._folder / "ids" / f"{schema_id}.json"
        found = _read(path)
        if isinstance(found, _TooDeep):
            return WriterSchema("AVRO", found.text)  # which whoever needs it refuses by its id
        return None if found is None else WriterSchema("AVRO", json.dumps(found))

    def register(self, subject: str, text: str) -> int:
        """Id of an Avro schema under a subject; the same schema has the same id.

        Raises:
            RejectedError: it is no schema, or records of the subject's newest one cannot be read with it.
        """
        if not _SUBJECT.fullmatch(subject):
            raise RejectedError(f"subject {subject!r} cannot be a file", hint="use letters, digits, '.', '_' and '-'")
        try:
            new = parse_schema(text)
        except SchemaRefusedError as error:
            raise RejectedError(f"subject {subject!r}: {error}", hint="give the schema of a record as JSON") from error
        schema = json.loads(text)
        with self._locked():
            versions_file = self._folder / "subjects" / f"{subject}.json"
            versions = _versions(versions_file)
            stored = {number: _read(self._folder / "ids" / f"{number}.json") for number in versions}
            for number in versions:
                if stored[number] == schema:
                    return number
            if versions:
                problem = _unreadable(new, stored[versions[-1]])
                if problem is not None:
                    raise RejectedError(
                        f"subject {subject!r} has schema {versions[-1]}, whose records cannot be read: {problem}",
                        hint="give new fields a default, keep the types of old ones",
                    )
            number = self._number_of(schema)
            write_file(versions_file, json.dumps([*versions, number]).encode())
            return number

    def _number_of(self, schema: object) -> int:
        """Id of a schema in any subject; written first when it has none."""
        newest = 0
        for path in (self._folder / "ids").glob("*.json"):
            newest = max(newest, int(path.stem))
            if _read(path) == schema:
                return int(path.stem)
        write_file(self._folder / "ids" / f"{newest + 1}.json", json.dumps(schema).encode())
        return newest + 1

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@dataclass(frozen=True, slots=True)
class _TooDeep:
    """A file no schema can be read from; it equals none."""

    text: str


def _unreadable(new: AvroTypes, stored: Any) -> str | None:
    """What keeps a new schema from reading records of a stored one; None when nothing does."""
    try:
        return unreadable(new, parse_schema(stored.text if isinstance(stored, _TooDeep) else json.dumps(stored)))
    except SchemaRefusedError as error:
        return str(error)
    except RecursionError:  # types that name each other in a long row are not nested in the text
        return "types hold each other too deep"


def _versions(path: Path) -> list[int]:
    """Ids of a subject, oldest first."""
    found = _read(path)
    try:
        return [int(number) for number in found or ()]
    except (TypeError, ValueError) as error:
        raise _damaged(path, "it is no list of ids") from error


def _read(path: Path) -> Any:
    try:
        data = path.read_bytes()
        # Asked first: how deep Python recurses is no bound of ours.
        return _TooDeep(data.decode()) if is_deeper(data, MOST_JSON_DEEP) else json.loads(data)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, what: object) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: {what}", hint="restore it; its id must keep its schema")
