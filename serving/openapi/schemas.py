"""The columns of a signature as JSON Schema (2020-12) and in words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from updraft.model.columns import DATE, EXACT, LARGEST, Column
from updraft.model.number_format import format_number
from updraft.model.reading import Reading
from updraft.model.signature import Signature

TYPES = {"int64": "integer", "float64": "number", "str": "string", "bool": "boolean", DATE: "string"}
KINDS = {"int64": "a whole number", "float64": "a number", "str": "text", "bool": "true or false", DATE: "a date, UTC"}
INT64 = (-(2**63), 2**63 - 1)
PATTERNS_IN_WORDS = {r"^\S(?:.*\S)?$": "no space at either end"}
FLOAT = (-LARGEST, LARGEST)
PYTHON_ONLY = re.compile(r"\(\?[^:=!<]|\(\?<[^=!]|\\[AZNUaxz]|[*+?}]\+")  # regex syntax that ECMA 262 lacks


def row(signature: Signature) -> dict[str, Any]:
    """Return the schema of a raw row: what may be null may be left out, and what is not used may be there."""
    unused = [*([signature.id] if signature.id else []), signature.target, *signature.left_out]
    properties = {name: {"description": "Not used; may be omitted."} for name in unused}
    properties = {column.name: value(column, signature) for column in signature.columns} | properties
    stored = signature.store.columns if signature.store else ()
    if signature.store and (key := signature.store.entity).name not in signature.names:
        properties[key.name] = value(key, signature) | {
            "description": f"The key by which {_listed(stored)} are looked up."
        }
    return {
        "type": "object",
        "properties": properties,
        "required": [column.name for column in signature.columns if not column.nullable and column.name not in stored],
        "additionalProperties": False,
        "examples": [signature.example],
    }


def columns(signature: Signature) -> dict[str, Any]:
    """Return the schema of rows as columns. JSON Schema cannot express that all lists have the same length."""
    properties = {
        name: {"type": "array", "items": schema, "minItems": 1} for name, schema in row(signature)["properties"].items()
    }
    return {
        "type": "object",
        "description": "A list per column, all of the same length.",
        "properties": properties,
        "required": [name for name in signature.names if not signature.store or name not in signature.store.columns],
        "additionalProperties": False,
        "examples": [{name: [example] for name, example in signature.example.items()}],
    }


def value(column: Column, signature: Signature) -> dict[str, Any]:
    """Return the schema of a value; a bound that only causes a warning appears in the description only."""
    kind = TYPES[column.type]
    schema: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    if column.allowed is not None and not signature.only_warns(column, "unseen"):
        schema["enum"] = [*options(column), *([None] if column.nullable else [])]
    schema |= _range(column, signature) | _text(column)
    if column.name in signature.titles:
        schema["title"] = signature.titles[column.name]
    if names := signature.names_of(column.name):
        schema["x-enumDescriptions"] = {_written(each): name for each, name in names.items()}
    schema["description"] = describe(column, signature)
    if column.name in signature.example:
        schema["examples"] = [signature.example[column.name]]
    return schema


def options(column: Column) -> list[Any]:
    """Return the allowed values as JSON values; whole numbers have no fraction."""
    if column.type == "bool":
        return [bool(each) for each in column.allowed or ()]
    return [_plain(each) if isinstance(each, float) else each for each in column.allowed or ()]


def describe(column: Column, signature: Signature) -> str:
    """Describe in words which values a column accepts."""
    parts = [KINDS[column.type], *bounds(column)]
    if column.nullable:
        parts.append("or null")
    text = f"{parts[0][0].upper()}{parts[0][1:]}{''.join(f', {part}' for part in parts[1:])}."
    text += _reading(column, signature.reading)
    if signature.store and column.name in signature.store.columns:
        text += f" May be left out: it is looked up by {signature.store.entity.name}."
    if names := signature.names_of(column.name):
        text += f" Of its values {', '.join(f'{_written(each)} is {name}' for each, name in names.items())}."
    if column.allowed is not None and signature.only_warns(column, "unseen"):
        known = ", ".join(str(each) for each in options(column)[:20])
        text += f" Other values are accepted with a warning; known: {known}."
    if bounds(column) and signature.only_warns(column, "out_of_range"):
        text += " Values outside this range are accepted with a warning."
    return text


def _reading(column: Column, reading: Reading) -> str:
    """Describe what the rules make of a text, beyond what the type says."""
    texts = []
    if column.name in reading.dates:
        texts.append(f" Also as {reading.dates[column.name]}.")
    if column.name in reading.casts:
        texts.append(f" A text is read by {', '.join(reading.casts[column.name])}.")
    if theirs := [name for name, ours in reading.rename.items() if ours == column.name]:
        texts.append(f" Also by the name {', '.join(theirs)}.")
    return "".join(texts)


def bounds(column: Column) -> list[str]:
    """Return the bounds of a column in words: range, length, pattern."""
    ends = (_format_range(column.minimum, column.maximum), _format_range(column.earliest, column.latest))
    texts = [end for end in ends if end]
    length = _format_range(column.shortest or None, column.longest)
    if length:
        texts.append(f"{length} character{'' if length.endswith(' 1') else 's'}")
    if column.pattern is not None:
        texts.append(PATTERNS_IN_WORDS.get(column.pattern, f"matches {column.pattern}"))
    return texts


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
    schema: dict[str, Any] = {"minLength": column.shortest, "maxLength": column.longest}
    if column.pattern is not None and not PYTHON_ONLY.search(column.pattern):
        schema["pattern"] = column.pattern
    return {name: bound for name, bound in schema.items() if bound is not None}


def _format_range(low: float | datetime | None, high: float | datetime | None) -> str:
    if low is not None and high is not None:
        return f"{_format_bound(low)} to {_format_bound(high)}"
    if low is None and high is None:
        return ""
    return f"at least {_format_bound(low)}" if low is not None else f"at most {_format_bound(high)}"


def _format_bound(end: float | datetime | None) -> str:
    if isinstance(end, datetime):
        return end.isoformat(" ", "minutes") if end.time() != datetime.min.time() else end.date().isoformat()
    return format_number(end or 0)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _written(value: Any) -> str:
    """Return a value as JSON has it, a text without its quotes."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(_plain(value))


def _plain(value: float) -> int | float:
    return int(value) if float(value).is_integer() and abs(value) <= EXACT else value
