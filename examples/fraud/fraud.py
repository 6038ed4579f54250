"""Card fraud: two views on a stream of transactions, a calendar, and a model that is kept right.

    transactions ──► customer_activity   how a customer spends, own transaction included
         │     └──► terminal_risk        how often a terminal was defrauded, once labels are known
         └────────► calendar             weekend and night

Day lengths and delays follow the Fraud Detection Handbook (Le Borgne et al., ULB): a label is known 7 days
after its transaction.
"""

from headrace import (
    AtLeast,
    BeatsChampion,
    Calibration,
    EventStream,
    FeatureView,
    Float64,
    Int64,
    LabelStream,
    Latency,
    Model,
    MonitorPolicy,
    RequestFeatures,
    RetrainPolicy,
    RolloutPolicy,
    SlicesHold,
    TorchClassifier,
    count,
    mean,
)

DAYS = ("1d", "7d", "30d")

transactions = EventStream(
    "transactions",
    key="customer_id",
    time="tx_datetime",
    id="transaction_id",
    schema={"customer_id": Int64, "terminal_id": Int64, "tx_amount": Float64(resolution=1e-6)},
    lateness="6h",
)

fraud_labels = LabelStream("fraud-labels", of=transactions, value="tx_fraud", delay="7d")

customer_activity = FeatureView(
    "customer_activity",
    entity="customer_id",
    source=transactions,
    closed="right",
    features=[count().over(*DAYS), mean("tx_amount").over(*DAYS)],
)

terminal_risk = FeatureView(
    "terminal_risk",
    entity="terminal_id",
    source=transactions.with_label(fraud_labels),
    closed="right",
    features=[count().over(*DAYS, delay="7d"), mean("tx_fraud").over(*DAYS, delay="7d", empty=0.0)],
)


def calendar_flags(tx):
    """Weekend (Saturday, Sunday) and night (hours 0 to 6), from the event time alone."""
    hour = tx["tx_datetime"] // 3_600_000_000 % 24
    weekday = (tx["tx_datetime"] // 86_400_000_000 + 3) % 7  # the epoch began on a Thursday
    return {"weekend": weekday >= 5, "night": hour <= 6}


calendar = RequestFeatures("calendar", of=transactions, fn=calendar_flags)

fraud = Model(
    "fraud",
    features=[customer_activity, terminal_risk, calendar, "tx_amount"],
    label=fraud_labels,
    trainer=TorchClassifier(hidden=(64, 32), epochs=12, seed=0),
    gates=[
        AtLeast("average_precision", 0.10),
        BeatsChampion(metric="average_precision", confidence=0.95),
        SlicesHold(columns=("tx_amount", "customer_activity__count_7d"), margin=0.10),
        Calibration(max_error=0.02),
        Latency(p99_ms=10.0),
    ],
    retrain=RetrainPolicy(history="28d", test="7d", min_positives=20, cooldown="3d"),
    monitors=MonitorPolicy(window="1d", false_pages="1 per 30 days"),
    rollout=RolloutPolicy(shadow="1d", stages=(0.05, 0.25), bake="1d", probation="8d"),
)
