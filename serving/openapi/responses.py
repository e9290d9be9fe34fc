"""The responses of the OpenAPI document: predictions and problems."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serving.openapi.paths import ID, ref
from serving.server.problems import MEDIA_TYPE
from updraft.model.signature import MAX_ERRORS, Signature

ERRORS = {
    400: "The body cannot be parsed: invalid JSON or CSV, duplicate keys, NaN; or explain is neither true nor false",
    401: "The API key is missing or unknown",
    404: "Unknown use case; the detail lists the known ones",
    405: "Method not allowed: see Allow",
    408: "The body took too long to arrive",
    406: "An answer that is not available, as an explanation that is not JSON",
    409: "The live version cannot be explained; the detail says why",
    411: "The body has no Content-Length",
    413: "Too many bytes or rows, or rows to explain",
    415: "Unsupported media type, or a compressed body",
    422: f"Rows that do not match the schema: each error with its JSON Pointer, at most {MAX_ERRORS}",
    429: "Too many requests: retry after Retry-After seconds",
    500: "Internal error; the log has the details under this instance",
    503: "Overloaded, or no verified model is loaded: retry after Retry-After seconds",
}
WAIT = {"Retry-After": {"description": "Seconds to wait before a retry.", "schema": {"type": "integer", "minimum": 0}}}


def predictions(signature: Signature) -> dict[str, Any]:
    """Return the schema of a model's JSON response."""
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    names = [label.name for label in signature.labels]
    values: dict[str, Any] = {"enum": [label.value for label in signature.labels]} if names else {"type": "number"}
    properties: dict[str, Any] = {
        "use_case": {"const": signature.use_case},
        "version": {"type": "integer", "minimum": 1},
        "predictions": {"type": "array", "items": {"description": f"values of {signature.target}", **values}},
    }
    if signature.threshold is not None:
        about = f"The lowest probability at which {signature.positive!r} is predicted."
        properties["threshold"] = {"type": "number", "description": about}
    if names:
        properties["labels"] = {"type": "array", "items": {"enum": names}}
    if signature.task == "binary":
        about = f"The probability of {signature.positive!r} for each row."
        properties["probabilities"] = {"type": "array", "items": probability, "description": about}
    elif signature.task == "multiclass":
        about = "The probabilities of all labels for each row."
        row = {"type": "object", "properties": dict.fromkeys(names, probability), "required": names}
        properties["probabilities"] = {"type": "array", "items": row, "description": about}
    required = list(properties)
    properties["prediction_ids"] = {
        "type": "array",
        "items": ID,
        "description": "Absent if predictions are not logged.",
    }
    properties["explanation"] = _explanation(signature)
    properties["warnings"] = {"type": "array", "items": ref("Fault"), "maxItems": MAX_ERRORS}
    return {"type": "object", "properties": properties, "required": [*required, "warnings"]}


def _explanation(signature: Signature) -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "number"}
    columns = {"type": "object", "properties": dict.fromkeys(signature.names, number), "required": signature.names}
    row: dict[str, Any] = {"score": number, "baseline": number, "contributions": columns}
    if signature.labels:
        row = {"label": {"enum": [label.name for label in signature.labels]}} | row
    members = {
        "method": text,
        "scale": {**text, "description": "What a score is."},
        "reference": {**text, "description": "What a baseline is."},
        "rows": {"type": "array", "items": {"type": "object", "properties": row, "required": list(row)}},
    }
    about = "Only with `explain=true`: of each row the baseline and all contributions add up to the score."
    return {"type": "object", "description": about, "properties": members, "required": list(members)}


def schemas() -> dict[str, Any]:
    """Return the schemas of a problem and of the errors it lists."""
    text = {"type": "string"}
    return {
        "Fault": {
            "type": "object",
            "properties": {"pointer": {**text, "description": "A JSON Pointer (RFC 6901)."}, "detail": text},
            "required": ["pointer", "detail"],
        },
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "properties": {
                "type": text,
                "title": text,
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": text,
                "instance": text,
                "errors": {"type": "array", "items": ref("Fault"), "maxItems": MAX_ERRORS},
            },
            "required": ["type", "title", "status", "detail"],
        },
    }


def problems() -> dict[str, Any]:
    """Return the error responses by status."""
    return {str(status): _problem(status, about) for status, about in ERRORS.items()} | {
        "default": _problem(None, "An error")
    }


def references() -> dict[str, Any]:
    """Return references to the error responses of a prediction."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in ERRORS if status != 405}


def _problem(status: int | None, about: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": ref("Problem")}
    if status is not None:
        content["example"] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": f"{about}.",
            **({"errors": [{"pointer": "/rows/0/age", "detail": "required and missing"}]} if status == 422 else {}),
        }
    response: dict[str, Any] = {"description": f"{about}.", "content": {MEDIA_TYPE: content}}
    return response | ({"headers": WAIT} if status in {429, 503} else {})
