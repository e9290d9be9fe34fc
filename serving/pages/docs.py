"""The contents of the API documentation page, derived from the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serving.openapi import samples


def page_data(document: Mapping[str, Any], base: str, *, keys: bool) -> dict[str, Any]:
    """Return the template's values; `base` is the service's URL, for the examples."""
    url = base.rstrip("/")
    predict = {path: item["post"] for path, item in document["paths"].items() if path.startswith("/predict/")}
    cases = [_case(document, path, operation, url, keys=keys) for path, operation in predict.items()]
    return {"base": url, "cases": cases, "errors": _errors(document), "others": _others(document)}


def _case(
    document: Mapping[str, Any], path: str, operation: Mapping[str, Any], url: str, *, keys: bool
) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    schema = document["components"]["schemas"][f"{name}.row"]
    content = operation["requestBody"]["content"]
    row = content["application/json"]["examples"]["row"]["value"]
    response = operation["responses"]["200"]["content"]["application/json"]["example"]
    label = (response.get("labels") or response["predictions"])[0]
    return {
        "name": name,
        "title": operation["summary"],
        "about": operation["description"],
        "columns": [_column(column, each, schema["required"]) for column, each in schema["properties"].items()],
        "curl": samples.curl(url + path, row, keys=keys),
        "csv": samples.curl_csv(url + path, content["text/csv"]["example"], keys=keys),
        "python": samples.python(url + path, row, keys=keys),
        "response": response,
        "feedback": samples.feedback(f"{url}/feedback", response["prediction_ids"][0], label, keys=keys),
    }


def _column(name: str, schema: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    kinds = schema.get("type", "any")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    return {
        "name": name,
        "title": schema.get("title"),
        "type": next(kind for kind in kinds if kind != "null"),
        "null": "null" in kinds or name not in required,
        "allowed": [(value, _value_name(value, schema)) for value in schema.get("enum", []) if value is not None],
        "about": schema["description"],
    }


def _value_name(value: Any, schema: Mapping[str, Any]) -> str:
    key = value if isinstance(value, str) else json.dumps(value)
    return str(schema.get("x-enumDescriptions", {}).get(key, ""))


def _errors(document: Mapping[str, Any]) -> dict[str, str]:
    responses = document["components"]["responses"]
    return {status: each["description"] for status, each in responses.items() if status.isdigit()}


def _others(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the other operations: method, path, summary."""
    return [
        {"method": method.upper(), "path": path, "summary": operation["summary"]}
        for path, item in document["paths"].items()
        if not path.startswith("/predict/")
        for method, operation in item.items()
        if method in {"get", "post"}
    ]
