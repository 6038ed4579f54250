"""The examples in the documentation are true: each is asked of every engine."""

import doctest
import re
from pathlib import Path

import pytest

import headrace
from feature_store.compute import Mode
from feature_store.row_values import Value
from headrace import FeatureView
from headrace.clock import format_us, parse_us
from tests.every_engine import Answer, Event
from tests.every_engine import ask as ask_every_engine

_DOCS = Path(__file__).parents[2] / "docs"
_VOCABULARY = {f"headrace.spec.{module}" for module in ("aggregations", "windows", "conditions")}


@pytest.mark.parametrize("page", ["features.md"])
def test_examples_are_true(page: str) -> None:
    words = {"at": at, "event": event, "ask": ask, "look_up": look_up}

    failed, tried = doctest.testfile(str(_DOCS / page), module_relative=False, globs=words)

    assert tried > 20
    assert failed == 0


def test_every_word_for_a_feature_is_explained() -> None:
    made = {word: getattr(headrace, word) for word in headrace.__all__}
    words = [word for word, value in made.items() if value.__module__ in _VOCABULARY and word.islower()]
    text = (_DOCS / "features.md").read_text()

    assert len(words) > 20
    assert [word for word in words if not re.search(rf"\b{word}\(|`{word}`", text)] == []


def at(text: str) -> int:
    """Microseconds of ``12:00`` on 14 May 2024, or of ``2024-05-15 12:00``, UTC."""
    return parse_us(f"{text if '-' in text else f'2024-05-14 {text}'}+00:00")


def event(time: str, id: int, *, arrives: str | None = None, **fields: object) -> Event:
    """An event of card 1."""
    return Event(id=id, t=at(time), fields=fields, arrival=at(arrives) if arrives else None)


def ask(view: FeatureView, events: list[Event], time: str, mode: Mode = "corrected") -> Value | dict[str, Value]:
    """The values of card 1; of a view with one feature just its value."""
    values = ask_every_engine(view, events, at(time), mode=mode).values
    return values if len(values) > 1 else next(iter(values.values()))


def look_up(view: FeatureView, events: list[Event], time: str, card: int = 1) -> None:
    """Print what the online row says."""
    answer: Answer = ask_every_engine(view, events, at(time), key=card)
    print(answer.status, *([] if answer.status != "PRESENT" else answer.values.values()))
    if answer.status != "NOT_FOUND":
        print("from ", _clock(answer.valid_from_us))
        print("until", _clock(answer.valid_until_us))


def _clock(instant_us: int | None) -> str:
    assert instant_us is not None
    return "the next event" if instant_us == 2**63 - 1 else format_us(instant_us)[11:-1]
