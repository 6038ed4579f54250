"""What the benchmarks of files and of the online store work on: cards at terminals, twelve features of two entities."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from headrace.demo.generator import World, generate
from headrace.spec.aggregations import count, mean
from headrace.spec.features import FeatureView
from headrace.spec.project import Project
from headrace.spec.streams import EventStream
from headrace.spec.types import Float64, Int64

__all__ = ["CUSTOMERS", "DAYS", "TERMINALS", "TRANSACTIONS", "make_events", "make_project", "percentile"]

DAYS = (1, 7, 30)
_WINDOWS = tuple(f"{days}d" for days in DAYS)
TRANSACTIONS = EventStream(
    "bench-transactions",
    key="customer_id",
    time="tx_datetime",
    id="transaction_id",
    schema={"customer_id": Int64(), "terminal_id": Int64(), "tx_amount": Float64(resolution=0.01)},
)
_FEATURES = (*count().over(*_WINDOWS), *mean("tx_amount").over(*_WINDOWS))
CUSTOMERS = FeatureView(
    "customer_activity", entity="customer_id", source=TRANSACTIONS, closed="right", features=_FEATURES
)
TERMINALS = FeatureView(
    "terminal_activity", entity="terminal_id", source=TRANSACTIONS, closed="right", features=_FEATURES
)


def make_events(rows: int) -> pa.Table:
    """The first so many transactions of 5,000 customers at 10,000 terminals, in the order of time."""
    days = rows // 9_000 + 2
    return generate(World(customers=5_000, terminals=10_000, days=days)).slice(0, rows).combine_chunks()


def make_project(name: str) -> Project:
    """Both views as a project."""
    return Project(
        name=name,
        path=Path(),
        streams=(TRANSACTIONS,),
        labels=(),
        views=(CUSTOMERS, TERMINALS),
        requests=(),
        models=(),
    )


def percentile(seconds: list[float], share: float) -> float:
    """A percentile of measured times, in milliseconds."""
    return float(np.quantile(np.array(seconds), share) * 1e3)
