"""headrace: streaming features, drift and continuous retraining as one loop.

The vocabulary of a project; importing it loads nothing heavy.
"""

from headrace.spec.aggregations import (
    approx_distinct,
    approx_quantile,
    approx_top_k,
    count,
    count_by,
    decayed_mean,
    decayed_sum,
    distinct,
    first,
    last,
    last_k,
    max,
    mean,
    min,
    quantile,
    share,
    since_last,
    std,
    sum,
    top_k,
    var,
)
from headrace.spec.conditions import col
from headrace.spec.features import DerivedFeatures, FeatureView, RequestFeatures
from headrace.spec.formats import ArrowBatches, Avro, Json
from headrace.spec.model import Model
from headrace.spec.policies import (
    AtLeast,
    BeatsChampion,
    Calibration,
    Latency,
    MonitorPolicy,
    RetrainPolicy,
    RolloutPolicy,
    SlicesHold,
    TorchClassifier,
    Tripwires,
)
from headrace.spec.project import Project, load_project
from headrace.spec.streams import EventStream, LabelStream
from headrace.spec.types import Bool, Float64, Int64, String
from headrace.spec.windows import Window, lifetime, session, sliding, tumbling

__all__ = [
    "ArrowBatches",
    "AtLeast",
    "Avro",
    "BeatsChampion",
    "Bool",
    "Calibration",
    "DerivedFeatures",
    "EventStream",
    "FeatureView",
    "Float64",
    "Int64",
    "Json",
    "LabelStream",
    "Latency",
    "Model",
    "MonitorPolicy",
    "Project",
    "RequestFeatures",
    "RetrainPolicy",
    "RolloutPolicy",
    "SlicesHold",
    "String",
    "TorchClassifier",
    "Tripwires",
    "Window",
    "approx_distinct",
    "approx_quantile",
    "approx_top_k",
    "col",
    "count",
    "count_by",
    "decayed_mean",
    "decayed_sum",
    "distinct",
    "first",
    "last",
    "last_k",
    "lifetime",
    "load_project",
    "max",
    "mean",
    "min",
    "quantile",
    "session",
    "share",
    "since_last",
    "sliding",
    "std",
    "sum",
    "top_k",
    "tumbling",
    "var",
]
