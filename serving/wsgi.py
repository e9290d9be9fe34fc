"""The server's entry points, and the only module that reads the environment.

Run `rsgi_app` under granian's RSGI as docs/serving.md shows: request bodies are received without occupying a thread.
`app` is the same service as plain WSGI, for gunicorn behind a buffering proxy. Do not use --preload: the threads that
watch the registry and write the prediction log start on import and do not survive a fork.
"""

from __future__ import annotations

from serving.server import sigterm  # noqa: F401

# isort: split
import logging
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from flask import Flask
from prometheus_client import values

from serving import metrics
from serving.app import AppOptions, create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from serving.prediction_log.prediction_log import LogOptions, PredictionLog
from serving.server import json_logging, worker_lock
from serving.server.rsgi import RsgiApp
from serving.settings import read
from serving.training.trigger import open_trainer

log = logging.getLogger(__name__)

STARTUP_TIMEOUT = 15.0  # seconds a worker waits for its first models before it accepts requests without them


def start(environment: MutableMapping[str, str]) -> tuple[Flask, RsgiApp]:
    """Create the app from the environment and start watching the registry; ValueError names the invalid variable."""
    settings = read(environment)
    worker = worker_lock.claim(settings.data)
    json_logging.configure(settings.data / "logs", worker, settings.log_level, settings.log_json, settings.log_answered)
    metrics_folder = _share_metrics(settings.data / "metrics", str(worker), environment)
    prediction_log = None
    if settings.prediction_log:
        kept = LogOptions(settings.log_days, settings.log_max_mb, settings.log_level, settings.log_json, settings.ships)
        prediction_log = PredictionLog(settings.data, worker, kept)
    live_models = LiveModels(settings.registry, Cache(settings.cache), settings.only)
    trainer = open_trainer(environment, settings.data, settings.trains_per_minute)
    options = AppOptions(
        prediction_log,
        trainer,
        settings.api_keys,
        settings.hosts,
        metrics_folder,
        settings.trusted_proxies,
        settings.loop_seconds,
        settings.features_token,
    )
    app = create_app(live_models, options, max_body=settings.limits.body_bytes, max_rows=settings.max_rows)
    live_models.watch(settings.poll_seconds, STARTUP_TIMEOUT)
    if prediction_log:
        prediction_log.start()

    def close() -> None:
        live_models.close()
        if prediction_log:
            prediction_log.close()
        json_logging.write_answered()

    in_loop, page = app.extensions["loop_route"].answer, app.extensions["refused_page"]
    return app, RsgiApp(app, settings.limits, app.extensions["log_refused"], close, in_loop, page)


def _share_metrics(folder: Path, worker: str, environment: MutableMapping[str, str]) -> Path | None:
    """Keep this worker's metrics in `folder`, which all workers share; return None to keep them in memory instead."""
    try:
        metrics.prepare_files(folder, worker)
    except OSError as error:
        log.error("SERVING_DATA: cannot write metric files, so each worker keeps its own metrics: %s", error)
        return None
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    # Worker numbers in place of process ids: a restarted worker continues the files of the one before it.
    values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
    return folder


try:
    app, rsgi_app = start(os.environ)
except ValueError as error:
    sys.exit(f"serving: {error}")
except OSError as error:
    sys.exit(f"serving: SERVING_DATA: {error}")
