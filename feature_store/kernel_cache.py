"""How a kernel is compiled: on first call, kept on disk, without the GIL.

Numba's file cache watches only the file a kernel stands in. A kernel that calls another, or freezes a constant of
``plan.py``, would keep the old copy after an upgrade and give wrong features in silence. So the names of the cache
files carry a fingerprint of every file that takes part: the kernel's own and those below.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import IndexDataCacheFile
from numpy.typing import NDArray

__all__ = ["allocating_kernel", "kernel", "plain"]

F = TypeVar("F", bound=Callable[..., Any])
_PARTS = ("plan.py", "state_arrays.py", "online_layout.py", "state_layout.py", "kernel_cache.py", "*kernels.py")
"""Files of this package that kernels share."""


def kernel(function: F) -> F:
    """Compile ``function`` when it is first called; later processes load the machine code.

    It must not make arrays: it is compiled without counting references, which otherwise costs two atomic operations
    for each array passed to another kernel (the JSON scanner: 184 ns a message instead of 481). Numba refuses one that
    does; take :func:`allocating_kernel`.
    """
    return _compile(function, counts_references=False)


def allocating_kernel(function: F) -> F:
    """As :func:`kernel`, for one that makes arrays or fills rows of them at once."""
    return _compile(function, counts_references=True)


def _compile(function: F, *, counts_references: bool) -> F:
    compiled = numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=counts_references)(function)
    files = getattr(compiled, "_cache", None)  # absent under NUMBA_DISABLE_JIT
    if files is not None:
        version = _fingerprint(function.__code__.co_filename)
        files._cache_file = IndexDataCacheFile(
            cache_path=files.cache_path,
            filename_base=f"{files._impl.filename_base}-{version}",
            source_stamp=version,
        )
    return cast(F, compiled)


def plain(column: NDArray[np.generic]) -> NDArray[np.int64]:
    """An int64 array as kernels are compiled for; a copy if it is read-only (Arrow, network) or laid out otherwise."""
    return np.require(column, np.int64, ["C", "W"])


@cache
def _fingerprint(file: str) -> str:
    shared = (path for pattern in _PARTS for path in sorted(Path(__file__).parent.rglob(pattern)))
    digest = hashlib.sha256()
    for path in (*shared, Path(file)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
