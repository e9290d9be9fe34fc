"""The OpenAPI 3.1 document, generated from the signatures of the live models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serving.body.request_rows import ARROW
from serving.models.live_model import LiveModel
from serving.openapi import responses, samples, schemas
from serving.openapi.paths import ID, operations, ref
from serving.predict import explanations
from serving.predict.predictor import PredictionResult
from serving.predict.responses import as_csv, as_json
from updraft.model.compiled.explain import NotExplained
from updraft.model.signature import Signature

ABOUT = """\
Predictions of verified models. Each use case has its own path and schema, generated from the signature of its live
version: this document changes when a new version goes live.

Web pages: `/` (the models), `/<use case>` (a form), `/docs`, `/train`.
"""
CALLER = {
    "name": "X-Updraft-Key",
    "in": "header",
    "description": "Names the caller, a customer for instance: while a version is tried as a canary, requests of one "
    "key are all answered by the same version. Without it the same body is.",
    "schema": {"type": "string"},
}
EXPLAIN = {
    "name": explanations.PARAMETER,
    "in": "query",
    "description": "With `true` the answer has an `explanation`: what each column adds to the score, so that a "
    "baseline and all columns together are the score. JSON answers only.",
    "schema": {"type": "boolean", "default": False},
}
VERSION = {"X-Model-Version": {"description": "The model version that predicted.", "schema": {"type": "integer"}}}
SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearerKey": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token."},
    "basicKey": {"type": "http", "scheme": "basic", "description": "The API key as the password; any user name."},
}
TOKEN = {"type": "http", "scheme": "bearer", "description": "The token for training."}


def document(
    live: Mapping[str, LiveModel], names: list[str], *, trains: bool, keys: bool, max_rows: int, logs: bool = True
) -> dict[str, Any]:
    """Build the document: requests and responses of each live model, and the paths that are the same for all.

    `names` are the known use cases, loaded or not; `trains`, `keys` and `logs` are whether training, API keys and the
    prediction log are on.
    """
    cases = dict(sorted(live.items()))
    missing = sorted(set(names) - cases.keys())
    about = f"{ABOUT}\nNot loaded now: {', '.join(missing)}.\n" if missing else ABOUT
    result: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Updraft", "version": "1", "description": about},
        "tags": _tags(cases, trains=trains, logs=logs),
        "paths": {f"/predict/{name}": {"post": _predict(live, max_rows)} for name, live in cases.items()},
        "components": {"schemas": {}, "responses": responses.problems(), "securitySchemes": {}},
    }
    result["paths"] |= operations(_labels(cases), trains=trains, keys=keys, logs=logs)
    result["components"]["schemas"] = responses.schemas() | {
        name: schema for live in cases.values() for name, schema in _schemas(live).items()
    }
    if keys:
        result["security"] = [{name: []} for name in SCHEMES]
        result["components"]["securitySchemes"] |= SCHEMES
    if trains:
        result["components"]["securitySchemes"]["trainToken"] = TOKEN
    return result


def example(live: LiveModel) -> PredictionResult:
    """Predict a model's own example row."""
    signature = live.model.signature
    rows = signature.check([signature.example], plain=True)
    prediction = live.model.predict_rows(rows)
    return PredictionResult(live, rows, prediction, ID["examples"])


def _tags(cases: Mapping[str, LiveModel], *, trains: bool, logs: bool) -> list[dict[str, str]]:
    tags = [{"name": name, "description": live.model.signature.title} for name, live in cases.items()]
    tags.append({"name": "service", "description": "The live models and the health of the service."})
    if logs:
        tags.append({"name": "log", "description": "True labels of past predictions, and statistics."})
    if trains:
        tags.append({"name": "training", "description": "Start the DAG of a use case and follow its run."})
    return tags


def _labels(cases: Mapping[str, LiveModel]) -> dict[str, Any]:
    """Return the schema of a true label of any model: values and names of labels, and numbers for regressions."""
    signatures = [live.model.signature for live in cases.values()]
    labels = {value for each in signatures for label in each.labels for value in (label.value, label.name)}
    kinds: list[dict[str, Any]] = [{"enum": sorted(labels, key=str)}] if labels else []
    if any(each.task == "regression" for each in signatures):
        kinds.append({"type": "number"})
    return {"anyOf": kinds} if kinds else {"type": ["string", "number"]}


def _predict(live: LiveModel, max_rows: int) -> dict[str, Any]:
    name, signature = live.use_case, live.model.signature
    predictions = example(live)
    return {
        "operationId": f"predict_{name}",
        "tags": [name],
        "summary": signature.title,
        "description": f"Version {live.version}, {signature.candidate}, predicts {signature.target}.",
        "parameters": [CALLER, _explain(live)],
        "requestBody": {
            "required": True,
            "description": f"One row, or up to {max_rows:,}; more are refused with 413.",
            "content": _bodies(name, signature),
        },
        "responses": {
            "200": {
                "description": "One entry per row, in the order of the rows.",
                "headers": VERSION,
                "content": {
                    "application/json": {"schema": ref(f"{name}.answer"), "example": as_json(predictions).get_json()},
                    "text/csv": {"schema": {"type": "string"}, "example": as_csv(predictions).get_data(as_text=True)},
                    ARROW: {},
                },
            },
            **responses.references(),
        },
    }


def _explain(live: LiveModel) -> dict[str, Any]:
    """Describe the parameter, also how many rows are explained, or why none is."""
    try:
        limit = f"At most {explanations.require_compiled(live).most_explained:,} rows."
    except NotExplained as error:
        limit = f"This version answers 409: {error}."
    return EXPLAIN | {"description": f"{EXPLAIN['description']} {limit}"}


def _bodies(name: str, signature: Signature) -> dict[str, Any]:
    example = signature.example
    lists = {column: [value] for column, value in example.items()}
    lines = {"schema": {"type": "string", "description": f"One object per line: {json.dumps(example)}"}}
    return {
        "application/json": {
            "schema": {"anyOf": [ref(f"{name}.row"), ref(f"{name}.rows"), ref(f"{name}.columns")]},
            "examples": {
                "row": {"summary": "one row", "value": example},
                "rows": {"summary": "rows", "value": {"rows": [example]}},
                "columns": {"summary": "columns", "value": {"columns": lists}},
            },
        },
        "text/csv": {"schema": {"type": "string"}, "example": samples.csv_of([example], signature.reading)},
        "application/jsonl": lines,
        "application/x-ndjson": lines,
        ARROW: {},
    }


def _schemas(live: LiveModel) -> dict[str, Any]:
    name, signature = live.use_case, live.model.signature
    rows = {"type": "array", "items": ref(f"{name}.row"), "minItems": 1}
    return {
        f"{name}.row": {"title": signature.title, **schemas.row(signature)},
        f"{name}.rows": _wrapped("rows", rows),
        f"{name}.columns": _wrapped("columns", schemas.columns(signature)),
        f"{name}.answer": responses.predictions(signature),
    }


def _wrapped(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}
