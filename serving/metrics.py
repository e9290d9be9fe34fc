"""Prometheus metrics. No label value comes from a request: an unknown use case creates no time series."""

from __future__ import annotations

import collections
import logging
import math
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.models.live_model import LiveModel
from serving.models.live_models import LiveModels
from serving.prediction_log import shipping
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.tally import Tally
from updraft.model.prediction import Prediction
from updraft.registry.monitor_state import MonitorState

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
TAKES_BACK = ("abort", "rollback")  # moves of the registry
FILE_BYTES = 2**20  # room for some 3,000 time series

log = logging.getLogger(__name__)


def prepare_files(folder: Path, worker: str) -> None:
    """Create the metric files of this worker in `folder`, and rename unreadable files of any worker to `.corrupt`.

    Their disk space is allocated now: they are memory-mapped, and writing a page that the disk has no room for would
    kill the process with SIGBUS.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    for path in folder.glob("*.db"):
        try:
            _read(path)
        except Exception as error:  # whatever is wrong with it, metrics must not prevent a start
            path.replace(path.with_suffix(".corrupt"))
            log.warning("%s cannot be read, kept as .corrupt: %s", path.name, type(error).__name__)
    for kind in ("counter", "histogram"):
        descriptor = os.open(folder / f"{kind}_{worker}.db", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, FILE_BYTES)
        finally:
            os.close(descriptor)


def _read(path: Path) -> None:
    """Read a metric file to its end; raises when it is damaged."""
    head = path.read_bytes()[:4]
    used = int.from_bytes(head, sys.byteorder, signed=True)
    if head and not (used == 0 or 8 <= used <= path.stat().st_size):
        raise ValueError(f"the header claims {used} of {path.stat().st_size} bytes")
    collections.deque(MmapedDict.read_all_values_from_file(path), maxlen=0)  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of this process or, with a `folder`, of all processes that keep theirs in it.

    The files outlive their processes: a worker that takes a dead worker's number continues its counters.
    """

    def __init__(self, live_models: LiveModels, log: PredictionLog | None = None, folder: Path | None = None) -> None:
        self._folder, self._state, self._tally = folder, StateCollector(live_models, log), Tally()
        self._own = own = CollectorRegistry()
        self.requests = Counter("updraft_requests", "Requests handled", ["endpoint", "status"], registry=own)
        self.errors = Counter("updraft_errors", "Requests that ended in an error", ["kind"], registry=own)
        self.seconds = Histogram(
            "updraft_request_seconds", "Time to respond", ["endpoint"], buckets=SECONDS, registry=own
        )
        self.rows = Counter("updraft_rows", "Rows predicted", ["use_case"], registry=own)
        self.warnings = Counter("updraft_warnings", "Values accepted with a warning", ["use_case"], registry=own)
        self.predictions = Counter(
            "updraft_predictions", "Rows by predicted label", ["use_case", "label"], registry=own
        )
        self.unlogged = Counter("updraft_unlogged", "Requests that could not be logged", registry=own)
        self.swaps = Counter("updraft_swaps", "Versions deployed, counted by each worker", ["use_case"], registry=own)
        self.refused = Counter(
            "updraft_refused_versions", "Versions refused, counted by each worker", ["use_case"], registry=own
        )
        self.rollout_rows = Counter(
            "updraft_rollout_rows",
            "Rows predicted while a version is tried, by version: production, canary or shadow",
            ["use_case", "version", "role"],
            registry=own,
        )
        self.shadow_dropped = Counter(
            "updraft_shadow_dropped_rows", "Rows that a shadow did not score", ["use_case"], registry=own
        )
        self.shadow_errors = Counter(
            "updraft_shadow_errors", "Requests that a shadow failed to score", ["use_case", "version"], registry=own
        )
        self.lookups = Counter(
            "updraft_feature_lookups", "Calls of a feature store, by outcome", ["use_case", "outcome"], registry=own
        )
        self.lookup_keys = Counter(
            "updraft_feature_entities", "Entities found in a feature store", ["use_case"], registry=own
        )
        self.lookup_seconds = Histogram(
            "updraft_feature_lookup_seconds", "Time of a feature store to answer", ["use_case"], buckets=SECONDS,
            registry=own,
        )  # fmt: skip
        # Of labels from the fixed few: finding them again takes as long as counting.
        self._requests_of = lru_cache(maxsize=512)(self.requests.labels)
        self._seconds_of = lru_cache(maxsize=512)(self.seconds.labels)
        self._predictions_of = lru_cache(maxsize=512)(self.predictions.labels)
        self._rows_of = lru_cache(maxsize=512)(self.rows.labels)
        self._rollout_rows_of = lru_cache(maxsize=512)(self.rollout_rows.labels)
        if folder is None:
            own.register(self._state)
            ProcessCollector(registry=own)
        live_models.subscribe(
            on_swap=lambda name: self.swaps.labels(name).inc(), on_refusal=lambda name: self.refused.labels(name).inc()
        )

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        self._tally.flush()
        if self._folder is None:
            return generate_latest(self._own)
        registry = CollectorRegistry()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it may have been deleted meanwhile
        MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
        registry.register(self._state)
        return generate_latest(registry)

    def count_request(self, endpoint: str | None, status: int, seconds: float) -> None:
        """Count a request and its response time; all that match no route share the endpoint `none`."""
        self._tally.add(self._requests_of(endpoint or "none", status))
        self._tally.observe(self._seconds_of(endpoint or "none"), seconds)

    def count_refused(self, kind: str, status: int) -> None:
        """Count a request that the server refused before Flask routed it."""
        self.requests.labels("none", status).inc()
        self.count_error(kind)

    def count_error(self, kind: str) -> None:
        """Count an error by its kind, one of a few fixed words."""
        self.errors.labels(kind).inc()

    def count_lookup(self, use_case: str, outcome: str, entities: int) -> None:
        """Count a call of a feature store, by its outcome, one of a few fixed words, and the entities found."""
        self._tally.add(self.lookups.labels(use_case, outcome))
        if entities:
            self._tally.add(self.lookup_keys.labels(use_case), entities)

    def observe_lookup(self, use_case: str, seconds: float) -> None:
        """Note how long a feature store took."""
        self._tally.observe(self.lookup_seconds.labels(use_case), seconds)

    def count_predictions(self, use_case: str, prediction: Prediction, warnings: int) -> None:
        """Count rows and their predicted labels."""
        self._tally.add(self._rows_of(use_case), len(prediction.predictions))
        if warnings:
            self.warnings.labels(use_case).inc(warnings)
        names = prediction.names or ()
        for label, count in [(names[0], 1)] if len(names) == 1 else collections.Counter(names).items():
            self._tally.add(self._predictions_of(use_case, label), count)

    def count_rollout(self, live: LiveModel, role: str, rows: int) -> None:
        """Count rows that were answered while a version is tried."""
        self._tally.add(self._rollout_rows_of(live.use_case, live.version, role), rows)


