"""The register of erased subjects knows them again and does not say who they are."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from feature_store.upkeep.erased import ErasedSubjects
from headrace.errors import IntegrityError

CARD, SALE = 481_516_234_215_108, 602_214_076_000_001


def _texts(*values: str) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.fixture
def path(tmp_path: Path) -> Path:
    register = ErasedSubjects(tmp_path / "erased" / "shop.json")
    assert register.add_keys("card", [CARD, -5]) == 2
    assert register.add_keys("mail", ["ann@example.org"]) == 1
    assert register.add_events("sales", np.array([SALE])) == 1
    register.save()
    return tmp_path / "erased" / "shop.json"


def test_it_knows_keys_and_events_again_among_many_others(path: Path) -> None:
    register = ErasedSubjects(path)
    keys = np.arange(-100_000, 100_000)

    assert np.flatnonzero(register.has_keys("card", keys)).tolist() == [100_000 - 5]
    assert register.has_keys("card", np.array([CARD, CARD + 1, CARD])).tolist() == [True, False, True]
    assert register.has_keys("mail", _texts("bob@example.org", "ann@example.org")).tolist() == [False, True]
    assert register.has_events("sales", np.array([SALE, CARD])).tolist() == [True, False]


def test_a_key_of_one_entity_is_nobody_in_another(path: Path) -> None:
    register = ErasedSubjects(path)

    assert not register.has_keys("shop", np.array([CARD])).any()
    assert not register.has_events("card", np.array([CARD])).any()
    assert register.entities == ["card", "mail"]


def test_the_file_says_nothing_in_clear_and_is_the_owners_alone(path: Path) -> None:
    data = path.read_bytes()

    for value in (CARD, SALE):
        assert str(value).encode() not in data
        assert value.to_bytes(8, "little") not in data
    assert b"ann@" not in data
    assert path.stat().st_mode & 0o077 == 0


def test_the_same_subject_again_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    register = ErasedSubjects(path)

    assert register.add_keys("card", [CARD]) == 0
    register.save()

    assert path.read_bytes() == before


def test_two_homes_write_the_same_subject_differently(path: Path, tmp_path: Path) -> None:
    other = ErasedSubjects(tmp_path / "other.json")
    other.add_keys("card", [CARD])
    other.save()

    def digests(file: Path) -> set[bytes]:
        return {word for word in file.read_bytes().split(b'"') if len(word) == 32}

    assert digests(path)
    assert digests(tmp_path / "other.json")
    assert not digests(path) & digests(tmp_path / "other.json")


def test_a_damaged_register_is_refused(path: Path) -> None:
    os.truncate(path, 40)

    with pytest.raises(IntegrityError):
        ErasedSubjects(path)


def test_what_two_workers_note_at_once_is_in_the_file_and_in_both(path: Path) -> None:
    one, other = ErasedSubjects(path), ErasedSubjects(path)
    one.add_events("sales", np.array([11]))
    other.add_events("sales", np.array([22]))
    one.save()
    other.save()

    asked = np.array([11, 22, SALE, 33])
    one.refresh()
    for register in (ErasedSubjects(path), one, other):
        assert register.has_events("sales", asked).tolist() == [True, True, True, False]


def test_no_word_of_many_writers_is_lost(path: Path) -> None:
    def work(number: int) -> None:
        register = ErasedSubjects(path)
        for n in range(5):
            register.add_events("sales", np.array([1_000 * number + n]))
            register.save()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))

    noted = np.array([1_000 * number + n for number in range(4) for n in range(5)])
    assert ErasedSubjects(path).has_events("sales", noted).all()


def test_another_register_in_its_place_is_refused(path: Path) -> None:
    register = ErasedSubjects(path)
    register.add_events("sales", np.array([11]))
    path.unlink()
    other = ErasedSubjects(path)
    other.add_keys("card", [CARD])
    other.save()

    with pytest.raises(IntegrityError, match="another register"):
        register.save()
