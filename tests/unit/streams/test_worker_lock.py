"""The places of a home's workers: names that nobody else has, and whether all ended with everything saved."""

import os
from pathlib import Path

import pytest

from headrace.config import Settings
from headrace.errors import RejectedError
from streams.worker_lock import running_workers, stopped_worker, take_place


def test_workers_of_a_home_have_names_of_their_own(tmp_path: Path) -> None:
    here, there = Settings(home=tmp_path / "here"), Settings(home=tmp_path / "there")
    places = [take_place(here, "shop"), take_place(here, "shop"), take_place(there, "shop"), take_place(here, "bank")]

    assert len({place.name for place in places}) == len(places)

    for place in places:
        place.give_up()


def test_who_comes_back_has_the_name_of_the_one_that_was_killed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first, second, third = (take_place(settings, "shop") for _ in range(3))
    for place in (first, third):
        place.mark_saved()
        place.give_up()
    second.give_up()

    again = take_place(settings, "shop")

    assert again.name == second.name
    again.give_up()


def test_files_are_changed_only_when_every_worker_has_saved(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with stopped_worker(settings, "shop"):
        pass
    first, second = take_place(settings, "shop"), take_place(settings, "shop")
    first.mark_saved()
    first.give_up()
    with pytest.raises(RejectedError, match="needs the files"), stopped_worker(settings, "shop"):
        pass
    second.give_up()
    with pytest.raises(RejectedError, match="was killed"), stopped_worker(settings, "shop"):
        pass

    again = take_place(settings, "shop")
    again.mark_saved()
    again.give_up()

    with stopped_worker(settings, "shop"), pytest.raises(RejectedError, match="are being changed"):
        take_place(settings, "shop")


def test_who_runs_can_be_found_and_says_what_it_knows(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert running_workers(settings) == []
    first, second, bank = (take_place(settings, project) for project in ("shop", "shop", "bank"))
    first.say(metrics="http://127.0.0.1:1/metrics", views={"use": "1"})
    second.say(metrics="", views={})
    bank.say(metrics="", views={})

    found = running_workers(settings)
    assert [(worker.project, worker.number, worker.pid) for worker in found] == [
        ("bank", 0, os.getpid()),
        ("shop", 0, os.getpid()),
        ("shop", 1, os.getpid()),
    ]
    assert (found[1].metrics, found[1].views) == ("http://127.0.0.1:1/metrics", {"use": "1"})

    facts = first.facts.read_bytes()
    first.give_up()
    first.facts.write_bytes(facts)  # as one that was killed leaves them
    second.give_up()
    assert [worker.project for worker in running_workers(settings)] == ["bank"]
    bank.give_up()
