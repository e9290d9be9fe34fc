"""A signature as an HTML form: its fields, the submitted texts, and their errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from serving.body import stored_columns
from serving.body.stored_columns import Ask
from serving.openapi import schemas
from updraft.model.columns import DATE, Column
from updraft.model.feature_store import IN_STORE
from updraft.model.signature import BadRow, FieldError, Rows, Signature, single_row_pointer

MAX_OPTIONS, MAX_SUGGESTIONS, MAX_LISTED = 60, 1000, 12
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)  # valid values of a number field in browsers
NUMERIC = {"int64", "float64"}


@dataclass(frozen=True)
class Field:
    """A field of the form. `kind` is `select`, `textarea`, or the type of an input.

    `id` is made from its position, `key` from the column's name: a form that was open while a new version went live
    still submits each value under its own name.
    """

    id: str
    key: str
    title: str
    kind: str
    value: str
    hint: str
    error: str | None
    required: bool
    options: Sequence[tuple[str, str]]  # of a select, and suggestions elsewhere: value, text
    attributes: Mapping[str, str]


def read(form: Mapping[str, str], signature: Signature) -> dict[str, str]:
    """Return a request's form values by column; a missing field is empty.

    Browsers submit line breaks as CRLF, which are converted back.
    """
    texts = {column.name: form.get(_key(column), "") for column in columns(signature)}
    return {
        column.name: texts[column.name].replace("\r\n", "\n") if column.type == "str" else texts[column.name].strip()
        for column in columns(signature)
    }


def columns(signature: Signature) -> tuple[Column, ...]:
    """Return what has a field: the features, after the key by which a feature store is asked, if it is none of them."""
    store = signature.store
    return (
        signature.columns
        if store is None or store.entity.name in signature.names
        else (store.entity, *signature.columns)
    )


def check(texts: Mapping[str, str], signature: Signature, ask: Ask | None = None) -> Rows:
    """Check the single row of the form; the errors are worded for a form instead of for JSON.

    What is left empty of the columns of a feature store is taken from there, by `ask`.
    """
    optional = {name for name in (column.name for column in columns(signature)) if _may_be_empty(name, signature)}
    row = {name: text for name, text in texts.items() if text or name not in optional}
    try:
        return stored_columns.check([row], signature, ask, single_row_pointer, textual=True, plain=True)
    except BadRow as error:
        known = {single_row_pointer(0, column.name): column for column in columns(signature)}
        faults = [(fault, known[fault["pointer"]]) for fault in error.errors]
        raise BadRow([_form_message(fault, column, texts[column.name]) for fault, column in faults]) from None


def example(signature: Signature) -> dict[str, str]:
    """Return the form values of the signature's example."""
    return {column.name: _text(column, signature.example.get(column.name)) for column in signature.columns}


def fields(signature: Signature, texts: Mapping[str, str], errors: Sequence[FieldError] = ()) -> list[Field]:
    """Return the fields with their submitted values and errors."""
    messages = {fault["pointer"]: fault["detail"] for fault in reversed(errors)}  # reversed: the first of a field wins
    return [
        _field(index, column, signature, texts.get(column.name, ""), messages.get(single_row_pointer(0, column.name)))
        for index, column in enumerate(columns(signature))
    ]


def values(rows: Rows) -> dict[str, Any]:
    """Return the single row as JSON values."""
    row = {name: column[0] for name, column in zip(rows.names, rows.columns, strict=True)}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _field(index: int, column: Column, signature: Signature, value: str, error: str | None) -> Field:
    options = _options(column, signature)
    chosen = bool(options) and len(options) <= MAX_OPTIONS and not signature.only_warns(column, "unseen")
    if chosen and value and value not in dict(options):
        options = [*options, (value, value)]  # keep the submitted value beside its error
    return Field(
        id=f"field-{index}",
        key=_key(column),
        title=signature.title_of(column.name),
        kind="select" if chosen else _kind(column, signature, value),
        value=value,
        hint=_hint(column, signature, chosen=chosen),
        error=error,
        required=not column.nullable and not _may_be_empty(column.name, signature),
        options=options[:MAX_SUGGESTIONS],
        attributes={} if chosen else _attributes(column, signature),
    )


