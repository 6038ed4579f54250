"""What a read says about entities: one row as named values, or many as columns."""

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from feature_store.plan import ViewPlan
from feature_store.row_values import Value, value_arrays

__all__ = ["EXPIRED", "NOT_FOUND", "PRESENT", "STALE", "STATUSES", "ViewColumns", "ViewRow"]

PRESENT = "PRESENT"
"""The values hold at the instant asked for; when none was, they are as they were stored."""
NOT_FOUND = "NOT_FOUND"
"""No event of this key is known, or none up to the instant; values are null."""
EXPIRED = "EXPIRED"
"""The values are older than the view's ttl, and null therefore."""
STALE = "STALE"
"""The stored values are given; they do not hold at the instant and cannot be moved there."""
STATUSES = (PRESENT, NOT_FOUND, EXPIRED, STALE)
"""By the codes of feature_store.online.stored_kernels."""


class ViewRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one view says about one entity."""

    view: str
    status: str
    """PRESENT, NOT_FOUND, EXPIRED or STALE."""
    values: dict[str, Value]
    """By feature name."""
    event_time_us: int | None = None
    """Instant from which the values hold (``valid_from``)."""
    valid_until_us: int | None = None
    """First instant at which they no longer do, as far as known; NEVER_US when only an event can change them."""
    version: int | None = None
    """Offset in the keyed log the stored row reflects."""
    watermark_us: int | None = None
    """Event time the stored row is refreshed to."""
    own_event: str = ""
    """``applied``: the stored row counts the own event already; ``merged``: it was added here."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ViewColumns:
    """What one view says about n entities, in the order asked; shapes (n,), ``cells`` (n, W).

    Of a NOT_FOUND row only the status means anything; its cells, and those of an EXPIRED one, are NaN.
    """

    plan: ViewPlan
    codes: NDArray[np.int8]
    """Places in STATUSES."""
    cells: NDArray[np.float64]
    """As feature_store.row_values says; NaN is null."""
    event_time_us: NDArray[np.int64]
    """Instants from which the values hold."""
    valid_until_us: NDArray[np.int64]
    """First instants at which they no longer do, as far as known."""
    version: NDArray[np.int64]
    watermark_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def statuses(self) -> list[str]:
        """One word a row."""
        return [STATUSES[code] for code in self.codes.tolist()]

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """(n,) whether there is a row."""
        found: NDArray[np.bool_] = self.codes != STATUSES.index(NOT_FOUND)
        return found

    def table(self) -> pa.Table:
        """A column of each feature by name, and ``status`` and ``event_time`` beside them."""
        names = pa.DictionaryArray.from_arrays(pa.array(self.codes), pa.array(STATUSES)).cast(pa.string())
        times = pa.array(self.event_time_us, pa.int64(), mask=~self.is_found).cast(pa.timestamp("us", tz="UTC"))
        columns = dict(zip(self.plan.feature_names, value_arrays(self.plan, self.cells), strict=True))
        return pa.table({**columns, "status": names, "event_time": times})
