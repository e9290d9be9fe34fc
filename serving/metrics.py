"""What Prometheus reads. Labels come from us, never from a request: an unknown use case makes no series."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serving.shelf import Shelf
from updraft.model import Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """The figures of one app in one process, in a registry of their own."""

    def __init__(self, shelf: Shelf) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("updraft_requests", "Requests answered", ["endpoint", "status"], registry=own)
        self.errors = Counter("updraft_errors", "Requests answered with an error", ["kind"], registry=own)
        self.seconds = Histogram(
            "updraft_request_seconds", "Time to answer", ["endpoint"], buckets=SECONDS, registry=own
        )
        self.rows = Counter("updraft_rows", "Rows predicted", ["use_case"], registry=own)
        self.predictions = Counter("updraft_predictions", "Rows by answer", ["use_case", "label"], registry=own)
        own.register(OnShelf(shelf))
        ProcessCollector(registry=own)

    def answered(self, endpoint: str | None, status: int, seconds: float) -> None:
        """Count an answer; what met no route is one endpoint together."""
        self.requests.labels(endpoint or "none", status).inc()
        self.seconds.labels(endpoint or "none").observe(seconds)

    def failed(self, kind: str) -> None:
        """Count an error by its kind, one of a few fixed words."""
        self.errors.labels(kind).inc()

    def predicted(self, use_case: str, prediction: Prediction) -> None:
        """Count rows and what was answered for them."""
        self.rows.labels(use_case).inc(len(prediction.predictions))
        for label, count in Tally(prediction.names or ()).items():
            self.predictions.labels(use_case, label).inc(count)


class OnShelf(Collector):
    """The shelf's state, read when it is asked for."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def collect(self) -> Iterable[Metric]:
        """Yield the version of each use case, refusals, and whether the registry can be reached."""
        version = GaugeMetricFamily("updraft_model_version", "Version that serves", labels=["use_case"])
        for name, live in self.shelf.live.items():
            version.add_metric([name], live.version)
        refused = CounterMetricFamily("updraft_refused_versions", "Versions not let in", labels=["use_case"])
        for name, refusal in self.shelf.refusals.items():
            refused.add_metric([name], refusal.count)
        up = GaugeMetricFamily("updraft_registry_up", "1 while the registry answers", float(self.shelf.reachable or 0))
        return version, refused, up
