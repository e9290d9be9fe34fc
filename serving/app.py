"""The HTTP interface: thin views over the live models."""

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

from serving.body import json_body, request_rows
from serving.metrics import Metrics
from serving.models.live_models import LiveModels
from serving.pages import views as pages
from serving.pages.problem import refused_pages
from serving.predict import explanations, responses
from serving.predict.feature_lookup import FeatureLookup
from serving.predict.loop_route import LoopLimits, LoopRoute
from serving.predict.predictor import RETRY_AFTER, Predictor
from serving.prediction_log import views as log_views
from serving.prediction_log.prediction_log import PredictionLog
from serving.server import json_logging, security_headers
from serving.server.auth import ApiKeys, require_api_key, require_host
from serving.server.json_response import json_response
from serving.server.problems import error_kind, register_error_handlers
from serving.server.proxies import behind
from serving.server.wsgi_adapter import ARRIVED_AT
from serving.training import views as train
from serving.training.trigger import Trainer

UNLOGGED_PATHS = {"/healthz", "/readyz", "/metrics"}  # polled every few seconds
PREDICT_ENDPOINTS = {"predict", "pages.answer", "pages.predict_file"}
UNAUTHENTICATED = {401, 403}  # never in the prediction log: anybody could fill it
STATIC_MAX_AGE = timedelta(days=365)  # safe, since a static file's URL changes with its content

LogRefused = Callable[[str, str, int, float], None]  # method, path, status, seconds


@dataclass(frozen=True)
class AppOptions:
    """The optional parts of the service. All workers write their metrics to `metrics_folder`.

    `hosts` are the values of the Host header that are served, all without any. `trusted_proxies` is how many proxies in
    front may set the client's address, scheme and host. Rows that are scored within `loop_seconds` may be answered in
    an event loop. `features_token` is the login at feature stores.
    """

    prediction_log: PredictionLog | None = None
    trainer: Trainer | None = None
    api_keys: ApiKeys | None = None
    hosts: tuple[str, ...] = ()
    metrics_folder: Path | None = None
    trusted_proxies: int = 0
    loop_seconds: float = 0.0
    features_token: str | None = None


NO_OPTIONS = AppOptions()


def create_app(
    live_models: LiveModels, options: AppOptions = NO_OPTIONS, *, max_body: int = 16 * 2**20, max_rows: int = 10_000
) -> Flask:
    """Create the service over `live_models`, with at most `max_body` bytes and `max_rows` rows per request."""
    app = Flask(__name__)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = STATIC_MAX_AGE
    if options.trusted_proxies:
        app.wsgi_app = behind(options.trusted_proxies, app.wsgi_app)  # type: ignore[method-assign]
    metrics = Metrics(live_models, options.prediction_log, options.metrics_folder)
    predictor = Predictor(live_models, metrics, options.prediction_log)
    lookup = FeatureLookup(metrics, options.features_token)
    app.extensions["log_refused"] = _refusal_logger(metrics, predictor)
    app.extensions["refused_page"] = refused_pages(app)
    app.extensions["loop_route"] = LoopRoute(
        predictor,
        metrics,
        LoopLimits(max_rows, options.loop_seconds),
        api_keys=options.api_keys,
        hosts=options.hosts,
        trusted_proxies=options.trusted_proxies,
    )
    register_error_handlers(app, _error_counter(metrics))
    _instrument(app, metrics, predictor)
    if options.hosts:
        require_host(app, options.hosts)
    if options.api_keys:
        require_api_key(app, options.api_keys)

    @app.post("/predict/<use_case>")
    def predict(use_case: str) -> Response:
        accept = request.headers.get("Accept", "")
        respond, explain = responses.form(accept), explanations.asked(request.args, responses.wanted(accept))
        live = predictor.find_model(use_case, request, lambda: json_body.read_body(request, max_body, keep=True))
        g.version = live.version
        rows = request_rows.read(request, live.model.signature, live.decoder, max_body, max_rows, lookup.ask)
        return respond(predictor.predict(live, rows, g.start, explain=explain))

    _add_status_views(app, live_models, metrics)
    app.register_blueprint(train.blueprint(options.trainer))
    if log := options.prediction_log:
        app.register_blueprint(log_views.blueprint(log, live_models, max_body=max_body, max_rows=max_rows))
    app.register_blueprint(
        pages.blueprint(
            live_models,
            predictor,
            options.trainer,
            ask=lookup.ask,
            keys=options.api_keys is not None,
            predictions=options.prediction_log,
            max_body=max_body,
            max_rows=max_rows,
        )
    )
    return app


