"""Fixtures of every test: one real embedded stack for the session, and names nobody else uses."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import prometheus_client  # noqa: F401  # before Feast, whose import turns every later counter into one file per process
import pytest

from headrace.config import Settings
from headrace.local.stack import EmbeddedStack

# A time limit for an example would make a law depend on what else the machine does.
hypothesis.settings.register_profile("headrace", deadline=None)
hypothesis.settings.load_profile("headrace")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what needs real servers: by folder, and by use of the stack."""
    parts = item.path.relative_to(Path(__file__).parent).parts
    if "e2e" in parts:
        item.add_marker(pytest.mark.e2e)
    elif "integration" in parts or "stack" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.integration)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: at the end they would keep one process busy and leave the other idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    integrated = {item.path for item in items if item.get_closest_marker("integration")}
    items.sort(key=lambda item: (item.path not in slow, item.path not in integrated))


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a running embedded stack, shared by the session: use ``fresh_name`` for what you make.

    With ``HEADRACE_TEST_HOME`` in the environment the stack of that home is used, started when it
    does not run, and left running, which saves its start in every run while developing.
    """
    kept = os.environ.get("HEADRACE_TEST_HOME")
    servers = EmbeddedStack(Path(kept) if kept else tmp_path_factory.mktemp("stack"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HEADRACE_TEST_HOME", raising=False)  # it is no setting and would be warned about
        try:
            yield servers.up()
        finally:
            if not kept:
                servers.down()


@pytest.fixture
def fresh_name() -> Callable[[str], str]:
    """Make names of topics, projects and models unique: ``fresh_name("cards")`` -> ``cards_3f9a1c02``."""
    return lambda stem: f"{stem}_{uuid.uuid4().hex[:8]}"
