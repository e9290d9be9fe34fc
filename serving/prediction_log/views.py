"""POST /feedback takes true labels of predictions. GET /stats returns totals of the prediction log."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest, NotFound

from serving.body import json_body
from serving.models.live_models import LiveModels
from serving.prediction_log import feedback
from serving.prediction_log.prediction_log import PredictionLog
from serving.prediction_log.stats import MAX_HOURS, statistics
from serving.server.json_response import json_response
from updraft.model.columns import quoted


def blueprint(
    log: PredictionLog, live_models: LiveModels, *, max_body: int = 16 * 2**20, max_rows: int = 10_000
) -> Blueprint:
    """Return the views over `log`; the live model in `live_models` defines the valid labels."""
    views = Blueprint("log", __name__)

    @views.post("/feedback", endpoint="feedback")
    def post_feedback() -> Response:
        return feedback.store_labels(log, live_models, json_body.read(request, max_body), max_rows)

    @views.get("/stats")
    def stats() -> Response:
        use_case, hours = _query()
        result = statistics(log, use_case, hours)
        if use_case is not None and not result["use_cases"] and use_case not in live_models.names:
            raise NotFound(f"Unknown use case; known: {', '.join(live_models.names) or 'none yet'}.")
        return json_response(result)

    return views


def _query() -> tuple[str | None, int | None]:
    """Read the parameters `use_case` and `hours`; BadRequest names an invalid one."""
    for name in request.args:
        if name not in {"use_case", "hours"}:
            raise BadRequest(f"Unknown parameter {quoted(name)}; known: use_case, hours.")
        if len(request.args.getlist(name)) > 1:
            raise BadRequest(f"{name} appears twice.")
    hours = request.args.get("hours")
    if hours is None:
        return request.args.get("use_case"), None
    if not re.fullmatch("[1-9][0-9]{0,5}", hours) or int(hours) > MAX_HOURS:
        raise BadRequest(f"hours: {quoted(hours)}, expected a whole number from 1 to {MAX_HOURS}.")
    return request.args.get("use_case"), int(hours)
