"""Sketches that an earlier build kept are those this one would have kept: the library hashes and writes as it did.

State and rows online hold these bytes for as long as their keys live. When this fails after an upgrade of datasketches,
kept sketches would go on wrongly: do not renew the digests, give the aggregations new kinds. A t-digest takes
logarithms from the C library: on another platform its digest may be another.
"""

import hashlib

import numpy as np
import pytest

from feature_store.plan import compile_view
from feature_store.sketches import opener
from headrace import EventStream, FeatureView, Int64, approx_distinct, approx_quantile, approx_top_k, lifetime

STREAM = EventStream("events", key="key", time="at", id="id", schema={"key": Int64, "size": Int64})
KEPT = {
    approx_distinct("size"): ("a0cb5c001c038bec", [5016.0], "9a25b0b740634f01"),
    approx_quantile("size", 0.5): ("8faed351bef015e9", [4917.852094893338], "c231a9fc275c7046"),
    approx_top_k("size", 3): ("8faed351bef015e9", [-96.0, -60.0, -38.0], "4bafb71bfd65f4fd"),
}
"""Digest after 20 values, the cells after 10,000, and the digest after those."""


@pytest.mark.parametrize("aggregation", KEPT, ids=lambda aggregation: aggregation.kind)
def test_bytes_and_answers_are_those_of_earlier_builds(aggregation) -> None:
    plan = compile_view(FeatureView("view", entity="key", source=STREAM, features=aggregation.over(lifetime())))
    sketch = opener(plan, plan.sketches[0])(b"")
    values = np.array([number * number * 7919 % 10_007 - 99 for number in range(10_000)])

    sketch.add(values[:20])
    early = hashlib.blake2b(sketch.save(), digest_size=8).hexdigest()
    sketch.add(values[20:])
    late = hashlib.blake2b(sketch.save(), digest_size=8).hexdigest()

    assert (early, sketch.read(), late) == KEPT[aggregation]
