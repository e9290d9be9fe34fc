"""The paths of the OpenAPI document that are the same whichever models are live."""

from __future__ import annotations

from typing import Any

import msgspec

from serving.prediction_log.records import PredictionId
from serving.prediction_log.stats import MOST_HOURS
from serving.training import trigger
from updraft.registry import s3 as bucket
from updraft.run_params import RunParams

ID: dict[str, Any] = msgspec.json.schema(PredictionId) | {"examples": ["0190f3c2d1a07b3c5d8e9f0a1b2c3d4e.0"]}
NAME = {"type": "string", "pattern": f"^{bucket.NAME.pattern}$", "examples": ["vehicle_insurance"]}
KEY = {"type": "string", "pattern": f"^{trigger.KEY.pattern}$"}
RUN = {"type": "string", "pattern": f"^{trigger.PREFIX}{trigger.KEY.pattern}$", "examples": ["service__nightly-1"]}
TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
MAYBE = {"type": ["string", "null"]}

Operation = dict[str, Any]


def refer(name: str) -> dict[str, str]:
    """Refer to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def operations(labels: dict[str, Any], *, trains: bool, keys: bool, logs: bool) -> dict[str, Any]:
    """Describe every path but those of predictions; `labels` is the schema of a true label."""
    found = _service()
    if logs:
        found |= _log(labels)
    if trains:
        found |= _training(keys)
    return found


def _service() -> dict[str, Any]:
    models = _object({"models": {"type": "array", "items": _object({"use_case": NAME, "version": _maybe(WHOLE)})}})
    ready = _object({"status": {"const": "ready"}, "versions": {"type": "object", "additionalProperties": WHOLE}})
    index = _object({"service": TEXT, "use_cases": {"type": "array", "items": NAME}})
    plain = {"text/plain": {"schema": TEXT}}
    return {
        "/": {"get": _get("index", "The use cases and the endpoints; a page for browsers", index)},
        "/models": {"get": _get("models", "The live versions, their metrics, and versions that were refused", models)},
        "/healthz": {"get": _open(_get("healthz", "Whether the process answers", _object({"status": TEXT})))},
        "/readyz": {"get": _open(_get("readyz", "Whether a verified model is loaded: 503 until then", ready))},
        "/metrics": {"get": _get("metrics", "Figures for Prometheus", None, content=plain)},
        "/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
    }


def _log(labels: dict[str, Any]) -> dict[str, Any]:
    one = _object({"prediction_id": ID, "label": labels}) | {"additionalProperties": False}
    many = _object({"feedback": {"type": "array", "items": one, "minItems": 1}})
    many["additionalProperties"] = False
    told = "True labels, as values of the target or by their names. All are stored, or none."
    asked = [
        {"name": "use_case", "in": "query", "schema": NAME},
        {"name": "hours", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MOST_HOURS}},
    ]
    feedback = {
        "operationId": "feedback",
        "tags": ["log"],
        "summary": "Tell what was true",
        "description": told,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": [one, many]}}}},
        "responses": _responses("The labels are stored.", _object({"stored": WHOLE})),
    }
    stats = _get("stats", "Totals and latencies of what was answered", {"type": "object"}) | {"tags": ["log"]}
    return {"/feedback": {"post": feedback}, "/stats": {"get": stats | {"parameters": asked}}}


def _training(keys: bool) -> dict[str, Any]:
    use_case = {"name": "use_case", "in": "path", "required": True, "schema": NAME}
    run_id = {"name": "run_id", "in": "path", "required": True, "schema": RUN}
    again = "The same key and parameters again answer with the run that was started before."
    key = {"name": "Idempotency-Key", "in": "header", "description": again, "schema": KEY}
    started = _object({"use_case": NAME, "run_id": TEXT, "state": TEXT, "url": TEXT})
    location = {"Location": {"description": "Where to follow the run.", "schema": TEXT}}
    secured = {"tags": ["training"], "security": [{"trainToken": [], **({"apiKey": []} if keys else {})}]}
    start = {
        "operationId": "train",
        "summary": "Start training",
        "parameters": [key],
        "requestBody": {"required": False, "content": {"application/json": {"schema": _parameters()}}},
        "responses": _responses("The run waits for its turn, or runs.", started, status=202, headers=location),
    }
    follow = _get("run", "Follow a run that was started here", _run()) | {"parameters": [run_id]}
    return {
        "/train/{use_case}": {"parameters": [use_case], "post": start | secured},
        "/train/{use_case}/{run_id}": {"parameters": [use_case], "get": follow | secured},
    }


def _parameters() -> dict[str, Any]:
    schema = RunParams.model_json_schema()
    properties = {
        name: {key: value for key, value in told.items() if key not in {"title", "default"}}
        for name, told in schema["properties"].items()
    }
    about = "What this run does otherwise than the use case's YAML; null and absent leave its word."
    return {"type": "object", "description": about, "properties": properties, "additionalProperties": False}


def _run() -> dict[str, Any]:
    task = {"name": TEXT, "candidate": MAYBE, "state": TEXT, "started": MAYBE, "ended": MAYBE}
    told = {"use_case": NAME, "run_id": RUN, "state": TEXT, "started": MAYBE, "ended": MAYBE}
    told |= {"outcome": MAYBE, "version": _maybe(WHOLE), "reason": MAYBE}
    return _object(told | {"tasks": {"type": "array", "items": _object(task)}})


def _get(name: str, summary: str, schema: dict[str, Any] | None, content: dict[str, Any] | None = None) -> Operation:
    responses = _responses(summary, schema, content=content)
    return {"operationId": name, "tags": ["service"], "summary": summary, "responses": responses}


def _open(operation: Operation) -> Operation:
    return operation | {"security": []}


def _responses(
    told: str,
    schema: dict[str, Any] | None,
    *,
    status: int = 200,
    headers: dict[str, Any] | None = None,
    content: dict[str, Any] | None = None,
) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": f"{told.rstrip('.')}."}
    answer["content"] = content or {"application/json": {"schema": schema}}
    if headers:
        answer["headers"] = headers
    return {str(status): answer, "default": {"$ref": "#/components/responses/default"}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [schema["type"], "null"]}
