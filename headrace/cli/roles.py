"""The roles of ``headrace run``: the one list that runs them and that every help text is made of."""

__all__ = ["READING", "ROLES"]

ROLES = {
    "stream": ("streams.worker", "events to features: Kafka to Redis and Parquet"),
    "score": ("serving.stream_scorer", "score every event of the stream with the serving predictor"),
    "monitor": ("monitors.app", "watch features, predictions and labels; publish window reports"),
    "agents": ("monitors.agents", "Faust agents: incidents, pages, signals to Temporal"),
    "worker": ("workflows.worker", "Temporal worker: controllers, retraining, rollouts, training"),
}
"""Role -> (module with ``run(settings, project) -> int``, what it does)."""
READING = frozenset(("score", "monitor"))
"""Roles that read topics of events or labels without being the stream: ``run`` also takes what reads every format."""
