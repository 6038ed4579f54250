"""Which rows of a log count where several have one id: of events the first to arrive, of labels the last.

partition 0   ●a ──── ●b ──────── ●a        ● the first to arrive of each id counts
partition 1        ●a ───── ●c              within a partition offsets say which that is, across them arrivals
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_store.earlier_labels import earlier_column
from feature_store.offline_tables import ARRIVAL, EARLIER_LABELS, LATE, OFFSET, PARTITION
from feature_store.plan import NULL

__all__ = ["arrival_order", "first_per_id", "last_labels", "on_time"]


def on_time(events: pa.Table) -> pa.Table:
    """Events that the stream took."""
    return events.filter(pc.invert(events[LATE])) if pc.any(events[LATE]).as_py() else events


def arrival_order(table: pa.Table, reached: dict[int, int]) -> NDArray[np.int64]:
    """(n,) the newest arrival in its partition so far: no message arrived before one that stands before it there.

    Args:
        table: rows of a log, each partition's by offset.
        reached: partition -> newest arrival before these rows; moved on.
    """
    arrivals: NDArray[np.int64] = table[ARRIVAL].cast(pa.int64()).to_numpy().copy()
    partitions = table[PARTITION].to_numpy()
    for partition in np.unique(partitions).tolist():
        rows = np.flatnonzero(partitions == partition)
        arrivals[rows[0]] = max(int(arrivals[rows[0]]), reached.get(partition, NULL))
        arrivals[rows] = np.maximum.accumulate(arrivals[rows])
        reached[partition] = int(arrivals[rows[-1]])
    return arrivals


def first_per_id(table: pa.Table, id_column: str, order: NDArray[np.int64] | None = None) -> pa.Table:
    """Of rows with one id the first to arrive; the order of rows stays.

    Args:
        table: rows of a log.
        id_column: of the event.
        order: (n,) of :func:`arrival_order`; None where the table has all rows of each partition.
    """
    shared, ids = _shared_ids(table, id_column, order)
    if not shared.size:
        return table
    return table.filter(pa.array(_kept(table, shared, shared[np.append(True, ids[1:] != ids[:-1])])))


def last_labels(table: pa.Table, id_column: str, value: str, order: NDArray[np.int64] | None = None) -> pa.Table:
    """Of labels with one id the last to arrive, as a later label corrects an earlier one.

    A label that says again what was known changes nothing: its arrival is that of the first to say so.

    Args:
        table: rows of a label log.
        id_column: of the event.
        value: column of the outcome.
        order: as of :func:`first_per_id`.

    Returns:
        The columns of ``table`` and ``_earlier_labels``, those that were corrected.
    """
    shared, ids = _shared_ids(table, id_column, order)
    if not shared.size:
        return table.append_column(EARLIER_LABELS, earlier_column(np.empty((3, 0), np.int64), len(table)))
    arrivals, outcomes = (table[name].cast(pa.int64()).to_numpy()[shared] for name in (ARRIVAL, value))
    # Where timestamps fall, or are equal, what stands before a label that had arrived is never seen.
    by_arrival = np.lexsort((-np.arange(len(shared)), arrivals, ids))
    seen = np.zeros(len(shared), bool)
    seen[by_arrival[by_arrival == np.maximum.accumulate(by_arrival)]] = True
    rows, ids, arrivals, outcomes = shared[seen], ids[seen], arrivals[seen], outcomes[seen]
    news = np.append(True, (ids[1:] != ids[:-1]) | (outcomes[1:] != outcomes[:-1]))
    rows, ids, arrivals, outcomes = rows[news], ids[news], arrivals[news], outcomes[news]
    is_last = np.append(ids[1:] != ids[:-1], True)
    kept = _kept(table, shared, rows[is_last])
    # Number, among those kept, of the last label that follows on each.
    following = (np.cumsum(kept) - 1)[rows[is_last]][np.cumsum(is_last) - is_last]
    earlier = np.array([following, arrivals, outcomes])[:, ~is_last]
    labels = table.filter(pa.array(kept))
    in_order = np.argsort(earlier[0], kind="stable")
    return labels.append_column(EARLIER_LABELS, earlier_column(earlier[:, in_order], len(labels)))


def _shared_ids(
    table: pa.Table, id_column: str, order: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows whose id others have too, by id and then as they arrived; and a number for the id of each."""
    codes = _id_codes(table[id_column])
    by_id = np.argsort(codes, kind="stable")
    ranked = codes[by_id]
    repeated = np.flatnonzero(ranked[1:] == ranked[:-1])
    # Mostly few: only those are compared by arrival.
    rows = np.unique(np.concatenate([by_id[repeated], by_id[repeated + 1]]))
    if rows.size:
        arrived = (arrival_order(table, {}) if order is None else order)[rows]
        partition, offset = table[PARTITION].to_numpy()[rows], table[OFFSET].to_numpy()[rows]
        rows = rows[np.lexsort((offset, partition, arrived, codes[rows]))]
    return rows, codes[rows]


def _kept(table: pa.Table, shared: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask of the rows that share no id, and of those chosen."""
    mask = np.ones(len(table), bool)
    mask[shared] = False
    mask[chosen] = True
    return mask


def _id_codes(column: pa.ChunkedArray) -> np.ndarray:
    """Integers that are equal where the ids are."""
    if not pa.types.is_integer(column.type):
        column = column.combine_chunks().dictionary_encode().indices
    return np.asarray(column.to_numpy())
