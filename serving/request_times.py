"""How often and how fast each route answered, counted in plain lists: a request pays for a search and an addition."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

__all__ = ["RequestTimes"]

_BUCKETS_S = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class RequestTimes(Collector):
    """Counts on the event loop's thread; put into Prometheus' form only when somebody asks."""

    def __init__(self) -> None:
        self._routes: dict[str, _Route] = {}

    def add(self, route: str, status: int, seconds: Sequence[float]) -> None:
        """Requests were answered, each in so long."""
        times = self._routes.get(route) or self._routes.setdefault(route, _Route())
        for each in seconds:
            times.buckets[bisect_left(_BUCKETS_S, each)] += 1
        times.seconds += sum(seconds)
        times.statuses[status] = times.statuses.get(status, 0) + len(seconds)

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """As a registry asks."""
        requests = CounterMetricFamily("headrace_requests", "Requests answered", labels=("route", "status"))
        times = HistogramMetricFamily("headrace_request_seconds", "Time to answer", labels=("route",))
        for route, counted in tuple(self._routes.items()):
            for status, count in tuple(counted.statuses.items()):
                requests.add_metric((route, str(status)), count)
            total, buckets = 0, []
            for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), counted.buckets, strict=True):
                total += count
                buckets.append((bound, total))
            times.add_metric((route,), buckets, counted.seconds)
        yield requests
        yield times


class _Route:
    __slots__ = ("buckets", "seconds", "statuses")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self.seconds = 0.0
        self.statuses: dict[int, int] = {}
