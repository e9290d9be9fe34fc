"""Predictions as a response: JSON, CSV or a stream of Arrow."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import msgspec
from flask import Response
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import NotAcceptable
from werkzeug.http import parse_accept_header

from serving.body.request_rows import ARROW
from serving.predict.explanations import as_member
from serving.predict.predictor import PredictionResult

JSON = "application/json"
ENCODER = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def wanted(accept: str) -> str:
    """Return the media type that an Accept header, empty if there is none, prefers: one of ANSWERS."""
    return parse_accept_header(accept, MIMEAccept).best_match(ANSWERS, ANSWERS[0])


def form(accept: str) -> Form:
    """Return what makes the response that an Accept header prefers. Raises NotAcceptable for Arrow without pyarrow."""
    media_type = wanted(accept)
    if media_type == ARROW and find_spec("pyarrow") is None:
        raise NotAcceptable(f"{ARROW} needs pyarrow: use the image serving-full.")
    return FORMS[media_type]


def as_json(result: PredictionResult) -> Response:
    """Return predictions as JSON: see `json_answer`."""
    headers, content = json_answer(result)
    return Response(content, headers=headers)


def json_answer(result: PredictionResult) -> tuple[dict[str, str], bytes]:
    """Return headers and body of predictions as JSON.

    The body has labels, probabilities and threshold if the model has them, ids if predictions are logged, and the
    explanation if it was asked for.
    """
    signature, prediction, explanation = result.live.model.signature, result.prediction, result.explanation
    members = {
        "use_case": result.live.use_case,
        "version": result.live.version,
        "threshold": signature.threshold,
        "predictions": prediction.predictions,
        "labels": prediction.names,
        "probabilities": prediction.probabilities,
        "prediction_ids": result.ids,
        "warnings": result.rows.warnings,
        "explanation": explanation and as_member(explanation, signature.names),
    }
    content = ENCODER.encode({name: value for name, value in members.items() if value is not None})
    return {"Content-Type": "application/json", **_version(result)}, content


def as_csv(result: PredictionResult) -> Response:
    """Return a CSV line per row: its own id if one was sent, prediction, label, probabilities, prediction id.

    Probabilities are those of each label, or of the positive one. The header X-Warnings has the number of warnings.
    """
    columns = _table(result)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return Response(text.getvalue(), content_type="text/csv; charset=utf-8", headers=_headers(result))


def as_arrow(result: PredictionResult) -> Response:
    """Return the columns of `as_csv` as a stream of Arrow."""
    import pyarrow as pa  # memory for those who use it

    table = pa.table({name: _typed(values) for name, values in _table(result).items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), content_type=ARROW, headers=_headers(result))


def _typed(values: list[Any]) -> list[Any]:
    """Make a column's values texts unless they are all of one type: callers' own ids may be anything."""
    if len({type(value) for value in values if value is not None}) < 2:
        return values
    return [None if value is None else str(value) for value in values]


def _table(result: PredictionResult) -> dict[str, list[Any]]:
    columns: dict[str, Any] = {}
    if result.rows.ids is not None:
        columns[f"{result.live.model.signature.id}"] = result.rows.ids
    columns["prediction"] = result.prediction.predictions
    if result.prediction.names is not None:
        columns["label"] = result.prediction.names
    columns |= _probabilities(result)
    if result.ids is not None:
        columns["prediction_id"] = result.ids
    return columns


def _probabilities(result: PredictionResult) -> dict[str, Any]:
    probabilities = result.prediction.probabilities
    if probabilities is None:
        return {}
    if not isinstance(probabilities[0], dict):
        return {"probability": probabilities}
    return {f"probability of {label}": [row[label] for row in probabilities] for label in probabilities[0]}


def _version(result: PredictionResult) -> dict[str, str]:
    return {"X-Model-Version": str(result.live.version)}


def _headers(result: PredictionResult) -> dict[str, str]:
    return _version(result) | {"X-Warnings": str(len(result.rows.warnings))}


Form = Callable[[PredictionResult], Response]
FORMS: dict[str, Form] = {
    JSON: as_json,
    "text/csv": as_csv,
    ARROW: as_arrow,
}
ANSWERS = tuple(FORMS)
