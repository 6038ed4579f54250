"""Requests answered many at once have the very bytes of the answers given one by one."""

import itertools
import json
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.lookups import prepared_requests
from serving.lookups.feast_answer import feast_timestamp
from serving.lookups.feast_payload import FeastPayload
from serving.lookups.prepared_requests import PreparedRequests
from serving.lookups.request_kernels import MOST_KEYS, read_keys, take_keys_out
from tests.unit.serving.cards import project
from tests.unit.serving.test_feast_payload import PLANS, stored

PAYLOAD = FeastPayload(project, max_batch=3, max_depth=8)
FEATURES = [f"{view.name}:{name}" for view in project.views for name in view.feature_names]
NUMBER = re.compile(rb"\[(-?(?:0|[1-9][0-9]{0,17}))(?=\])")

KEYS = st.integers(-(10**18) + 1, 10**18 - 1)
INSTANTS = st.integers(-(10**16), 10**16) | st.integers(0, 2_000_000_000).map(lambda second: second * 1_000_000)
COUNTS = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
MEANS = st.none() | st.floats(allow_nan=False)


@st.composite
def questions(draw: st.DrawFn) -> list[bytes]:
    """Bodies, most of them alike, as clients write them and as they do not."""
    features = draw(st.lists(st.sampled_from(FEATURES), min_size=1, unique=True))
    names = draw(st.permutations(["card", "shop"]))
    full, spaces = draw(st.booleans()), draw(st.sampled_from([(", ", ": "), (",", ":"), (", ", ":")]))

    def body(keys: dict[str, Any]) -> bytes:
        asked = {"features": features, "entities": keys, "full_feature_names": full}
        order = draw(st.sampled_from([list(asked), list(asked)[::-1]]))
        return json.dumps({name: asked[name] for name in order}, separators=spaces).encode()

    odd = st.sampled_from(
        [
            body({"card": [1, 2], "shop": [1, 2]}),
            body({"card": ["1"], "shop": [1]}),
            body({"card": [1]}),
            body({"card": [], "shop": []}),
            body({"card": [], "shop": [1]}),
            body({"card": [10**19], "shop": [1]}),
            b'{"features": ["[5]"], "entities": {"card": [5]}}',
            b'{"features": ["spending:count_1d"], "entities": {"card": [5], "card": [6]}}',
            b'{"features": ["spending:count_1d"], "entities": {"card": [05]}}',
            b'{"features": ["spending:count_1d"], "entities": {"card": [5.0]}}',
            b'{"features": ["spending:count_1d"], "entities": {"card": [5]}, "entities": {"card": [6]}}',
            b'{"features": ["spending:count_1d"], "entities": {"card": [5]}, "features": [7]}',
            b'{"features": [], "entities": {"card": [5]}}',
            b"[5]",
            b"[5",
            b"[",
            b"",
        ]
    )
    usual = st.builds(lambda a, b: body(dict(zip(names, ([a], [b]), strict=True))), KEYS, KEYS)
    return draw(st.lists(usual | usual | odd, min_size=1, max_size=8))


@given(data=st.data(), rounds=st.lists(questions(), min_size=1, max_size=2))
def test_answers_are_those_given_one_by_one(data: st.DataObject, rounds: list[list[bytes]]) -> None:
    prepared = PreparedRequests(PAYLOAD)
    for bodies in rounds:
        alike, others = prepared.sort(bodies)

        for known, numbers, keys in alike:
            queries = [PAYLOAD.read(bodies[number]) for number in numbers]
            rows = {
                "spending": [data.draw(row("spending", COUNTS, MEANS)) for _ in numbers],
                "trouble": [data.draw(row("trouble", MEANS)) for _ in numbers],
            }
            lookup = queries[0].shape.lookup
            replies = [[reply] for view in lookup.views for reply in rows[view]]
            commands = [query.commands() for query in queries]
            assert known.commands(keys) == b"".join(
                command[place] for place in range(len(lookup.entities)) for command in commands
            )
            assert known.replies(len(numbers)) == len(replies)
            answers = known.answer(keys, replies)
            if answers is None:
                values = [cell for view in lookup.views for reply in rows[view] for cell in cells(reply)]
                assert any(abs(value) >= 2.0**63 for value in values)
                continue
            assert answers == [
                query.answer([[rows[view][number]] for view in lookup.views]) for number, query in enumerate(queries)
            ]
        assert sorted([*others, *(number for _, numbers, _ in alike for number in numbers)]) == list(range(len(bodies)))


