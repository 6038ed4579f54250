"""One graph of all imports, built from the source without running it."""

from pathlib import Path

import grimp
import pytest

PACKAGES = ("headrace", "feature_store", "streams", "monitors", "trainers", "serving", "workflows")


@pytest.fixture(scope="session")
def imports() -> grimp.ImportGraph:
    """Every import of our modules, third-party packages included."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


@pytest.fixture(scope="session")
def sources() -> list[Path]:
    """Every Python file of our packages."""
    root = Path(__file__).parents[2]
    return sorted(path for package in PACKAGES for path in (root / package).rglob("*.py"))
