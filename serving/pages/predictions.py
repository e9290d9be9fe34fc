"""The page of a model's recent predictions, and of one by its id."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from serving.models.live_models import LiveModels
from serving.pages import html
from serving.prediction_log import recent
from serving.prediction_log.prediction_log import PredictionLog

MAX_ID = 60  # characters that are repeated on the page


def add_page(views: Blueprint, live_models: LiveModels, log: PredictionLog) -> None:
    """Add the page: GET /models/<use case>/predictions?id=…"""

    @views.get("/models/<use_case>/predictions")
    def predictions(use_case: str) -> Response:
        if use_case not in live_models.names:
            raise NotFound(f"Unknown use case; known: {', '.join(live_models.names) or 'none yet'}.")
        lives = [live_models.live.get(use_case), live_models.rollouts.model(use_case)]
        signatures = [live.model.signature for live in lives if live]
        wanted = request.args.get("id", "").strip()
        values: dict[str, Any] = {"found": None, "error": "", "wanted": wanted[:MAX_ID]}
        status = 200
        if wanted:
            try:
                values["found"] = recent.find(log, use_case, wanted)
            except ValueError as error:
                values["error"], status = f"This is not a prediction ID: {error}.", 400
            else:
                if values["found"] is None:
                    values["error"], status = "There is no such prediction of this use case, or it is deleted.", 404
        # What has become private since must not be shown either.
        private = {name for signature in signatures for name in signature.private}
        return html.render(
            "predictions.html",
            status,
            name=use_case,
            signature=signatures[0] if signatures else None,
            private=private,
            requests=recent.recent(log, use_case, [live.version for live in lives if live]),
            **values,
        )
