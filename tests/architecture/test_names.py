"""Our plain top-level package names are ours: no other distribution of the environment claims them."""

import importlib
import importlib.metadata
from pathlib import Path

import pytest

from tests.architecture.conftest import PACKAGES

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", PACKAGES)
def test_package_comes_from_this_repository(name: str) -> None:
    found = importlib.import_module(name).__file__

    assert found is not None
    assert Path(found).is_relative_to(_ROOT / name)


def test_no_other_distribution_claims_a_name() -> None:
    claims = importlib.metadata.packages_distributions()

    assert {name: claims[name] for name in PACKAGES if set(claims.get(name, [])) - {"headrace"}} == {}