def _add_status_views(app: Flask, live_models: LiveModels, metrics: Metrics) -> None:
    """Add what is live, and what probes and Prometheus ask for."""

    @app.get("/models")
    def models() -> Response:
        return json_response({"models": [_summary(live_models, name) for name in live_models.names]})

    @app.get("/healthz")
    def healthz() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        versions = {name: live.version for name, live in sorted(live_models.live.items())}
        if not versions:
            refused = "".join(f" {live_models.why_not(name)}" for name in sorted(live_models.refusals))
            raise ServiceUnavailable(f"No verified model is loaded yet.{refused}", retry_after=RETRY_AFTER)
        return json_response({"status": "ready", "versions": versions})

    @app.get("/metrics")
    def measured() -> Response:  # an `endpoint` label in Prometheus, which alert rules refer to
        return Response(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)


def _error_counter(metrics: Metrics) -> Callable[[str], None]:
    def count(kind: str) -> None:
        g.error_kind = kind
        metrics.count_error(kind)

    return count


def _instrument(app: Flask, metrics: Metrics, predictor: Predictor) -> None:
    """Count, time and log every request, and add the security headers to every response."""

    @app.before_request
    def start() -> None:
        g.start = request.environ.get(ARRIVED_AT) or time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        seconds, status = time.perf_counter() - g.start, response.status_code
        metrics.count_request(request.endpoint, status, seconds)
        if status >= 400:
            kind = g.get("error_kind")
            if kind is None:  # the view returned an error response instead of raising
                kind = error_kind(status)
                metrics.count_error(kind)
            if request.endpoint in PREDICT_ENDPOINTS and status not in UNAUTHENTICATED:
                use_case = (request.view_args or {})["use_case"]
                predictor.log_refused(use_case, g.get("version"), status, seconds, kind)
        if request.path not in UNLOGGED_PATHS or status >= 400:
            fields = {"key": g.get("key_name"), "version": g.get("version")}
            json_logging.log_request(request.method, request.path, status, seconds, **fields)
        for name, value in security_headers.HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def _refusal_logger(metrics: Metrics, predictor: Predictor) -> LogRefused:
    """Return a function that counts and logs a request the server refused before Flask routed it."""

    def log_refused(method: str, path: str, status: int, seconds: float) -> None:
        kind = error_kind(status)
        metrics.count_refused(kind, status)
        json_logging.log_request(method, path, status, seconds)
        if use_case := _asked_for(method, path):
            predictor.log_refused(use_case, None, status, seconds, kind)

    return log_refused


def _asked_for(method: str, path: str) -> str:
    """Return the use case whose prediction a request asks for, by the API, the form or a file; empty for others."""
    match path.split("/")[1:]:
        case ["predict", use_case]:
            return use_case
        case [use_case] | [use_case, "csv"] if method == "POST":
            return use_case
    return ""


def _summary(live_models: LiveModels, name: str) -> dict[str, Any]:
    """Describe a use case for GET /models: what is live and tried, the last move, and what is refused now."""
    live, refusal = live_models.live.get(name), live_models.refusals.get(name)
    move = live_models.pointers.get(name)
    summary: dict[str, Any] = {"use_case": name, "version": None, "refused": None}
    if live is not None:
        summary |= {
            "title": live.model.signature.title,
            "version": live.version,
            "candidate": live.model.signature.candidate,
            "form": live.model.form,
            "form_reason": live.form_reason,
            "threshold": live.model.signature.threshold,
            "metrics": live.manifest.get("metrics"),
            "run_id": live.manifest.get("run_id"),
            "loaded_at": live.loaded_at.isoformat(timespec="seconds"),
        }
    if tried := live_models.rollouts.live.get(name):
        summary["rollout"] = tried.rollout.model_dump() | {
            "loaded_at": tried.live.loaded_at.isoformat(timespec="seconds")
        }
    if refused := live_models.rollouts.refusals.get(name):
        at = refused.at.isoformat(timespec="seconds")
        summary["rollout_refused"] = {"version": refused.version, "reason": refused.reason, "at": at}
    if move is not None:
        summary["production"] = move.production
        summary["last_move"] = {key: getattr(move, key) for key in ("action", "version", "when", "why")}
    if refusal is not None:
        at = refusal.at.isoformat(timespec="seconds")
        summary["refused"] = {"version": refusal.version, "reason": refusal.reason, "at": at}
    return summary
