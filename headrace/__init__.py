"""headrace: streaming features, drift and continuous retraining as one loop.

The vocabulary of a project; importing it loads nothing heavy.
"""

from headrace.spec.features import FeatureView, RequestFeatures, count, mean, sum
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

__all__ = [
    "ArrowBatches",
    "AtLeast",
    "Avro",
    "BeatsChampion",
    "Bool",
    "Calibration",
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
    "count",
    "load_project",
    "mean",
    "sum",
]
