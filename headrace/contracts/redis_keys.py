"""Every Redis key headrace uses beside Feast's rows."""

__all__ = [
    "ROW_FIELD_PREFIX",
    "STATE_FIELD_PREFIX",
    "evidence_key",
    "model_key",
    "progress_key",
    "reach_key",
    "rollout_key",
    "rows_key",
    "sources_key",
]

ROW_FIELD_PREFIX = b"_hr:"
"""Hash field ``_hr:<view>`` beside Feast's fields: header and values of a row."""
STATE_FIELD_PREFIX = b"_hs:"
"""Hash field ``_hs:<view>``: what it takes to move that row in time."""


def progress_key(project: str) -> str:
    """Hash: field ``<view>:<partition>`` -> JSON of contracts.streams.ViewProgress; written by streams."""
    return f"headrace:progress:{project}"


def reach_key(project: str) -> str:
    """Hash: field ``<topic>:<partition>`` -> JSON of streams.messages.reach.Reach; workers keep in step by it."""
    return f"headrace:reach:{project}"


def rows_key(project: str) -> str:
    """Hash: field ``<keyed topic>:<partition>`` -> run id of the server that holds its rows; by streams."""
    return f"headrace:rows-of:{project}"


def sources_key(project: str) -> str:
    """Hash: field ``<topic>:<partition>`` -> JSON of contracts.streams.SourceProgress; written by streams."""
    return f"headrace:sources:{project}"


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


def monitor_progress_key(model: str) -> str:
    """Hash written by monitors.app: how far it is.

    ``predictions:<partition>`` and ``<label topic>:<partition>`` -> offset after the last message taken in; ``window``
    and ``until_us`` of the last closed window; ``event_us``, the watermark; ``at_us``, wall clock.
    """
    return f"headrace:progress:monitor:{model}"


def agents_progress_key(model: str) -> str:
    """Hash written by monitors.agents: how far they are.

    ``window`` and ``until_us`` of the last report handled; ``signalled``, the last window Temporal was told of;
    ``epoch`` of the last deployment handled; ``at_us``, wall clock.
    """
    return f"headrace:progress:agents:{model}"


def incidents_key(model: str) -> str:
    """String: JSON of the incident tracks of a model and the window they have taken in; written by monitors.agents."""
    return f"headrace:incidents:{model}"


def pages_key(model: str) -> str:
    """Hash: ``<dedup key>:<opened_us>`` -> JSON of what was paged for this incident."""
    return f"headrace:pages:{model}"


def signals_key(model: str) -> str:
    """List: observations Temporal has not taken yet, oldest first, as JSON of contracts.control.Observation."""
    return f"headrace:signals:{model}"
