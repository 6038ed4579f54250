"""Where the shared development data lies: beside the checkout, or where SHARED_DATA says."""

import os
from pathlib import Path

import pytest

__all__ = ["shared_file"]

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared_file(*parts: str) -> Path:
    """A file of the shared data; the test is skipped, and says so, where there is none."""
    path = Path(os.environ.get("SHARED_DATA") or _DEFAULT).joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"shared data {path} is not here; set SHARED_DATA to its folder")
    return path