@st.composite
def row(draw: st.DrawFn, view: str, *values: st.SearchStrategy[float | None]) -> bytes | None:
    if draw(st.integers(0, 4)) == 0:
        return None
    drawn = [draw(value) for value in values]
    whole = PLANS[view].is_int
    numbers = [
        float("nan") if v is None else float(int(v)) if w and abs(v) < np.inf else v
        for v, w in zip(drawn, whole, strict=True)
    ]
    return stored(
        view, draw(INSTANTS), *(1e300 if w and abs(v) == np.inf else v for v, w in zip(numbers, whole, strict=True))
    )


def cells(reply: bytes | None) -> list[float]:
    return [] if reply is None else np.frombuffer(reply, "<f8")[6:].tolist()


@pytest.mark.parametrize(
    "body",
    [
        b'{"features": ["spending:count_1d"], "entities": {"card": [5, 6]}}',
        b'{"features": ["spending:count_1d"], "entities": {"card": ["5"]}}',
        b'{"features": ["spending:count_1d"], "entities": {"card": [ 5 ]}}',
        b'{"features": ["spending:count_1d"], "entities": {"card": [5], "card": [6]}}',
        b'{"features": ["spending:count_1d"], "entities": {"card": [05]}}',
        b'{"features": ["spending:count_1d"], "entities": {"card": [1234567890123456789]}}',
        b'{"features": ["[5]"], "entities": {"card": [5]}}',
        b'{"features": ["spending:count_1d"], "entities": {"card": [5]}}' + b" " * 10_000,
    ],
)
def test_what_is_unusual_is_left_to_be_read_by_itself(body: bytes) -> None:
    assert PreparedRequests(PAYLOAD).sort([body, body]) == ([], [0, 1])


def test_every_kernel_is_loaded_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("take_keys_out", "read_keys"):
        kernel = getattr(prepared_requests, name)
        monkeypatch.setattr(prepared_requests, name, lambda *given, k=kernel, n=name: (asked.append(n), k(*given))[1])

    PreparedRequests(PAYLOAD).warm_up()

    assert set(asked) == {"take_keys_out", "read_keys"}


def test_a_list_without_a_key_is_no_key_of_a_form_that_is_known() -> None:
    prepared, usual = PreparedRequests(PAYLOAD), b'{"features": ["spending:count_1d"], "entities": {"card": [5]}}'
    prepared.sort([usual])

    ((_, numbers, _),), others = prepared.sort([usual, usual.replace(b"5", b"")])
    assert (numbers, others) == ([0], [1])
    assert prepared.sort([usual.replace(b"5", b"")]) == ([], [0])


def test_an_entity_that_is_not_needed_is_answered_and_not_asked_for() -> None:
    body = b'{"entities": {"shop": [8], "card": [5]}, "features": ["spending:count_1d"]}'
    ((known, _, keys),), others = PreparedRequests(PAYLOAD).sort([body])
    replies: list[list[bytes | None]] = [[stored("spending", 0, 3, np.nan)]]

    assert not others
    assert known.answer(keys, replies) == [PAYLOAD.read(body).answer(replies)]


def test_no_more_than_some_are_answered_at_once() -> None:
    bodies = [b'{"features": ["spending:count_1d"], "entities": {"card": [%d]}}' % card for card in range(300)]
    alike, others = PreparedRequests(PAYLOAD).sort(bodies)

    assert ([number for _, numbers, _ in alike for number in numbers], others) == (list(range(300)), [])
    assert [keys[:, 0].tolist() for _, _, keys in alike] == [numbers for _, numbers, _ in alike]
    assert max(len(numbers) for _, numbers, _ in alike) <= 128


def test_a_form_whose_trial_fails_is_left_to_be_read_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_body: bytes) -> None:
        raise RuntimeError("some bug")

    payload = FeastPayload(project, max_batch=3, max_depth=8)
    monkeypatch.setattr(payload, "read", fail)

    assert PreparedRequests(payload).sort(payload.examples()) == ([], [0, 1])


def test_forms_that_are_all_different_are_answered_and_do_not_fill_the_memory() -> None:
    prepared = PreparedRequests(PAYLOAD)
    for number in range(600):
        body = b'{%b"features": ["spending:count_1d"], "entities": {"card": [5]}}' % (b" " * number)
        ((_, numbers, _),), others = prepared.sort([body])
        assert (numbers, others) == ([0], [])

    assert len(prepared._forms) <= 256


BRACKETS = st.lists(st.sampled_from([b"[", b"]", b"-", b"0", b"7", b"12", b"9" * 18, b"a", b" "]), max_size=12).map(
    b"".join
)


