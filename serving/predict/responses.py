"""Predictions as a JSON or CSV response."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from typing import Any

import msgspec
from flask import Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from serving.predict.predictor import PredictionResult

ENCODER = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def wants_csv(accept: str) -> bool:
    """Whether an Accept header, empty if there is none, prefers CSV to JSON."""
    accepted = parse_accept_header(accept, MIMEAccept)
    return accepted.best_match(["application/json", "text/csv"], "application/json") == "text/csv"


def as_json(result: PredictionResult) -> Response:
    """Return predictions as JSON: see `json_answer`."""
    headers, content = json_answer(result)
    return Response(content, headers=headers)


def json_answer(result: PredictionResult) -> tuple[dict[str, str], bytes]:
    """Return headers and body of predictions as JSON.

    The body has labels, probabilities and threshold if the model has them, and ids if predictions are logged.
    """
    signature, prediction = result.live.model.signature, result.prediction
    members = {
        "use_case": result.live.use_case,
        "version": result.live.version,
        "threshold": signature.threshold,
        "predictions": prediction.predictions,
        "labels": prediction.names,
        "probabilities": prediction.probabilities,
        "prediction_ids": result.ids,
        "warnings": result.rows.warnings,
    }
    content = ENCODER.encode({name: value for name, value in members.items() if value is not None})
    return {"Content-Type": "application/json", **_version(result)}, content


def as_csv(result: PredictionResult) -> Response:
    """Return a CSV line per row: its own id if one was sent, prediction, label, probabilities, prediction id.

    Probabilities are those of each label, or of the positive one. The header X-Warnings has the number of warnings.
    """
    columns: dict[str, Any] = {}
    if result.rows.ids is not None:
        columns[f"{result.live.model.signature.id}"] = result.rows.ids
    columns["prediction"] = result.prediction.predictions
    if result.prediction.names is not None:
        columns["label"] = result.prediction.names
    columns |= _probabilities(result)
    if result.ids is not None:
        columns["prediction_id"] = result.ids
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    headers = _version(result) | {"X-Warnings": str(len(result.rows.warnings))}
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _probabilities(result: PredictionResult) -> dict[str, Any]:
    probabilities = result.prediction.probabilities
    if probabilities is None:
        return {}
    if not isinstance(probabilities[0], dict):
        return {"probability": probabilities}
    return {f"probability of {label}": [row[label] for row in probabilities] for label in probabilities[0]}


def _version(result: PredictionResult) -> dict[str, str]:
    return {"X-Model-Version": str(result.live.version)}
