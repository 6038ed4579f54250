"""State snapshots as the first version wrote them: every array right behind the one before, no links."""

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

__all__ = ["first_format"]


def first_format(
    state: Mapping[str, Any], marks: Mapping[str, Any], *, offset: int, definition: str, form: int = 1
) -> bytearray:
    """One file."""
    arrays = {f"state/{name}": array for name, array in state.items()} | dict(marks)
    header = {
        "format": form,
        "offset": offset,
        "definition": definition,
        "facts": {"created_us": offset * 10},
        "arrays": [{"name": name, "dtype": a.dtype.str, "shape": a.shape} for name, a in arrays.items()],
    }
    text = json.dumps(header).encode()
    body = b"headrace snapshot\n" + struct.pack("<Q", len(text)) + text
    body += b"".join(array.tobytes() for array in arrays.values())
    return bytearray(body + hashlib.blake2b(body, digest_size=32).digest())
