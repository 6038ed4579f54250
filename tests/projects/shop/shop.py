"""A project of everything a training set can look at: labels, another stream, a ttl, what comes with the request."""

from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    LabelStream,
    Model,
    RequestFeatures,
    SlicesHold,
    String,
    approx_distinct,
    count,
    last,
    lifetime,
    mean,
)

HOUR_US = 3_600_000_000

buy = EventStream(
    "buy", key="card", time="at", id="buy", schema={"card": String, "shop": Int64, "eur": Float64(nullable=True)}
)
bad = LabelStream("bad", of=buy, value="bad", delay="3h")
visit = EventStream("visit", key="card", time="at", id="visit", schema={"card": String, "n": Int64, "visit": String})
use = FeatureView(
    "use",
    entity="card",
    source=buy,
    closed="right",
    features=[count().over("5h"), mean("eur").over("9h"), approx_distinct("shop").over(lifetime())],
)
risk = FeatureView("risk", entity="shop", source=buy.with_label(bad), features=[mean("bad").over("20h", empty=-1.0)])
seen = FeatureView("seen", entity="card", source=visit, features=[last("n").over("9h")], ttl="4h")
clock = RequestFeatures("clock", of=buy, fn=lambda event: {"even": event["at"] // HOUR_US % 2})
judge = Model("judge", features=[use, risk, seen, clock, "eur"], label=bad, gates=[SlicesHold(columns=("shop",))])
