"""Labels that a later one of the same event corrected: what was known of its outcome between the two.

    label of an event      1 ──────────── 0 ─────────►
    arrived              10:00          14:00
    known at 12:00               1                       though the last label, which counts, came after that

In memory they are (3, m) whole numbers: the event's row, arrival in microseconds and outcome of each, by row and,
within a row, as they arrived. In tables they are lists beside the events.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["EARLIER_TYPE", "earlier_column", "earlier_of", "earlier_taken"]

I64 = NDArray[np.int64]

EARLIER_TYPE = pa.list_(pa.struct([("arrival", pa.int64()), ("label", pa.int64())]))


def earlier_column(earlier: I64, rows: int) -> pa.Array:
    """Lists of ``EARLIER_TYPE`` for each of so many rows."""
    ends = np.cumsum(np.bincount(earlier[0], minlength=rows))
    offsets = pa.array(np.append(0, ends), pa.int32())
    entries = pa.StructArray.from_arrays(
        [pa.array(earlier[1]), pa.array(earlier[2])], fields=list(EARLIER_TYPE.value_type)
    )
    return pa.ListArray.from_arrays(offsets, entries)


def earlier_of(column: pa.ChunkedArray) -> I64:
    """The labels of such lists; null is a list of none."""
    lists = column.combine_chunks()
    entries = pc.list_flatten(lists)
    return np.array(
        [pc.list_parent_indices(lists), pc.struct_field(entries, "arrival"), pc.struct_field(entries, "label")],
        dtype=np.int64,
    ).reshape(3, len(entries))


def earlier_taken(earlier: I64, rows: I64) -> I64:
    """The labels of some rows, which rise, with their numbers among those."""
    place = np.searchsorted(rows, earlier[0])
    there = place < len(rows)
    there[there] = rows[place[there]] == earlier[0, there]
    return np.ascontiguousarray(np.vstack([place, earlier[1:]])[:, there])
