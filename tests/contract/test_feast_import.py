"""What Feast brings with itself."""

import subprocess
import sys

_LATE = """
import sys
import feature_store.definitions.feast_registry
print("torch" in sys.modules)
from feast.infra.offline_stores.offline_store import get_torch
print(get_torch().tensor([1.5]).item())
"""


def test_feast_comes_without_torch_until_it_asks_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", _LATE], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == ["False", "1.5"]
