"""Features computed from other features: the project's own function, over columns, the same in every engine."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import ConfigError
from headrace.spec.features import DerivedFeatures

__all__ = ["derive_columns"]

Floats = NDArray[np.float64]


def derive_columns(derived: DerivedFeatures, columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """(n,) float64 of each derived feature, by full name; infinities are null.

    Args:
        derived: what is computed.
        columns: (n,) or, of lists, (n, k) by full name, at least those it is computed of; null is NaN.

    Raises:
        ConfigError: the function fails, or gives other columns than it did when it was declared.
    """
    given = {name: columns[name] for item in derived.of for name in item.full_names}
    rows = len(next(iter(given.values())))
    try:
        with np.errstate(all="ignore"):
            made: Mapping[str, Any] = derived.fn(given)
        values = [np.asarray(made[name], np.float64) for name in derived.feature_names]
        if any(value.shape not in ((), (rows,)) for value in values):
            raise ValueError(f"shapes {[value.shape for value in values]} for {rows} rows")
    except Exception as error:
        raise ConfigError(
            f"derived features {derived.name!r} fail: {error!r}",
            hint="return one array for each name, as long as those the function is given",
        ) from error
    return {
        name: np.where(np.isfinite(value), value, np.nan) * np.ones(rows)
        for name, value in zip(derived.full_names, values, strict=True)
    }
