"""What a server counts, in Prometheus' terms."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from serving.request_times import RequestTimes

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        times = RequestTimes()
        self.registry.register(times)
        self.request = times.add
        """Called with route, status, and the seconds of each request that was answered so."""
        self._predictions = Counter(
            "headrace_predictions",
            "Predictions by the version that answered",
            ("model", "version", "source"),
            registry=self.registry,
        )
        self._fallbacks = Counter(
            "headrace_fallbacks", "Predictions answered without a score", ("model", "source"), registry=self.registry
        )
        self._tripped = Counter(
            "headrace_tripwires", "Trials this server ended", ("model", "version"), registry=self.registry
        )
        self._epoch = Gauge("headrace_rollout_epoch", "Epoch of the record served", ("model",), registry=self.registry)

    def prediction(self, model: str, version: str, source: str, *, fallback: bool) -> None:
        """One event was answered."""
        self._predictions.labels(model, version, source).inc()
        if fallback:
            self._fallbacks.labels(model, source).inc()

    def tripped(self, model: str, version: str) -> None:
        """A trial was ended here."""
        self._tripped.labels(model, version).inc()

    def swapped(self, model: str, epoch: int) -> None:
        """Another record is served."""
        self._epoch.labels(model).set(epoch)

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """A gauge read when somebody asks."""
        Gauge(f"headrace_{name}", what, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Everything, in the exposition format."""
        return generate_latest(self.registry)