def _kind(column: Column, signature: Signature, value: str) -> str:
    if column.type in NUMERIC:
        return "number" if not value or NUMBER.fullmatch(value) else "text"  # browsers blank an invalid number
    if column.type == DATE:
        return "datetime-local" if not value or _is_datetime(value) else "text"
    return "textarea" if column.name in signature.text or "\n" in value else "text"


def _options(column: Column, signature: Signature) -> list[tuple[str, str]]:
    """Return what a request has for each allowed value, and what people call it."""
    names = signature.names_of(column.name)
    if column.type == "bool":
        names = {True: "yes", False: "no"} | names
        return [(_text(column, value), names[value]) for value in schemas.options(column) or [True, False]]
    texts = [(_text(column, value), names.get(value)) for value in schemas.options(column)]
    return [(text, text if name is None else name) for text, name in texts if text]


def _attributes(column: Column, signature: Signature) -> dict[str, str]:
    if column.type == DATE:
        return {"step": "any", **_ends(column, signature, column.earliest, column.latest)}
    if column.type in NUMERIC:
        whole = column.type == "int64"
        attributes = {"step": "1" if whole else "any"}
        if column.minimum is not None and column.minimum >= 0:  # a phone's numeric keyboard has no minus sign
            attributes["inputmode"] = "numeric" if whole else "decimal"
        return attributes | _ends(column, signature, column.minimum, column.maximum)
    return {"autocomplete": "off"}


def _ends(column: Column, signature: Signature, low: Any, high: Any) -> dict[str, str]:
    if signature.only_warns(column, "out_of_range"):
        return {}
    return {name: _text(column, end) for name, end in (("min", low), ("max", high)) if end is not None}


def _hint(column: Column, signature: Signature, *, chosen: bool) -> str:
    """Describe the valid values; empty for a select, and for text without bounds."""
    bounds, options = schemas.bounds(column), _options(column, signature)
    hints = list(bounds)
    if signature.store and column.name in signature.store.columns:
        hints.append(f"empty: looked up by {signature.title_of(signature.store.entity.name)}")
    if column.type == DATE or (column.type != "str" and not bounds and not chosen):
        hints.insert(0, schemas.KINDS[column.type].removeprefix("a "))
    elif column.type == "int64" and not chosen:
        hints.insert(0, "whole number")
    if column.allowed is not None and not chosen:
        few = len(column.allowed) <= MAX_LISTED
        known = (text if text == value else f"{value} ({text})" for value, text in options)
        hints.append(", ".join(known) if few else f"{len(column.allowed)} known values")
    if any(signature.only_warns(column, bound) for bound in ("unseen", "out_of_range")):
        return f"{', '.join(hints)}; other values are accepted with a warning"
    return ", ".join(hints)


def _form_message(fault: FieldError, column: Column, text: str) -> FieldError:
    """Reword an error about JSON for the form: every value is text there, and an empty field is a missing value."""
    if not text and not column.nullable and not fault["detail"].endswith(IN_STORE):
        choices = column.allowed is not None or column.type == "bool"
        return fault | {"detail": "required: choose one" if choices else f"required: {schemas.KINDS[column.type]}"}
    message = fault["detail"]
    if column.allowed is not None and len(column.allowed) > MAX_LISTED:
        message = re.sub(r" is not one of .*", " is not one of the values to choose from", message, flags=re.S)
    return fault | {"detail": message}


def _may_be_empty(name: str, signature: Signature) -> bool:
    """Whether a column is one of a feature store, or the key there that is no feature."""
    store = signature.store
    return store is not None and (name in store.columns or (name == store.entity.name and name not in signature.names))


def _text(column: Column, value: Any) -> str:
    if value is None:
        return ""
    if column.type == "bool":
        return "true" if value else "false"
    if column.type == DATE:
        at = column.convert(value)
        return at.isoformat() if isinstance(at, datetime) else str(value)
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)


def _is_datetime(text: str) -> bool:
    return re.fullmatch(r"\d{4,}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?", text, re.ASCII) is not None


def _key(column: Column) -> str:
    return f"value of {column.name}"
