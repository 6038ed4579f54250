"""Stands in for ``feast.torch_wrapper``, which imports torch whenever Feast is imported: seconds, and 450 MB.

To be imported before Feast. torch comes when Feast first asks for it, in ``RetrievalJob.to_tensor``.
"""

import importlib
import sys
from typing import Any

__all__ = ["get_torch"]


def get_torch() -> Any:
    """The torch module."""
    return importlib.import_module("torch")


sys.modules.setdefault("feast.torch_wrapper", sys.modules[__name__])
