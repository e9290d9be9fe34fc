"""The HTTP interface: a few thin views over a shelf of live models."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from werkzeug.exceptions import NotFound, ServiceUnavailable

from serving import body
from serving.metrics import Metrics
from serving.problems import ModelFailed, answer_errors
from serving.shelf import Live, Shelf
from updraft.model import Prediction
from updraft.signature import BadRow

RETRY_AFTER = 5
ENDPOINTS = ["POST /predict/<use case>", "GET /models", "GET /healthz", "GET /readyz", "GET /metrics"]


def create_app(shelf: Shelf, *, max_body: int = 16 * 2**20, max_rows: int = 10_000) -> Flask:
    """Make the service over `shelf`: bodies of at most `max_body` bytes, at most `max_rows` rows in one."""
    app = Flask(__name__, static_folder=None)
    metrics = Metrics(shelf)
    answer_errors(app, metrics.failed)
    _measure(app, metrics)

    @app.post("/predict/<use_case>")
    def predict(use_case: str) -> Response:
        live = _take(shelf, use_case)
        rows, batch = body.rows(body.read(request, max_body), max_rows)
        prediction = _predict(live, rows, batch)
        metrics.predicted(live.use_case, prediction)
        return _json(_answer(live, prediction), headers={"X-Model-Version": str(live.version)})

    @app.get("/models")
    def models() -> Response:
        return _json({"models": [_model(shelf, name) for name in shelf.names]})

    @app.get("/healthz")
    def healthz() -> Response:
        return _json({"status": "ok"})

    @app.get("/readyz")
    def readyz() -> Response:
        versions = {name: live.version for name, live in sorted(shelf.live.items())}
        if not versions:
            raise ServiceUnavailable("No verified model is loaded yet.", retry_after=RETRY_AFTER)
        return _json({"status": "ready", "versions": versions})

    @app.get("/metrics")
    def measured() -> Response:
        return Response(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST)

    @app.get("/")
    def index() -> Response:
        return _json({"service": "updraft", "use_cases": shelf.names, "endpoints": ENDPOINTS})

    return app


def _measure(app: Flask, metrics: Metrics) -> None:
    @app.before_request
    def start() -> None:
        g.start = time.perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        metrics.answered(request.endpoint, response.status_code, time.perf_counter() - g.start)
        return response


def _take(shelf: Shelf, use_case: str) -> Live:
    """Return the live model of a use case; NotFound when there is no such, ServiceUnavailable when it is not loaded."""
    live = shelf.live.get(use_case)
    if live is not None:
        return live
    if use_case in shelf.names:
        raise ServiceUnavailable(f"No verified model of {use_case} is loaded.", retry_after=RETRY_AFTER)
    if not shelf.reached:
        raise ServiceUnavailable("No model is loaded and the registry cannot be reached.", retry_after=RETRY_AFTER)
    raise NotFound(f"Unknown use case; known: {', '.join(shelf.names) or 'none yet'}.")


def _predict(live: Live, rows: list[Any], batch: bool) -> Prediction:
    try:
        frame = live.model.signature.frame(rows)
    except BadRow as error:
        if batch:
            raise
        faults = [fault | {"pointer": fault["pointer"].removeprefix("/rows/0")} for fault in error.errors]
        raise BadRow(faults) from None
    try:
        prediction = live.model.predict(frame)
    except Exception as error:
        raise ModelFailed(f"{live.use_case} version {live.version}") from error
    if not all(map(math.isfinite, _numbers(prediction))):
        raise ModelFailed(f"{live.use_case} version {live.version}: an answer is not finite")
    return prediction


def _numbers(prediction: Prediction) -> Iterator[float]:
    for answer in prediction.predictions if prediction.probabilities is None else prediction.probabilities:
        yield from answer.values() if isinstance(answer, dict) else (answer,)


def _answer(live: Live, prediction: Prediction) -> dict[str, Any]:
    """Make the answer; labels, probabilities and threshold only where the model has them."""
    told = {
        "use_case": live.use_case,
        "version": live.version,
        "threshold": live.model.signature.threshold,
        "predictions": prediction.predictions,
        "labels": prediction.names,
        "probabilities": prediction.probabilities,
    }
    return {name: value for name, value in told.items() if value is not None}


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


def _json(value: Any, **kwargs: Any) -> Response:
    """Answer strict JSON: NaN is none."""
    return Response(json.dumps(value, allow_nan=False), content_type="application/json", **kwargs)
