"""Keys of entities as they are typed, in the type the entity has: texts as they are, whole numbers in plain digits."""

import re

from headrace.errors import ConfigError
from headrace.spec.project import Project
from headrace.spec.types import FieldType, Int64, String

__all__ = ["has_text_keys", "parse_key", "subject_type"]

_WHOLE = re.compile(r"-?[0-9]{1,19}")
"""What int() also takes (``1_0``, spaces, digits of other scripts) would be somebody else's key."""


def parse_key(entity: str, text: str, kind: FieldType) -> int | str:
    """The key a text stands for.

    >>> parse_key("card", "-42", Int64()), parse_key("shop", "42", String())
    (-42, '42')

    Raises:
        ConfigError: it is no whole number of 64 bits, and the entity's keys are.
    """
    if isinstance(kind, String):
        return text
    if not _WHOLE.fullmatch(text) or not -(2**63) <= int(text) < 2**63:
        raise ConfigError(
            f"a key of {entity!r} is no whole number of 64 bits: {text!r}",
            hint="check the keys: digits alone, such as 42 or -42",
        )
    return int(text)


def has_text_keys(project: Project, entity: str) -> bool:
    """Whether the keys of an entity of the views are texts."""
    kinds = [view.source.schema[entity] for view in project.views if view.entity == entity]
    return any(isinstance(kind, String) for kind in kinds)


def subject_type(project: Project, entity: str) -> FieldType:
    """Type of the keys of a subject that can be erased: an entity of views, or what a stream is keyed by.

    Raises:
        ConfigError: the project has no such entity.
    """
    kinds = {stream.schema[entity] for stream in project.streams if entity in stream.schema}
    entities = sorted({view.entity for view in project.views} | {stream.key for stream in project.streams})
    if not kinds or entity not in entities:
        raise ConfigError(f"{entity!r} is no entity of project {project.name!r}", hint=f"use one of {entities}")
    return next((kind for kind in kinds if isinstance(kind, Int64)), String())
