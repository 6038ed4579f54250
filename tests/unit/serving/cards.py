"""A small project the serving tests answer for: one view with the own event, one delayed, one of requests."""

from pathlib import Path

from headrace import (
    EventStream,
    FeatureView,
    Float64,
    Int64,
    Json,
    LabelStream,
    Model,
    Project,
    RequestFeatures,
    RolloutPolicy,
    Tripwires,
    count,
    mean,
)
from headrace.contracts.rollout import RolloutRecord, Stage
from headrace.spec.formats import Format

__all__ = ["NOON_US", "cards_project", "model", "payments", "project", "record"]

NOON_US = 1_522_584_000_000_000
"""2018-04-01T12:00:00Z."""


def cards_project(name: str = "cards", *, form: Format | None = None) -> Project:
    """Definitions whose project, topics and model carry ``name``."""
    payments = EventStream(
        f"{name}-payments",
        key="card",
        time="at",
        id="payment",
        schema={
            "card": Int64,
            "shop": Int64,
            "amount": Float64(resolution=0.01),
            "tip": Float64(resolution=0.01, nullable=True),
        },
        format=form or Json(),
    )
    chargebacks = LabelStream(f"{name}-chargebacks", of=payments, value="bad", delay="7d", format=form or Json())
    spending = FeatureView(
        "spending",
        entity="card",
        source=payments,
        closed="right",
        features=[count().over("1d"), mean("amount").over("1d")],
    )
    trouble = FeatureView(
        "trouble",
        entity="shop",
        source=payments.with_label(chargebacks),
        closed="right",
        features=[mean("bad").over("7d", delay="7d", empty=0.0)],
    )
    night = RequestFeatures("night", of=payments, fn=lambda tx: {"late": tx["at"] // 3_600_000_000 % 24 >= 22})
    model = Model(
        name,
        features=[spending, trouble, night, "amount", "tip"],
        label=chargebacks,
        rollout=RolloutPolicy(tripwires=Tripwires(max_exceptions=3, latency_ms=5, latency_strikes=4, constant_after=5)),
    )
    return Project(
        name=name,
        path=Path(),
        streams=(payments,),
        labels=(chargebacks,),
        views=(spending, trouble),
        requests=(night,),
        models=(model,),
    )


project = cards_project()
payments = project.streams[0]
model = project.models[0]


def record(stage: Stage = Stage.STEADY, **changes: object) -> RolloutRecord:
    """A record in a stage: v1 champion, v2 on trial."""
    trial: dict[str, object] = {}
    if stage is not Stage.STEADY:
        promoted = stage is Stage.PROBATION
        trial = {
            "champion": "v2" if promoted else "v1",
            "challenger": "v1" if promoted else "v2",
            "share": 0.25 if stage is Stage.CANARY else 0.0,
            "salt": "pepper",
            "rollout_id": "r1",
            "previous": RolloutRecord(model="cards", epoch=1, stage=Stage.STEADY, champion="v1"),
        }
    values: dict[str, object] = {"model": "cards", "epoch": 2, "champion": "v1", **trial, **changes}
    return RolloutRecord(stage=stage, **values)  # type: ignore[arg-type]  # values are the record's own fields
