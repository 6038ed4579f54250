"""How a kernel is compiled: on first call, kept on disk, without the GIL.

Numba's file cache watches only the file a kernel stands in. A kernel that calls another, or freezes a constant of
``plan.py``, would keep the old copy after an upgrade and give wrong features in silence. So the names of the cache
files carry a fingerprint of every file that takes part.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import IndexDataCacheFile

__all__ = ["kernel"]

F = TypeVar("F", bound=Callable[..., Any])
_PARTS = ("plan.py", "state_arrays.py", "kernel_cache.py", "*kernels.py")
"""Files whose text decides what kernels do."""


def kernel(function: F) -> F:
    """Compile ``function`` when it is first called; later processes load the machine code."""
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    files = getattr(compiled, "_cache", None)  # absent under NUMBA_DISABLE_JIT
    if files is not None:
        files._cache_file = IndexDataCacheFile(
            cache_path=files.cache_path,
            filename_base=f"{files._impl.filename_base}-{_fingerprint()}",
            source_stamp=_fingerprint(),
        )
    return cast(F, compiled)


@cache
def _fingerprint() -> str:
    digest = hashlib.sha256()
    for pattern in _PARTS:
        for path in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