class StateCollector(Collector):
    """The state at the time of a scrape: of the worker that is scraped, and of the prediction log they all share."""

    def __init__(self, live_models: LiveModels, log: PredictionLog | None) -> None:
        self.live_models, self.log = live_models, log

    def collect(self) -> Iterable[Metric]:
        """Yield each model's version and age, refused versions, registry health and the prediction log's backlog."""
        version = GaugeMetricFamily("updraft_model_version", "Live version", labels=["use_case"])
        age = GaugeMetricFamily(
            "updraft_model_age_seconds", "Time since the live version was stored", labels=["use_case"]
        )
        for name, live in self.live_models.live.items():
            version.add_metric([name], live.version)
            age.add_metric([name], _age_seconds(live))
        refused = GaugeMetricFamily(
            "updraft_version_refused", "1 while the production version is refused", labels=["use_case"]
        )
        for name in self.live_models.names:
            refused.add_metric([name], name in self.live_models.refused)
        up = GaugeMetricFamily(
            "updraft_registry_up", "1 while the registry answers", float(self.live_models.reachable or 0)
        )
        yield from (version, age, refused, up, *_rollouts(self.live_models))
        yield from _monitor_metrics(self.live_models.monitors.states)
        if self.log:
            yield GaugeMetricFamily(
                "updraft_log_backlog_bytes", "Bytes of the prediction log not in SQLite yet", _backlog_bytes(self.log)
            )
            if self.log.ships:
                yield from _shipping(self.log)


