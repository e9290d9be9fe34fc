"""POST /feedback: true labels for answered predictions. GET /stats: totals of the prediction log."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from serving.body import json_body
from serving.models.live_models import Shelf
from serving.prediction_log import feedback
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.stats import MOST_HOURS, figures
from serving.server.json_response import json_response
from updraft.model.columns import quoted


def blueprint(log: PredictionLog, shelf: Shelf, *, max_body: int = 16 * 2**20, max_rows: int = 10_000) -> Blueprint:
    """Make the views over `log`; what a label may be is what the live model in `shelf` says."""
    views = Blueprint("log", __name__)

    @views.post("/feedback", endpoint="feedback")
    def judge() -> Response:
        return feedback.take(log, shelf, json_body.read(request, max_body), max_rows)

    @views.get("/stats")
    def stats() -> Response:
        use_case, hours = _query()
        told = figures(log, use_case, hours)
        if use_case is not None and not told["use_cases"] and use_case not in shelf.names:
            raise NotFound(f"Unknown use case; known: {', '.join(shelf.names) or 'none yet'}.")
        return json_response(told)

    return views


def _query() -> tuple[str | None, int | None]:
    """Read `use_case` and `hours`; BadRequest names what is wrong with them."""
    for name in request.args:
        if name not in {"use_case", "hours"}:
            raise BadRequest(f"Unknown parameter {quoted(name)}; known: use_case, hours.")
        if len(request.args.getlist(name)) > 1:
            raise BadRequest(f"{name} is given twice.")
    hours = request.args.get("hours")
    if hours is None:
        return request.args.get("use_case"), None
    if not re.fullmatch("[1-9][0-9]{0,5}", hours) or int(hours) > MOST_HOURS:
        raise BadRequest(f"hours: {quoted(hours)}, expected a whole number from 1 to {MOST_HOURS}.")
    return request.args.get("use_case"), int(hours)
