"""What the OpenAPI document says of answers: those of a model, and problems."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from serving.openapi.paths import ID, refer
from serving.server.problems import MEDIA_TYPE
from updraft.model.signature import MAX_ERRORS, Signature

ERRORS = {
    400: "The body cannot be read: no JSON, no CSV, a key given twice, NaN",
    401: "A key is needed, or the one given is not known",
    404: "No such use case; the known ones are told",
    405: "The path has other methods: see Allow",
    408: "The body took too long to arrive",
    411: "The body has no Content-Length",
    413: "Too many bytes or rows",
    415: "A type of body that is not taken, or an encoded one",
    422: f"Rows that do not fit: every fault with its JSON Pointer, {MAX_ERRORS} at most",
    429: "Too many requests: wait as long as Retry-After says",
    500: "The service or the model failed; its log tells why, under this instance",
    503: "Busy, or no verified model is loaded: wait as long as Retry-After says",
}
WAIT = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}}


def answer(signature: Signature) -> dict[str, Any]:
    """Describe what a model answers as JSON."""
    share = {"type": "number", "minimum": 0, "maximum": 1}
    names = [label.name for label in signature.labels]
    values: dict[str, Any] = {"enum": [label.value for label in signature.labels]} if names else {"type": "number"}
    told: dict[str, Any] = {
        "use_case": {"const": signature.use_case},
        "version": {"type": "integer", "minimum": 1},
        "predictions": {"type": "array", "items": {"description": f"values of {signature.target}", **values}},
    }
    if signature.threshold is not None:
        about = f"The least probability at which {signature.positive!r} is answered."
        told["threshold"] = {"type": "number", "description": about}
    if names:
        told["labels"] = {"type": "array", "items": {"enum": names}}
    if signature.task == "binary":
        about = f"Of {signature.positive!r}, for each row."
        told["probabilities"] = {"type": "array", "items": share, "description": about}
    elif signature.task == "multiclass":
        each = {"type": "object", "properties": dict.fromkeys(names, share), "required": names}
        told["probabilities"] = {"type": "array", "items": each, "description": "Of each label, for each row."}
    required = list(told)
    told["prediction_ids"] = {"type": "array", "items": ID, "description": "Absent while predictions are not logged."}
    told["warnings"] = {"type": "array", "items": refer("Fault"), "maxItems": MAX_ERRORS}
    return {"type": "object", "properties": told, "required": [*required, "warnings"]}


def schemas() -> dict[str, Any]:
    """Describe a problem and what it lists."""
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
                "errors": {"type": "array", "items": refer("Fault"), "maxItems": MAX_ERRORS},
            },
            "required": ["type", "title", "status", "detail"],
        },
    }


def problems() -> dict[str, Any]:
    """Describe the answers to what went wrong, by their status."""
    return {str(status): _problem(status, told) for status, told in ERRORS.items()} | {
        "default": _problem(None, "An error")
    }


def references() -> dict[str, Any]:
    """Refer to the problems that may answer a prediction."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in ERRORS if status != 405}


def _problem(status: int | None, told: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": refer("Problem")}
    if status is not None:
        content["example"] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": f"{told}.",
            **({"errors": [{"pointer": "/rows/0/age", "detail": "required and missing"}]} if status == 422 else {}),
        }
    response: dict[str, Any] = {"description": f"{told}.", "content": {MEDIA_TYPE: content}}
    return response | ({"headers": WAIT} if status in {429, 503} else {})