def _shipping(log: PredictionLog) -> Iterable[Metric]:
    """Yield what is shipped to S3, as the shipper's file says, and what waits, as the log says."""
    status = shipping.read(log.store.folder)
    rows = CounterMetricFamily("updraft_shipped_rows", "Rows shipped to S3", labels=["kind"])
    rows.add_metric(["predictions"], status.prediction_rows)
    rows.add_metric(["feedback"], status.feedback_rows)
    lag, lost = shipping.waiting(log.store, status)
    yield rows
    yield CounterMetricFamily("updraft_shipping_failures", "Failed attempts to ship", value=status.failures)
    yield GaugeMetricFamily("updraft_shipping_lag_seconds", "Age of the oldest prediction that is not shipped", lag)
    yield CounterMetricFamily("updraft_unshipped_rows", "Rows deleted before they were shipped", value=lost)


def _rollouts(live_models: LiveModels) -> Iterable[Metric]:
    tried = GaugeMetricFamily(
        "updraft_rollout_version", "Version that is tried beside production", labels=["use_case", "mode"]
    )
    for name, rollout in live_models.rollouts.live.items():
        tried.add_metric([name, rollout.rollout.mode], rollout.live.version)
    refused = GaugeMetricFamily(
        "updraft_rollout_refused", "1 while the version in the rollout is refused", labels=["use_case"]
    )
    for name in live_models.rollouts.refusals:
        refused.add_metric([name], 1)
    taken_back = GaugeMetricFamily(
        "updraft_taken_back_timestamp_seconds",
        "Time of the last move, if it took a version back: of a rollout (abort) or of production (rollback)",
        labels=["use_case", "action"],
    )
    for name, move in live_models.pointers.items():
        if move.action in TAKES_BACK:
            taken_back.add_metric([name, move.action], datetime.fromisoformat(move.when).timestamp())
    yield from (tried, refused, taken_back)


def _monitor_metrics(states: Mapping[str, MonitorState]) -> Iterable[Metric]:
    """Yield what the monitor found last: when, of how much, which signals, and the columns that changed most."""
    at = GaugeMetricFamily("updraft_monitor_timestamp_seconds", "Time of the last report", labels=["use_case"])
    rows = GaugeMetricFamily("updraft_monitor_rows", "Rows of the last report", labels=["use_case", "kind"])
    signal = GaugeMetricFamily(
        "updraft_monitor_signal", "1 while the last report found it", labels=["use_case", "signal", "action"]
    )
    drift = GaugeMetricFamily(
        "updraft_monitor_drift", "Drift as a multiple of its limit, of the worst columns", labels=["use_case", "column"]
    )
    metric = GaugeMetricFamily(
        "updraft_monitor_metric", "The metric on labelled rows, and as promised", labels=["use_case", "metric", "kind"]
    )
    for name, state in states.items():
        at.add_metric([name], datetime.fromisoformat(state.at).timestamp())
        for kind in ("rows", "labels", "refused"):
            rows.add_metric([name, kind], getattr(state, kind))
        for found in state.found:
            signal.add_metric([name, found.signal, found.action], 1)
        for column, worst in state.worst.items():
            drift.add_metric([name, column], worst)
        for kind, value in (("now", state.value), ("promised", state.promised)):
            if value is not None:
                metric.add_metric([name, state.metric, kind], value)
    yield from (at, rows, signal, drift, metric)


def _backlog_bytes(log: PredictionLog) -> float:
    """Return the backlog; NaN while the log cannot be read, since an exception would hide all other metrics."""
    try:
        return float(log.backlog_bytes())
    except (OSError, sqlite3.Error):
        return math.nan


def _age_seconds(live: LiveModel) -> float:
    """Return the seconds since the version was stored, or since it was loaded if its manifest has no valid date."""
    try:
        stored = datetime.fromisoformat(str(live.manifest.get("created_at")))
    except ValueError:
        stored = live.loaded_at
    return time.time() - (stored if stored.tzinfo else live.loaded_at).timestamp()
