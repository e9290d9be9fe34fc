"""The OpenAPI 3.1 document, made from the signatures of the models that are live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serving.models.live_models import Live
from serving.openapi import responses, samples, schemas
from serving.openapi.paths import ID, operations, refer
from serving.predict.predictor import Answered
from serving.predict.responses import as_csv, as_json
from updraft.model.signature import Signature

ABOUT = """\
Predictions of verified models. Each use case has its own path and schema, made from the signature of the version that
is live now: this document changes with it.

Pages for people: `/` (the models), `/<use case>` (a form), `/docs`, `/train`.
"""
VERSION = {"X-Model-Version": {"description": "The version that answered.", "schema": {"type": "integer"}}}
SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "bearerKey": {"type": "http", "scheme": "bearer", "description": "The API key as a bearer token."},
    "basicKey": {"type": "http", "scheme": "basic", "description": "The API key as the password of any user."},
}
TOKEN = {"type": "http", "scheme": "bearer", "description": "The token for training."}


def document(
    lives: Mapping[str, Live], names: list[str], *, trains: bool, keys: bool, max_rows: int, logs: bool = True
) -> dict[str, Any]:
    """Describe the service: what each live model takes and answers, and the rest.

    `names` are the known use cases, loaded or not; `trains`, `keys` and `logs` say whether training, API keys and the
    prediction log are on.
    """
    cases = dict(sorted(lives.items()))
    missing = sorted(set(names) - cases.keys())
    told = f"{ABOUT}\nNot loaded now: {', '.join(missing)}.\n" if missing else ABOUT
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Updraft", "version": "1", "description": told},
        "tags": _tags(cases, trains=trains, logs=logs),
        "paths": {f"/predict/{name}": {"post": _predict(live, max_rows)} for name, live in cases.items()},
        "components": {"schemas": {}, "responses": responses.problems(), "securitySchemes": {}},
    }
    described["paths"] |= operations(_labels(cases), trains=trains, keys=keys, logs=logs)
    described["components"]["schemas"] = responses.schemas() | {
        name: schema for live in cases.values() for name, schema in _schemas(live).items()
    }
    if keys:
        described["security"] = [{name: []} for name in SCHEMES]
        described["components"]["securitySchemes"] |= SCHEMES
    if trains:
        described["components"]["securitySchemes"]["trainToken"] = TOKEN
    return described


def example(live: Live) -> Answered:
    """Let a model answer its own example."""
    signature = live.model.signature
    rows = signature.check([signature.example])
    prediction = live.model.predict(rows.frame())
    return Answered(live, rows, prediction, ID["examples"])


def _tags(cases: Mapping[str, Live], *, trains: bool, logs: bool) -> list[dict[str, str]]:
    tags = [{"name": name, "description": live.model.signature.title} for name, live in cases.items()]
    tags.append({"name": "service", "description": "What is served, and whether it is well."})
    if logs:
        tags.append({"name": "log", "description": "True labels that come later, and figures of what was answered."})
    if trains:
        tags.append({"name": "training", "description": "Start a use case's DAG and follow its run."})
    return tags


def _labels(cases: Mapping[str, Live]) -> dict[str, Any]:
    """Describe what may be a true label of any of the models: values and names, and numbers of a regression."""
    signatures = [live.model.signature for live in cases.values()]
    listed = {told for each in signatures for label in each.labels for told in (label.value, label.name)}
    kinds: list[dict[str, Any]] = [{"enum": sorted(listed, key=str)}] if listed else []
    if any(each.task == "regression" for each in signatures):
        kinds.append({"type": "number"})
    return {"anyOf": kinds} if kinds else {"type": ["string", "number"]}


def _predict(live: Live, max_rows: int) -> dict[str, Any]:
    name, signature = live.use_case, live.model.signature
    answered = example(live)
    return {
        "operationId": f"predict_{name}",
        "tags": [name],
        "summary": signature.title,
        "description": f"Answered by version {live.version}, {signature.candidate}; it tells {signature.target}.",
        "requestBody": {
            "required": True,
            "description": f"One row, or {max_rows:,} at most; more are 413.",
            "content": _bodies(name, signature),
        },
        "responses": {
            "200": {
                "description": "One entry for each row, in the order of the rows.",
                "headers": VERSION,
                "content": {
                    "application/json": {"schema": refer(f"{name}.answer"), "example": as_json(answered).get_json()},
                    "text/csv": {"schema": {"type": "string"}, "example": as_csv(answered).get_data(as_text=True)},
                },
            },
            **responses.references(),
        },
    }


def _bodies(name: str, signature: Signature) -> dict[str, Any]:
    example = signature.example
    lists = {column: [value] for column, value in example.items()}
    lines = {"schema": {"type": "string", "description": f"An object in each line: {json.dumps(example)}"}}
    return {
        "application/json": {
            "schema": {"anyOf": [refer(f"{name}.row"), refer(f"{name}.rows"), refer(f"{name}.columns")]},
            "examples": {
                "row": {"summary": "one row", "value": example},
                "rows": {"summary": "rows", "value": {"rows": [example]}},
                "columns": {"summary": "columns", "value": {"columns": lists}},
            },
        },
        "text/csv": {"schema": {"type": "string"}, "example": samples.csv_of([example])},
        "application/jsonl": lines,
        "application/x-ndjson": lines,
    }


def _schemas(live: Live) -> dict[str, Any]:
    name, signature = live.use_case, live.model.signature
    rows = {"type": "array", "items": refer(f"{name}.row"), "minItems": 1}
    return {
        f"{name}.row": {"title": signature.title, **schemas.row(signature)},
        f"{name}.rows": _wrapped("rows", rows),
        f"{name}.columns": _wrapped("columns", schemas.columns(signature)),
        f"{name}.answer": responses.answer(signature),
    }


def _wrapped(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}