def taken_apart(bodies: list[bytes]) -> list[tuple[bytes, list[int], int]]:
    """Of each body its form, its first keys and how many it has."""
    data, size = np.frombuffer(b"".join(bodies), np.uint8), len(bodies)
    forms, form_ends = np.empty(len(data), np.uint8), np.empty(size, np.int64)
    keys, counts = np.zeros((size, MOST_KEYS), np.int64), np.empty(size, np.int64)
    take_keys_out(data, np.cumsum([len(body) for body in bodies]), forms, form_ends, keys, counts)
    bounds = itertools.pairwise([0, *form_ends.tolist()])
    return [
        (forms[low:high].tobytes(), found[:count].tolist(), count)
        for (low, high), found, count in zip(bounds, keys, counts.tolist(), strict=True)
    ]


@given(bodies=st.lists(BRACKETS, min_size=1, max_size=4))
@example([b"[-0][999999999999999999][1000000000000000000][00][-][]"])
def test_the_form_is_the_body_without_the_numbers_of_its_lists(bodies: list[bytes]) -> None:
    for body, (form, keys, count) in zip(bodies, taken_apart(bodies), strict=True):
        found = [int(text) for text in NUMBER.findall(body)]
        assert form == NUMBER.sub(b"[", body)
        assert (keys, count) == (found[:MOST_KEYS], len(found))


ALIKE = st.tuples(KEYS, KEYS).map(lambda keys: b"{[%d]a[%d]}" % keys)


@given(known=BRACKETS | ALIKE, bodies=st.lists(BRACKETS | ALIKE, min_size=1, max_size=3))
@example(b"[1]", [b"[01]"])
@example(b"[1]a", [b"[1]", b"a[1]a"])
@example(b"[1]", [b"[]"])
def test_keys_of_a_known_form_are_those_of_the_body_taken_apart(known: bytes, bodies: list[bytes]) -> None:
    ((form, _, count),) = taken_apart([known])
    pieces = form.split(b"[]")
    if not 0 < count <= MOST_KEYS or len(pieces) != count + 1:
        return  # such a form is not prepared
    cut = [b"]" * (place > 0) + piece + b"[" * (place < count) for place, piece in enumerate(pieces)]
    keys = np.zeros((len(bodies), MOST_KEYS), np.int64)
    data, ends = (np.frombuffer(b"".join(bodies), np.uint8), np.cumsum([len(body) for body in bodies]))
    texts, text_ends = np.frombuffer(b"".join(cut), np.uint8), np.cumsum([len(piece) for piece in cut])
    expected = taken_apart(bodies)
    are_alike = all((found, number) == (form, count) for found, _, number in expected)

    assert read_keys(data, ends, texts, text_ends, keys) == are_alike
    if are_alike:
        assert keys[:, :count].tolist() == [found for _, found, _ in expected]


@given(rounds=st.lists(questions(), min_size=1, max_size=3))
def test_a_form_that_came_last_changes_no_answer(rounds: list[list[bytes]]) -> None:
    remembering = PreparedRequests(PAYLOAD)
    for bodies in rounds:
        remembering.sort(bodies)
        for some in (bodies, bodies[:1], [bodies[0]] * 2):
            found, expected = remembering.sort(some), PreparedRequests(PAYLOAD).sort(some)
            assert found[1] == expected[1]
            assert [(numbers, known.commands(keys)) for known, numbers, keys in found[0]] == [
                (numbers, known.commands(keys)) for known, numbers, keys in expected[0]
            ]


@given(instant_us=st.integers(-30_610_224_000_000_000, 253_402_300_799_999_999))
@example(-1)
@example(951_782_400_000_000)
@example(951_868_800_000_000)
def test_times_are_written_alike(instant_us: int) -> None:
    body = b'{"features": ["spending:count_1d"], "entities": {"card": [5]}}'
    ((known, _, keys),), _ = PreparedRequests(PAYLOAD).sort([body])
    answers = known.answer(keys, [[stored("spending", instant_us, 3, 0.5)]])

    assert answers is not None
    assert msgspec.json.decode(answers[0])["results"][1]["event_timestamps"] == [feast_timestamp(instant_us)]


@given(body=st.binary(max_size=60))
def test_no_body_does_harm(body: bytes) -> None:
    alike, others = PreparedRequests(PAYLOAD).sort([body, body])
    assert len(others) == (0 if alike else 2)
    for known, _, _ in alike:
        assert PAYLOAD.read(body).shape.lookup.entities == known.lookup.entities
