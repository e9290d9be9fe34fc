"""A signature as a form: its fields, the texts that were typed, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.openapi import schemas
from updraft.model.columns import DATE, Column
from updraft.model.signature import BadRow, Fault, Rows, Signature, single_row_pointer

MOST_OPTIONS, MOST_SUGGESTED, MOST_TOLD = 60, 1000, 12
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)  # what a browser takes as the value of a number field
NUMERIC = {"int64", "float64"}


@dataclass(frozen=True)
class Field:
    """A field of the form. `kind` is `select`, `textarea`, or the type of an input.

    `id` is made of its place, `key` of the column's name: a form that was open during a swap still says what is what.
    """

    id: str
    key: str
    name: str
    kind: str
    value: str
    hint: str
    error: str | None
    required: bool
    options: Sequence[tuple[str, str]]  # of a select, and suggestions elsewhere: value, text
    attributes: Mapping[str, str]


def read(form: Mapping[str, str], signature: Signature) -> dict[str, str]:
    """Read the texts by column out of a request's form; a field that is not there is empty.

    A browser ends the lines of a text by CRLF, whatever was typed.
    """
    texts = {column.name: form.get(_key(column), "") for column in signature.columns}
    return {
        column.name: texts[column.name].replace("\r\n", "\n") if column.type == "str" else texts[column.name].strip()
        for column in signature.columns
    }


def check(texts: Mapping[str, str], signature: Signature) -> Rows:
    """Make the one row; BadRow has a message for people in place of what is said of JSON."""
    try:
        return signature.check([dict(texts)], single_row_pointer, textual=True)
    except BadRow as error:
        known = {single_row_pointer(0, column.name): column for column in signature.columns}
        faults = [(fault, known[fault["pointer"]]) for fault in error.errors]
        raise BadRow([_said(fault, column, texts[column.name]) for fault, column in faults]) from None


def example(signature: Signature) -> dict[str, str]:
    """Return the texts of the signature's example."""
    return {column.name: _text(column, signature.example.get(column.name)) for column in signature.columns}


def fields(signature: Signature, texts: Mapping[str, str], errors: Sequence[Fault] = ()) -> list[Field]:
    """Make the fields, with what was typed and what is wrong with it."""
    told = {fault["pointer"]: fault["detail"] for fault in reversed(errors)}  # the first of a field counts
    return [
        _field(index, column, signature, texts.get(column.name, ""), told.get(single_row_pointer(0, column.name)))
        for index, column in enumerate(signature.columns)
    ]


def values(rows: Rows) -> dict[str, Any]:
    """Return the one row as JSON has it."""
    row = {name: column[0] for name, column in zip(rows.names, rows.columns, strict=True)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _field(index: int, column: Column, signature: Signature, value: str, error: str | None) -> Field:
    options = _options(column)
    chosen = bool(options) and len(options) <= MOST_OPTIONS and not signature.only_warns(column, "unseen")
    if chosen and value and value not in dict(options):
        options = [*options, (value, value)]  # stays, beside what is said of it
    return Field(
        id=f"field-{index}",
        key=_key(column),
        name=column.name,
        kind="select" if chosen else _kind(column, signature, value),
        value=value,
        hint=_hint(column, signature, chosen=chosen),
        error=error,
        required=not column.nullable,
        options=options[:MOST_SUGGESTED],
        attributes={} if chosen else _attributes(column, signature),
    )


def _kind(column: Column, signature: Signature, value: str) -> str:
    if column.type in NUMERIC:
        return "number" if not value or NUMBER.fullmatch(value) else "text"  # or a browser would empty it
    if column.type == DATE:
        return "datetime-local" if not value or _is_moment(value) else "text"
    return "textarea" if column.name in signature.text or "\n" in value else "text"


def _options(column: Column) -> list[tuple[str, str]]:
    if column.type == "bool":
        listed = schemas.options(column) or [True, False]
        return [(_text(column, each), "yes" if each else "no") for each in listed]
    return [(text, text) for text in (_text(column, each) for each in schemas.options(column)) if text]


def _attributes(column: Column, signature: Signature) -> dict[str, str]:
    if column.type == DATE:
        return {"step": "any", **_ends(column, signature, column.earliest, column.latest)}
    if column.type in NUMERIC:
        whole = column.type == "int64"
        keys = {"step": "1" if whole else "any"}
        if column.minimum is not None and column.minimum >= 0:  # the keyboard of a phone for them has no minus
            keys["inputmode"] = "numeric" if whole else "decimal"
        return keys | _ends(column, signature, column.minimum, column.maximum)
    return {"autocomplete": "off"}


def _ends(column: Column, signature: Signature, low: Any, high: Any) -> dict[str, str]:
    if signature.only_warns(column, "out_of_range"):
        return {}
    return {name: _text(column, end) for name, end in (("min", low), ("max", high)) if end is not None}


def _hint(column: Column, signature: Signature, *, chosen: bool) -> str:
    """Say what may be typed; nothing where a list says it, or all that there is to say is that it is text."""
    bounds = schemas.bounds(column)
    told = list(bounds)
    if column.type == DATE or (column.type != "str" and not bounds and not chosen):
        told.insert(0, schemas.KINDS[column.type].removeprefix("a "))
    elif column.type == "int64" and not chosen:
        told.insert(0, "whole number")
    if column.allowed is not None and not chosen:
        few = len(column.allowed) <= MOST_TOLD
        told.append(", ".join(text for _, text in _options(column)) if few else f"{len(column.allowed)} known values")
    if any(signature.only_warns(column, bound) for bound in ("unseen", "out_of_range")):
        return f"{', '.join(told)}; others are answered with a warning"
    return ", ".join(told)


def _said(fault: Fault, column: Column, text: str) -> Fault:
    """Say of a field what is said of JSON: a text is what is typed, and what is missing was left empty."""
    if not text and not column.nullable:
        listed = column.allowed is not None or column.type == "bool"
        return fault | {"detail": "needed: choose one" if listed else f"needed: {schemas.KINDS[column.type]}"}
    told = fault["detail"].replace(" (str) ", " ", 1)
    if column.allowed is not None and len(column.allowed) > MOST_TOLD:
        told = re.sub(r" is not one of .*", " is not one of the values to choose from", told, flags=re.S)
    return fault | {"detail": told}


def _text(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if column.type == "bool":
        return "true" if value else "false"
    if column.type == DATE:
        at = column.convert(value)
        return at.isoformat() if isinstance(at, datetime) else str(value)
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _is_moment(text: str) -> bool:
    return re.fullmatch(r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?", text, re.ASCII) is not None


def _key(column: Column) -> str:
    return f"value of {column.name}"
