"""Columns of a signature as JSON Schema (2020-12) and in words."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from updraft.model.columns import DATE, EXACT, LARGEST, Column
from updraft.model.signature import Signature

TYPES = {"int64": "integer", "float64": "number", "str": "string", "bool": "boolean", DATE: "string"}
KINDS = {"int64": "a whole number", "float64": "a number", "str": "text", "bool": "true or false", DATE: "a date, UTC"}
INT64 = (-(2**63), 2**63 - 1)
LONG = 10_000
FLOAT = (-LARGEST, LARGEST)
PYTHONS_OWN = re.compile(r"\(\?[^:=!<]|\(\?<[^=!]|\\[AZNUaxz]|[*+?}]\+")  # in a pattern, what ECMA 262 reads otherwise


def row(signature: Signature) -> dict[str, Any]:
    """Describe one raw row. The id may be there, and is passed over; every feature has to be."""
    properties = {column.name: value(column, signature) for column in signature.columns}
    if signature.id:
        properties[signature.id] = {"description": "Passed over; may be left out."}
    return {
        "type": "object",
        "properties": properties,
        "required": list(signature.names),
        "additionalProperties": False,
        "examples": [signature.example],
    }


def columns(signature: Signature) -> dict[str, Any]:
    """Describe a batch as one list for each column, all of one length, which JSON Schema cannot say."""
    properties = {
        name: {"type": "array", "items": schema, "minItems": 1} for name, schema in row(signature)["properties"].items()
    }
    return {
        "type": "object",
        "description": "A list for each column, all of one length.",
        "properties": properties,
        "required": list(signature.names),
        "additionalProperties": False,
        "examples": [{name: [told] for name, told in signature.example.items()}],
    }


def value(column: Column, signature: Signature) -> dict[str, Any]:
    """Describe a value of a column; a bound that is only warned of stands in the description alone."""
    kind = TYPES[column.type]
    schema: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    if column.allowed is not None and not signature.only_warns(column, "unseen"):
        schema["enum"] = [*options(column), *([None] if column.nullable else [])]
    schema |= _range(column, signature) | _text(column)
    schema["description"] = described(column, signature)
    if column.name in signature.example:
        schema["examples"] = [signature.example[column.name]]
    return schema


def options(column: Column) -> list[Any]:
    """List the allowed values as JSON has them; whole numbers without a fraction."""
    if column.type == "bool":
        return [bool(each) for each in column.allowed or ()]
    return [_plain(each) if isinstance(each, float) else each for each in column.allowed or ()]


def described(column: Column, signature: Signature) -> str:
    """Say in words what a value may be."""
    parts = [KINDS[column.type], *bounds(column)]
    if column.nullable:
        parts.append("or null")
    said = f"{parts[0][0].upper()}{parts[0][1:]}{''.join(f', {part}' for part in parts[1:])}."
    if column.allowed is not None and signature.only_warns(column, "unseen"):
        listed = ", ".join(str(each) for each in options(column)[:20])
        said += f" Others than the known ones are answered with a warning; known: {listed}."
    if bounds(column) and signature.only_warns(column, "out_of_range"):
        said += " Beyond this range it is answered with a warning."
    return said


def bounds(column: Column) -> list[str]:
    """Say the bounds of a column in words: range, pattern, length."""
    ends = (_between(column.minimum, column.maximum), _between(column.earliest, column.latest))
    told = [end for end in ends if end]
    length = _between(column.shortest or None, column.longest)
    if length:
        told.append(f"{length} character{'' if length.endswith(' 1') else 's'}")
    if column.pattern is not None:
        told.append(f"matches {column.pattern}")
    return told


def number(value: float) -> str:
    """Write a number for people: digits in threes, no more than six that count after the point."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= LONG else str(int(value))  # a year is left as it is
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.2f}" if abs(value) < 1e15 else f"{value:.6g}"


def _range(column: Column, signature: Signature) -> dict[str, Any]:
    if column.type not in {"int64", "float64"}:
        return {"format": "date-time"} if column.type == DATE else {}
    low, high = INT64 if column.type == "int64" else FLOAT
    if not signature.only_warns(column, "out_of_range"):
        low = low if column.minimum is None else _inner(column, max(low, column.minimum), math.ceil)
        high = high if column.maximum is None else _inner(column, min(high, column.maximum), math.floor)
    return {"minimum": low, "maximum": high}


def _inner(column: Column, end: float, rounded: Any) -> Any:
    return rounded(end) if column.type == "int64" else _plain(end)


def _text(column: Column) -> dict[str, Any]:
    told: dict[str, Any] = {"minLength": column.shortest, "maxLength": column.longest}
    if column.pattern is not None and not PYTHONS_OWN.search(column.pattern):
        told["pattern"] = column.pattern
    return {name: bound for name, bound in told.items() if bound is not None}


def _between(low: float | datetime | None, high: float | datetime | None) -> str:
    if low is not None and high is not None:
        return f"{_said(low)} to {_said(high)}"
    if low is None and high is None:
        return ""
    return f"at least {_said(low)}" if low is not None else f"at most {_said(high)}"


def _said(end: float | datetime | None) -> str:
    if isinstance(end, datetime):
        return end.isoformat(" ", "minutes") if end.time() != datetime.min.time() else end.date().isoformat()
    return number(end or 0)


def _plain(value: float) -> int | float:
    return int(value) if float(value).is_integer() and abs(value) <= EXACT else value
