"""The entry points of a server, and the only reader of the environment.

Run `front` as docs/serving.md says, under granian's RSGI: bodies are taken in without holding a thread. `app` is the
same as plain WSGI, for gunicorn behind a proxy that buffers; without --preload, since the threads that watch the
registry and keep the prediction log start with the import and do not survive a fork.
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
from serving.app import Parts, create_app
from serving.models.live_models import Shelf
from serving.models.version_cache import Cache
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import json_logging, worker_lock
from serving.server.rsgi import Front
from serving.settings import read
from serving.training.trigger import open_trainer

log = logging.getLogger(__name__)

PATIENCE = 15.0  # seconds that a worker waits for its first models before it takes requests without


def start(environment: MutableMapping[str, str]) -> tuple[Flask, Front]:
    """Make the app as the environment says and watch the registry; ValueError names a variable that is wrong."""
    settings = read(environment)
    mine = worker_lock.claim(settings.data)
    json_logging.configure(settings.data / "logs", mine, settings.log_level, settings.log_json)
    counts = _counters(settings.data / "metrics", str(mine), environment)
    kept = PredictionLog(settings.data, mine, settings.log_days, settings.log_max_mb) if settings.log else None
    shelf = Shelf(settings.registry, Cache(settings.cache), settings.only)
    trainer = open_trainer(environment, settings.data, settings.starts)
    parts = Parts(kept, trainer, settings.keys, counts, settings.proxies)
    app = create_app(shelf, parts, max_body=settings.limits.body, max_rows=settings.max_rows)
    shelf.watch(settings.poll_seconds, PATIENCE)
    if kept:
        kept.start()

    def close() -> None:
        shelf.close()
        if kept:
            kept.close()

    return app, Front(app, settings.limits, app.extensions["note"], close)


def _counters(folder: Path, mine: str, environment: MutableMapping[str, str]) -> Path | None:
    """Have this process count in `folder`, with all workers; in its own memory where the disk is full."""
    try:
        metrics.prepare(folder, mine)
    except OSError as error:
        log.error("SERVING_DATA: no room to count in, so each worker counts for itself: %s", error)
        return None
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: mine)  # type: ignore[no-untyped-call]
    return folder


try:
    app, front = start(os.environ)
except ValueError as error:
    sys.exit(f"serving: {error}")
except OSError as error:
    sys.exit(f"serving: SERVING_DATA: {error}")
