"""Every Redis key headrace uses beside Feast's rows."""

__all__ = ["HEADRACE_FIELD_PREFIX", "evidence_key", "model_key", "progress_key", "rollout_key"]

HEADRACE_FIELD_PREFIX = b"_hr:"
"""Hash field ``_hr:<view>`` beside Feast's fields: our row header and the partial state."""


def progress_key(project: str) -> str:
    """Hash: field ``<view>:<partition>`` -> JSON of contracts.streams.ViewProgress; written by streams."""
    return f"headrace:progress:{project}"


def rollout_key(model: str) -> str:
    """String: JSON of contracts.rollout.RolloutRecord; replaced only by a larger epoch."""
    return f"headrace:rollout:{model}"


def rollout_history_key(model: str) -> str:
    """List: every RolloutChange as JSON, oldest first."""
    return f"headrace:rollout-history:{model}"


def model_key(model: str, version: str) -> str:
    """String: JSON of contracts.artifacts.ModelManifest of a published version."""
    return f"headrace:model:{model}:{version}"


def evidence_key(model: str) -> str:
    """String: JSON of the newest contracts.monitoring.RolloutEvidence; written by monitors."""
    return f"headrace:evidence:{model}"


def serving_key(model: str) -> str:
    """Hash: field ``<host:port>`` -> JSON of the epoch and versions a server has loaded, with its beat."""
    return f"headrace:serving:{model}"
