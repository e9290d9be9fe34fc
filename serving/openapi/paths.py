"""The paths of the OpenAPI document that do not depend on the live models."""

from __future__ import annotations

from typing import Any

import msgspec

from serving.prediction_log.records import PredictionId
from serving.prediction_log.stats import MAX_HOURS
from serving.training import trigger
from updraft.registry import s3 as bucket
from updraft.run_params import RunParams

ID: dict[str, Any] = msgspec.json.schema(PredictionId) | {"examples": ["0190f3c2d1a07b3c5d8e9f0a1b2c3d4e.0"]}
NAME = {"type": "string", "pattern": f"^{bucket.NAME.pattern}$", "examples": ["vehicle_insurance"]}
IDEMPOTENCY_KEY = {"type": "string", "pattern": f"^{trigger.IDEMPOTENCY_KEY.pattern}$"}
RUN = {
    "type": "string",
    "pattern": f"^{trigger.PREFIX}{trigger.IDEMPOTENCY_KEY.pattern}$",
    "examples": ["service__nightly-1"],
}
TEXT, WHOLE = {"type": "string"}, {"type": "integer", "minimum": 0}
NULLABLE_TEXT = {"type": ["string", "null"]}

Operation = dict[str, Any]


def ref(name: str) -> dict[str, str]:
    """Return a reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def operations(labels: dict[str, Any], *, trains: bool, keys: bool, logs: bool) -> dict[str, Any]:
    """Return all paths except /predict/…; `labels` is the schema of a true label."""
    paths = _service()
    if logs:
        paths |= _log(labels)
    if trains:
        paths |= _training(keys)
    return paths


def _service() -> dict[str, Any]:
    models = _object({"models": {"type": "array", "items": _object({"use_case": NAME, "version": _nullable(WHOLE)})}})
    ready = _object({"status": {"const": "ready"}, "versions": {"type": "object", "additionalProperties": WHOLE}})
    index = _object({"service": TEXT, "use_cases": {"type": "array", "items": NAME}})
    plain = {"text/plain": {"schema": TEXT}}
    return {
        "/": {"get": _get("index", "Use cases and endpoints; a web page for browsers", index)},
        "/models": {"get": _get("models", "Live versions, their metrics, rollouts, and refused versions", models)},
        "/healthz": {"get": _public(_get("healthz", "Whether the process is alive", _object({"status": TEXT})))},
        "/readyz": {"get": _public(_get("readyz", "Whether a verified model is loaded: 503 until then", ready))},
        "/metrics": {"get": _get("metrics", "Metrics for Prometheus", None, content=plain)},
        "/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
    }


def _log(labels: dict[str, Any]) -> dict[str, Any]:
    one = _object({"prediction_id": ID, "label": labels}) | {"additionalProperties": False}
    many = _object({"feedback": {"type": "array", "items": one, "minItems": 1}})
    many["additionalProperties"] = False
    about = "True labels, as values of the target or by name. Either all are stored or none."
    query = [
        {"name": "use_case", "in": "query", "schema": NAME},
        {"name": "hours", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": MAX_HOURS}},
    ]
    feedback = {
        "operationId": "feedback",
        "tags": ["log"],
        "summary": "Send the true labels of predictions",
        "description": about,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": [one, many]}}}},
        "responses": _responses("The labels are stored.", _object({"stored": WHOLE})),
    }
    stats = _get("stats", "Totals and latencies of predictions", {"type": "object"}) | {"tags": ["log"]}
    return {"/feedback": {"post": feedback}, "/stats": {"get": stats | {"parameters": query}}}


def _training(keys: bool) -> dict[str, Any]:
    use_case = {"name": "use_case", "in": "path", "required": True, "schema": NAME}
    run_id = {"name": "run_id", "in": "path", "required": True, "schema": RUN}
    about = "Repeating a request with the same key and parameters returns the run that was started before."
    key = {"name": "Idempotency-Key", "in": "header", "description": about, "schema": IDEMPOTENCY_KEY}
    started = _object({"use_case": NAME, "run_id": TEXT, "state": TEXT, "url": TEXT})
    location = {"Location": {"description": "MakePointer to follow the run.", "schema": TEXT}}
    secured = {"tags": ["training"], "security": [{"trainToken": [], **({"apiKey": []} if keys else {})}]}
    start = {
        "operationId": "train",
        "summary": "Start training",
        "parameters": [key],
        "requestBody": {"required": False, "content": {"application/json": {"schema": _parameters()}}},
        "responses": _responses("The run is queued or running.", started, status=202, headers=location),
    }
    follow = _get("run", "Follow a training run started by this service", _run()) | {"parameters": [run_id]}
    return {
        "/train/{use_case}": {"parameters": [use_case], "post": start | secured},
        "/train/{use_case}/{run_id}": {"parameters": [use_case], "get": follow | secured},
    }


def _parameters() -> dict[str, Any]:
    schema = RunParams.model_json_schema()
    properties = {
        name: {key: value for key, value in property_.items() if key not in {"title", "default"}}
        for name, property_ in schema["properties"].items()
    }
    about = "Overrides of the use case's YAML for this run; null or absent keeps the YAML's value."
    return {"type": "object", "description": about, "properties": properties, "additionalProperties": False}


def _run() -> dict[str, Any]:
    task = {"name": TEXT, "candidate": NULLABLE_TEXT, "state": TEXT, "started": NULLABLE_TEXT, "ended": NULLABLE_TEXT}
    run = {"use_case": NAME, "run_id": RUN, "state": TEXT, "started": NULLABLE_TEXT, "ended": NULLABLE_TEXT}
    run |= {
        "outcome": NULLABLE_TEXT,
        "version": _nullable(WHOLE),
        "reason": NULLABLE_TEXT,
        "airflow_url": NULLABLE_TEXT,
    }
    return _object(run | {"tasks": {"type": "array", "items": _object(task)}})


def _get(name: str, summary: str, schema: dict[str, Any] | None, content: dict[str, Any] | None = None) -> Operation:
    responses = _responses(summary, schema, content=content)
    return {"operationId": name, "tags": ["service"], "summary": summary, "responses": responses}


def _public(operation: Operation) -> Operation:
    return operation | {"security": []}


def _responses(
    summary: str,
    schema: dict[str, Any] | None,
    *,
    status: int = 200,
    headers: dict[str, Any] | None = None,
    content: dict[str, Any] | None = None,
) -> dict[str, Any]:
    response: dict[str, Any] = {"description": f"{summary.rstrip('.')}."}
    response["content"] = content or {"application/json": {"schema": schema}}
    if headers:
        response["headers"] = headers
    return {str(status): response, "default": {"$ref": "#/components/responses/default"}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"type": [schema["type"], "null"]}
