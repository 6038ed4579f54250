"""One thread, as training processes have: two that spin on a busy machine take many times as long."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
