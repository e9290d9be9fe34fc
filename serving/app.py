"""The HTTP interface: a few thin views over a shelf of live models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.middleware.proxy_fix import ProxyFix

from serving.body import request_rows
from serving.metrics import Metrics
from serving.models.live_models import Shelf
from serving.pages import models as pages
from serving.predict.predictor import RETRY_AFTER, Predictor
from serving.predict.responses import as_csv, as_json
from serving.prediction_log import views as log_views
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import json_logging, security_headers
from serving.server.auth import Keys, require
from serving.server.json_response import json_response
from serving.server.problems import answer_errors, kind
from serving.server.wsgi_adapter import ARRIVED
from serving.training import views as train
from serving.training.trigger import Trainer

PROBES = {"/healthz", "/readyz", "/metrics"}
PREDICTS = {"predict", "pages.answer"}
STRANGERS = {401, 403}  # have no place in the prediction log, which they could fill
Note = Callable[[str, str, int, float], None]  # method, path, status, seconds
STATIC = timedelta(days=365)  # that browsers keep a style sheet, whose address changes with it


@dataclass(frozen=True)
class Parts:
    """What the service may have beside its models. `metrics` is a folder that all workers count in.

    So many `proxies` in front are believed who asks, by which scheme and host.
    """

    log: PredictionLog | None = None
    trainer: Trainer | None = None
    keys: Keys | None = None
    metrics: Path | None = None
    proxies: int = 0


NOTHING = Parts()


def create_app(shelf: Shelf, parts: Parts = NOTHING, *, max_body: int = 16 * 2**20, max_rows: int = 10_000) -> Flask:
    """Make the service over `shelf`: bodies of at most `max_body` bytes, at most `max_rows` rows in one."""
    app = Flask(__name__)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = STATIC
    if parts.proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=parts.proxies, x_proto=parts.proxies, x_host=parts.proxies
        )
    metrics = Metrics(shelf, parts.log, parts.metrics)
    predictor = Predictor(shelf, metrics, parts.log)
    app.extensions["note"] = _noting(metrics, predictor)
    answer_errors(app, _counting(metrics))
    _watch(app, metrics, predictor)
    if parts.keys:
        require(app, parts.keys)

    @app.post("/predict/<use_case>")
    def predict(use_case: str) -> Response:
        live = predictor.live(use_case)
        g.version = live.version
        rows = request_rows.read(request, live.model.signature, live.decoder, max_body, max_rows)
        answered = predictor.predict(live, rows, g.start)
        wanted = request.accept_mimetypes.best_match(["application/json", "text/csv"], "application/json")
        return as_csv(answered) if wanted == "text/csv" else as_json(answered)

    @app.get("/models")
    def models() -> Response:
        return json_response({"models": [_model(shelf, name) for name in shelf.names]})

    @app.get("/healthz")
    def healthz() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        versions = {name: live.version for name, live in sorted(shelf.live.items())}
        if not versions:
            raise ServiceUnavailable("No verified model is loaded yet.", retry_after=RETRY_AFTER)
        return json_response({"status": "ready", "versions": versions})

    @app.get("/metrics")
    def measured() -> Response:
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)

    app.register_blueprint(train.blueprint(parts.trainer))
    if parts.log:
        app.register_blueprint(log_views.blueprint(parts.log, shelf, max_body=max_body, max_rows=max_rows))
    asked, logged = parts.keys is not None, parts.log is not None
    app.register_blueprint(pages.blueprint(shelf, predictor, parts.trainer, keys=asked, logs=logged, max_rows=max_rows))
    return app


def _counting(metrics: Metrics) -> Callable[[str], None]:
    def count(kind: str) -> None:
        g.kind = kind
        metrics.failed(kind)

    return count


def _watch(app: Flask, metrics: Metrics, predictor: Predictor) -> None:
    """Count, time and log every request, and give every answer its headers."""

    @app.before_request
    def start() -> None:
        g.start = request.environ.get(ARRIVED) or time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        seconds, status = time.perf_counter() - g.start, response.status_code
        metrics.answered(request.endpoint, status, seconds)
        if status >= 400:
            if "kind" not in g:  # a view that answers an error by itself
                metrics.failed(kind(status))
            if request.endpoint in PREDICTS and status not in STRANGERS:
                told = (request.view_args or {})["use_case"], g.get("version"), status, seconds
                predictor.note_refused(*told, g.get("kind", kind(status)))
        if request.path not in PROBES or status >= 400:  # who looks in every second is not worth a line
            fields = {"key": g.get("key_name"), "version": g.get("version")}
            json_logging.answered(request.method, request.path, status, seconds, **fields)
        for name, value in security_headers.HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _noting(metrics: Metrics, predictor: Predictor) -> Note:
    """Make what counts and logs a request that was refused before it met a route."""

    def note(method: str, path: str, status: int, seconds: float) -> None:
        metrics.shed(kind(status), status)
        json_logging.answered(method, path, status, seconds)
        parts = path.split("/")
        if parts[1:2] == ["predict"] and len(parts) == 3:
            predictor.note_refused(parts[2], None, status, seconds, kind(status))

    return note


def _model(shelf: Shelf, name: str) -> dict[str, Any]:
    live, refusal = shelf.live.get(name), shelf.refusals.get(name)
    facts: dict[str, Any] = {"use_case": name, "version": None, "refused": None}
    if live is not None:
        facts |= {
            "title": live.model.signature.title,
            "version": live.version,
            "candidate": live.model.signature.candidate,
            "threshold": live.model.signature.threshold,
            "metrics": live.manifest.get("metrics"),
            "run_id": live.manifest.get("run_id"),
            "loaded_at": live.loaded_at.isoformat(timespec="seconds"),
        }
    if refusal is not None:
        at = refusal.at.isoformat(timespec="seconds")
        facts["refused"] = {"version": refusal.version, "reason": refusal.reason, "at": at}
    return facts
