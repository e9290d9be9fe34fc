"""What Prometheus reads. Labels come from us, never from a request: an unknown use case makes no series."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import sys
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.models.live_models import Live, Shelf
from serving.prediction_log.prediction_log import PredictionLog
from updraft.model.model import Prediction

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
FILE_BYTES = 2**20  # some 3,000 series

log = logging.getLogger(__name__)


def prepare(folder: Path, slot: str) -> None:
    """Make the counter files of worker `slot` in `folder`, and set aside those that cannot be read.

    Their bytes are taken now: a page that a full disk has no room for would end the process when it is first written.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in folder.glob("*.db"):
        try:
            _read(path)
        except Exception as error:  # whatever is in it, it is not worth a start
            path.replace(path.with_suffix(".corrupt"))
            log.warning("%s cannot be read and is set aside: %s", path.name, type(error).__name__)
    for kind in ("counter", "histogram"):
        descriptor = os.open(folder / f"{kind}_{slot}.db", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, FILE_BYTES)
        finally:
            os.close(descriptor)


def _read(path: Path) -> None:
    """Read a counter file to its end; raises when it is damaged."""
    head = path.read_bytes()[:4]
    used = int.from_bytes(head, sys.byteorder, signed=True)
    if head and not (used == 0 or 8 <= used <= path.stat().st_size):
        raise ValueError(f"{used} bytes of {path.stat().st_size} are used")
    deque(MmapedDict.read_all_values_from_file(path), maxlen=0)  # type: ignore[no-untyped-call]


class Metrics:
    """The figures of one app in one process, or, with a `folder`, of all processes that count in it.

    The folder's files outlive their processes, and a worker that takes a dead one's number counts on in its files.
    """

    def __init__(self, shelf: Shelf, log: PredictionLog | None = None, folder: Path | None = None) -> None:
        self._folder, self._state = folder, OnShelf(shelf, log)
        self._own = own = CollectorRegistry()
        self.requests = Counter("updraft_requests", "Requests answered", ["endpoint", "status"], registry=own)
        self.errors = Counter("updraft_errors", "Requests answered with an error", ["kind"], registry=own)
        self.seconds = Histogram(
            "updraft_request_seconds", "Time to answer", ["endpoint"], buckets=SECONDS, registry=own
        )
        self.rows = Counter("updraft_rows", "Rows predicted", ["use_case"], registry=own)
        self.warnings = Counter("updraft_warnings", "Values answered with a warning", ["use_case"], registry=own)
        self.predictions = Counter("updraft_predictions", "Rows by answer", ["use_case", "label"], registry=own)
        self.unlogged = Counter("updraft_unlogged", "Requests that could not be logged", registry=own)
        self.swaps = Counter("updraft_swaps", "Versions put into service, by each worker", ["use_case"], registry=own)
        self.refused = Counter(
            "updraft_refused_versions", "Versions not let in, by each worker", ["use_case"], registry=own
        )
        if folder is None:
            own.register(self._state)
            ProcessCollector(registry=own)
        shelf.tell(
            swapped=lambda name: self.swaps.labels(name).inc(), refused=lambda name: self.refused.labels(name).inc()
        )

    def exposition(self) -> bytes:
        """Write all figures as Prometheus reads them."""
        if self._folder is None:
            return generate_latest(self._own)
        registry = CollectorRegistry()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have tidied up
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(self._state)
        return generate_latest(registry)

    def answered(self, endpoint: str | None, status: int, seconds: float) -> None:
        """Count an answer; what met no route is one endpoint together."""
        self.requests.labels(endpoint or "none", status).inc()
        self.seconds.labels(endpoint or "none").observe(seconds)

    def shed(self, kind: str, status: int) -> None:
        """Count a request that was refused before it met a route."""
        self.requests.labels("none", status).inc()
        self.failed(kind)

    def failed(self, kind: str) -> None:
        """Count an error by its kind, one of a few fixed words."""
        self.errors.labels(kind).inc()

    def predicted(self, use_case: str, prediction: Prediction, warnings: int) -> None:
        """Count rows and what was answered for them."""
        self.rows.labels(use_case).inc(len(prediction.predictions))
        if warnings:
            self.warnings.labels(use_case).inc(warnings)
        for label, count in Tally(prediction.names or ()).items():
            self.predictions.labels(use_case, label).inc(count)


class OnShelf(Collector):
    """What is so now, read when it is asked for: of the worker that is asked, and of the log that all share."""

    def __init__(self, shelf: Shelf, log: PredictionLog | None) -> None:
        self.shelf, self.log = shelf, log

    def collect(self) -> Iterable[Metric]:
        """Yield version and age of each model, what is refused, whether the registry answers, and the log's backlog."""
        version = GaugeMetricFamily("updraft_model_version", "Version that serves", labels=["use_case"])
        age = GaugeMetricFamily("updraft_model_age_seconds", "Time since it was stored", labels=["use_case"])
        for name, live in self.shelf.live.items():
            version.add_metric([name], live.version)
            age.add_metric([name], _age(live))
        refused = GaugeMetricFamily(
            "updraft_version_refused", "1 while the version pointed to is not let in", labels=["use_case"]
        )
        for name in self.shelf.names:
            refused.add_metric([name], name in self.shelf.refused)
        up = GaugeMetricFamily("updraft_registry_up", "1 while the registry answers", float(self.shelf.reachable or 0))
        yield from (version, age, refused, up)
        if self.log:
            yield GaugeMetricFamily(
                "updraft_log_backlog_bytes", "What is not in the log's tables yet", _waiting(self.log)
            )


def _waiting(log: PredictionLog) -> float:
    """Bytes that wait; NaN while the log's folder cannot be read, which must not hide all other figures."""
    try:
        return float(log.backlog_bytes())
    except (OSError, sqlite3.Error):
        return math.nan


def _age(live: Live) -> float:
    """Seconds since the version was stored; since it was loaded, where its manifest does not tell."""
    try:
        stored = datetime.fromisoformat(str(live.manifest.get("created_at")))
    except ValueError:
        stored = live.loaded_at
    return time.time() - (stored if stored.tzinfo else live.loaded_at).timestamp()
