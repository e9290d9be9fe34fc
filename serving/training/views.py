"""Training over HTTP: POST starts a use case's DAG, GET follows the run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NoReturn

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import NotFound

from serving.body import json_body
from serving.server.auth import bearer_token
from serving.server.json_response import json_response
from serving.training.trigger import Trainer

MAX_BYTES = 2**16  # of a body
OFF = "Training through this service is off: SERVING_TRAIN_TOKEN is not set."


def blueprint(trainer: Trainer | None) -> Blueprint:
    """Return the two views; without a trainer, one that reports that training is off."""
    views = Blueprint("train", __name__, url_prefix="/train")
    if trainer is None:
        views.add_url_rule("/<path:anything>", "off", _off, methods=["GET", "POST"])
        return views

    @views.before_request
    def authorize() -> None:
        trainer.authorize(bearer_token(request), request.remote_addr or "")

    @views.post("/<use_case>")
    def start(use_case: str) -> Response:
        run = trainer.start(use_case, _params(), request.headers.get("Idempotency-Key"))
        url = url_for(".follow", use_case=use_case, run_id=run.id)
        started = {"use_case": use_case, "run_id": run.id, "state": run.state, "url": url}
        return json_response(started, status=202, headers={"Location": url})

    @views.get("/<use_case>/<run_id>")
    def follow(use_case: str, run_id: str) -> Response:
        run = asdict(trainer.follow(use_case, run_id))
        return json_response({"use_case": use_case, "run_id": run.pop("id")} | run)

    return views


def _off(anything: str) -> NoReturn:
    raise NotFound(OFF)


def _params() -> Any:
    """Read the parameters from the request; without a body and a Content-Type there are none."""
    if not request.mimetype and not request.content_length and "Transfer-Encoding" not in request.headers:
        return {}
    return json_body.read(request, MAX_BYTES)
