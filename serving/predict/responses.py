"""Answers to rows, as JSON or as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
from flask import Response

from serving.predict.predictor import Answered

ENCODER = msgspec.json.Encoder()


def as_json(answered: Answered) -> Response:
    """Answer JSON; labels, probabilities and threshold only where the model has them, ids where they are logged."""
    signature, prediction = answered.live.model.signature, answered.prediction
    told = {
        "use_case": answered.live.use_case,
        "version": answered.live.version,
        "threshold": signature.threshold,
        "predictions": prediction.predictions,
        "labels": prediction.names,
        "probabilities": prediction.probabilities,
        "prediction_ids": answered.ids,
        "warnings": answered.rows.warnings,
    }
    content = ENCODER.encode({name: value for name, value in told.items() if value is not None})
    return Response(content, content_type="application/json", headers=_version(answered))


def as_csv(answered: Answered) -> Response:
    """Answer a line for each row: prediction, label, probabilities (of each label, or of the positive one), id.

    Warnings are counted in the header X-Warnings.
    """
    columns: dict[str, Any] = {"prediction": answered.prediction.predictions}
    if answered.prediction.names is not None:
        columns["label"] = answered.prediction.names
    columns |= _probabilities(answered)
    if answered.ids is not None:
        columns["prediction_id"] = answered.ids
    sink = io.StringIO()
    lines = csv.writer(sink, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*columns.values(), strict=True))
    headers = _version(answered) | {"X-Warnings": str(len(answered.rows.warnings))}
    return Response(sink.getvalue(), content_type="text/csv; charset=utf-8", headers=headers)


def _probabilities(answered: Answered) -> dict[str, Any]:
    found = answered.prediction.probabilities
    if found is None:
        return {}
    if not isinstance(found[0], dict):
        return {"probability": found}
    return {f"probability of {name}": [each[name] for each in found] for name in found[0]}


def _version(answered: Answered) -> dict[str, str]:
    return {"X-Model-Version": str(answered.live.version)}
