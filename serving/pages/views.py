"""The web pages: the list of models, a form for each, the API documentation, and training."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, request, url_for
from flask.sansio.app import App
from werkzeug.routing import BaseConverter

from serving.body import request_rows
from serving.body.stored_columns import Ask
from serving.models.live_model import LiveModel
from serving.models.live_models import LiveModels
from serving.openapi import document, samples
from serving.pages import docs, form, html, model, monitoring, problem, result, training, upload, why
from serving.pages import predictions as recent
from serving.predict import explanations
from serving.predict.predictor import Predictor
from serving.predict.responses import as_csv
from serving.prediction_log.prediction_log import PredictionLog
from serving.server.json_response import json_response
from serving.training.trigger import Trainer
from updraft.model.signature import BadRow

STATS_ENDPOINT = "log.stats"
OPTIONAL_PATHS = {
    "feedback",
    "monitoring",
    "runs",
    "stats",
}  # paths that exist only while their part of the service is on


def blueprint(
    live_models: LiveModels,
    predictor: Predictor,
    trainer: Trainer | None,
    *,
    ask: Ask | None = None,
    keys: bool = False,
    predictions: PredictionLog | None = None,
    max_body: int = 16 * 2**20,
    max_rows: int = 10_000,
) -> Blueprint:
    """Return the views. Register them last: the page of a use case is at `/<use case>`, unless the app has that path.

    `keys` is whether API keys are required; `ask` has columns that rows leave out.
    """
    logs = predictions is not None
    views = Blueprint("pages", __name__)
    document = _document(live_models, trains=trainer is not None, keys=keys, max_rows=max_rows, logs=logs)
    _add_index(views, live_models, logs=logs)
    _add_documentation(views, document, keys=keys, logs=logs, trains=trainer is not None)
    training.add_pages(views, live_models, trainer)
    monitoring.add_page(views, live_models)
    model.add_pages(views, live_models, predictions)
    if predictions is not None:
        recent.add_page(views, live_models, predictions)
    views.record_once(lambda state: _reserve_paths(state.app))
    _add_forms(views, live_models, predictor, ask, keys=keys)
    _add_upload(views, predictor, ask, max_body, max_rows)
    return views


def _add_index(views: Blueprint, live_models: LiveModels, *, logs: bool) -> None:
    @views.after_app_request
    def as_page(response: Response) -> Response:
        """Turn statistics and problems into pages for browsers, unless the request was for a path of the JSON API."""
        has_page = request.blueprint == views.name or request.endpoint in {None, STATS_ENDPOINT}
        if not has_page or not html.prefers_html(request):
            return response
        if request.endpoint == STATS_ENDPOINT and response.status_code == 200:
            return html.render("stats.html", stats=response.get_json())
        return problem.problem_page(response, live_models.names, reload=request.method == "GET")

    @views.get("/")
    def index() -> Response:
        if html.prefers_html(request):
            return html.render("index.html", models=live_models, metrics_of=model.shown_metrics)
        summary = {"service": "updraft", "use_cases": live_models.names, "endpoints": _endpoints(current_app)}
        response = json_response(summary)
        response.vary.add("Accept")
        return response


def _add_documentation(
    views: Blueprint, current_document: Callable[[], tuple[bytes, str]], *, keys: bool, **options: bool
) -> None:
    @views.get("/openapi.json")
    def document() -> Response:
        content, etag = current_document()
        response = Response(content, content_type="application/json", headers={"Cache-Control": "no-cache"})
        response.set_etag(etag)
        response.make_conditional(request)
        return response

    @views.get("/docs")
    def docs_page() -> Response:
        content, _ = current_document()
        values = docs.page_data(json.loads(content), request.host_url, keys=keys)
        return html.render("docs.html", keys=keys, **options, **values)


def _add_forms(
    views: Blueprint, live_models: LiveModels, predictor: Predictor, ask_store: Ask | None, *, keys: bool
) -> None:
    def page(live: LiveModel, fields: list[form.Field], status: int = 200, **values: Any) -> Response:
        return _form(live, fields, status, keys=keys, move=live_models.pointers.get(live.use_case), **values)

    @views.get("/<unreserved:use_case>")
    def ask(use_case: str) -> Response:
        live = predictor.find_model(use_case, request)
        signature = live.model.signature
        texts = form.example(signature) if request.args.get("example") else {}
        return page(live, form.fields(signature, texts))

    @views.post("/<unreserved:use_case>")
    def answer(use_case: str) -> Response:
        live = predictor.find_model(use_case, request)
        g.version = live.version
        signature = live.model.signature
        texts = form.read(training.form_fields(request), signature)
        try:
            rows = form.check(texts, signature, ask_store)
        except BadRow as error:
            return page(live, form.fields(signature, texts, error.errors), 422)
        why_not = explanations.why_not(live)
        prediction = predictor.predict(live, rows, g.get("start", time.perf_counter()), explain=not why_not)
        shown: dict[str, Any] = {
            "outcome": result.to_view(prediction),
            "why": why.to_view(prediction),
            "why_not": why_not,
        }
        return page(live, form.fields(signature, texts), row=form.values(rows), **shown)


def _add_upload(views: Blueprint, predictor: Predictor, ask: Ask | None, max_body: int, max_rows: int) -> None:
    @views.post("/<unreserved:use_case>/csv")
    def predict_file(use_case: str) -> Response:
        """Return a file of predictions for a file of rows."""
        live = predictor.find_model(use_case, request)
        g.version = live.version
        rows = request_rows.read_csv(upload.read(request, max_body), live.model.signature, max_rows, ask)
        response = as_csv(predictor.predict(live, rows, g.get("start", time.perf_counter())))
        response.headers["Content-Disposition"] = f'attachment; filename="{use_case}-predictions.csv"'
        return response


def _form(live: LiveModel, fields: list[form.Field], status: int = 200, *, keys: bool, **values: Any) -> Response:
    url = request.host_url.rstrip("/") + url_for("predict", use_case=live.use_case)
    curl = samples.curl(url, values["row"], keys=keys) if "row" in values else None
    values = {"outcome": None, "row": None} | values
    response = html.render("form.html", status, live=live, fields=fields, curl=curl, **values)
    response.headers["X-Model-Version"] = str(live.version)
    return response


def _document(live_models: LiveModels, **options: Any) -> Callable[[], tuple[bytes, str]]:
    """Return a function that returns the OpenAPI document and its ETag, regenerated when the models have changed."""
    last: tuple[Any, list[str], bytes, str] = (None, [], b"", "")

    def current() -> tuple[bytes, str]:
        nonlocal last
        live, names = live_models.live, live_models.names
        if last[0] is not live or last[1] != names:
            content = json.dumps(document.document(live, names, **options), ensure_ascii=False).encode()
            last = (live, names, content, hashlib.sha256(content).hexdigest()[:32])
        return last[2], last[3]

    return current


def _reserve_paths(app: App) -> None:
    """Exclude the app's own paths from `/<unreserved:…>`: a wrong method there is a 405, not an unknown use case.

    OPTIONAL_PATHS are excluded even while off: a use case of that name would lose its page once they are switched on.
    """
    reserved = OPTIONAL_PATHS | {rule.rule.strip("/") for rule in app.url_map.iter_rules() if not rule.arguments}

    class Unreserved(BaseConverter):
        part_isolating = True
        regex = rf"(?!(?:{'|'.join(map(re.escape, sorted(reserved)))})\Z)[^/]+"

    app.url_map.converters["unreserved"] = Unreserved


def _endpoints(app: Flask) -> list[str]:
    """Return the app's endpoints as `METHOD /path`."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    return [
        f"{method} {re.sub('<(unreserved|path|int):', '<', rule.rule)}"
        for rule in rules
        if rule.endpoint not in {"static", "train.off"}
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
