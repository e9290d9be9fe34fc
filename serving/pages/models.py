"""What people look at: the models, a form for each, the documentation, and training."""

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

from serving.models.live_models import Live, Shelf
from serving.openapi import document, samples
from serving.pages import docs, form, html, result, training
from serving.predict.predictor import Predictor
from serving.server.json_response import json_response
from serving.training.trigger import Trainer
from updraft.model.signature import BadRow

FIGURES = "log.stats"  # the endpoint that answers totals of the prediction log
AT_TIMES = {"feedback", "runs", "stats"}  # paths that are there while their part of the service is switched on


def blueprint(
    shelf: Shelf,
    predictor: Predictor,
    trainer: Trainer | None,
    *,
    keys: bool = False,
    logs: bool = False,
    max_rows: int = 10_000,
) -> Blueprint:
    """Make the views. To be registered last: a use case's page is at `/<use case>`, unless the app has that path.

    `keys` and `logs` say whether API keys are asked for and predictions are logged.
    """
    views = Blueprint("pages", __name__)
    described = _document(shelf, trains=trainer is not None, keys=keys, max_rows=max_rows, logs=logs)
    _add_index(views, shelf, logs=logs)
    _add_documents(views, described, shelf=shelf, keys=keys, logs=logs, trains=trainer is not None)
    training.add(views, shelf, trainer)
    views.record_once(lambda state: _leave_room(state.app))
    _add_forms(views, predictor, keys=keys)
    return views


def _add_index(views: Blueprint, shelf: Shelf, *, logs: bool) -> None:
    @views.after_app_request
    def as_page(response: Response) -> Response:
        """Show people figures and problems as a page: where they asked for one, or for nothing that is there."""
        ours = request.blueprint == views.name or request.endpoint in {None, FIGURES}
        if not ours or not html.wanted(request):
            return response
        if request.endpoint == FIGURES and response.status_code == 200:
            return html.page("stats.html", told=response.get_json())
        return html.instead(response, shelf.names, again=request.method == "GET")

    @views.get("/")
    def index() -> Response:
        if html.wanted(request):
            return html.page("index.html", shelf=shelf, logs=logs)
        told = {"service": "updraft", "use_cases": shelf.names, "endpoints": _endpoints(current_app)}
        response = json_response(told)
        response.vary.add("Accept")
        return response


def _add_documents(views: Blueprint, described: Callable[[], tuple[bytes, str]], *, keys: bool, **told: Any) -> None:
    @views.get("/openapi.json")
    def document() -> Response:
        content, tag = described()
        response = Response(content, content_type="application/json", headers={"Cache-Control": "no-cache"})
        response.set_etag(tag)
        response.make_conditional(request)
        return response

    @views.get("/docs")
    def docs_page() -> Response:
        content, _ = described()
        shown = docs.told(json.loads(content), request.host_url, keys=keys)
        return html.page("docs.html", keys=keys, **told, **shown)


def _add_forms(views: Blueprint, predictor: Predictor, *, keys: bool) -> None:
    @views.get("/<free:use_case>")
    def ask(use_case: str) -> Response:
        live = predictor.live(use_case)
        signature = live.model.signature
        texts = form.example(signature) if request.args.get("example") else {}
        return _form(live, form.fields(signature, texts), keys=keys)

    @views.post("/<free:use_case>")
    def answer(use_case: str) -> Response:
        live = predictor.live(use_case)
        signature = live.model.signature
        texts = form.read(training.typed(request), signature)
        try:
            rows = form.check(texts, signature)
        except BadRow as error:
            return _form(live, form.fields(signature, texts, error.errors), 422, keys=keys)
        answered = predictor.predict(live, rows, g.get("start", time.perf_counter()))
        shown = result.shown(answered)
        return _form(live, form.fields(signature, texts), keys=keys, outcome=shown, row=form.values(rows))


def _form(live: Live, fields: list[form.Field], status: int = 200, *, keys: bool, **told: Any) -> Response:
    url = request.host_url.rstrip("/") + url_for("predict", use_case=live.use_case)
    curl = samples.curl(url, told["row"], keys=keys) if "row" in told else None
    told = {"outcome": None, "row": None} | told
    response = html.page("form.html", status, live=live, fields=fields, curl=curl, **told)
    response.headers["X-Model-Version"] = str(live.version)
    return response


def _document(shelf: Shelf, **told: Any) -> Callable[[], tuple[bytes, str]]:
    """Give the document and its tag, made anew when the models have changed."""
    last: tuple[Any, list[str], bytes, str] = (None, [], b"", "")

    def current() -> tuple[bytes, str]:
        nonlocal last
        lives, names = shelf.live, shelf.names
        if last[0] is not lives or last[1] != names:
            content = json.dumps(document.document(lives, names, **told), ensure_ascii=False).encode()
            last = (lives, names, content, hashlib.sha256(content).hexdigest()[:32])
        return last[2], last[3]

    return current


def _leave_room(app: App) -> None:
    """Let `/<free:…>` match no path that the app has by now, so that another method there is 405 and no use case.

    Nor one that comes with a part that is off: a use case of that name would lose its page when that is switched on.
    """
    taken = AT_TIMES | {rule.rule.strip("/") for rule in app.url_map.iter_rules() if not rule.arguments}

    class Free(BaseConverter):
        part_isolating = True
        regex = rf"(?!(?:{'|'.join(map(re.escape, sorted(taken)))})\Z)[^/]+"

    app.url_map.converters["free"] = Free


def _endpoints(app: Flask) -> list[str]:
    """List what the app answers, as `METHOD /path`."""
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    return [
        f"{method} {rule.rule.replace('free:', '').replace('path:', '')}"
        for rule in rules
        if rule.endpoint not in {"static", "train.off"}
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
