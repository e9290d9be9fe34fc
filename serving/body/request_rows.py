"""Reads the rows of a request: a single JSON object, rows, columns, CSV, JSON lines or a stream of Arrow."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from serving.body import delimited_body, fast_columns, json_body, stored_columns
from serving.body.fast_json import Decoder
from serving.body.stored_columns import Ask
from updraft.model.columns import quoted
from updraft.model.signature import (
    MAX_ERRORS,
    BadRow,
    FieldError,
    Rows,
    Signature,
    column_pointer,
    escape_pointer,
    row_pointer,
    single_row_pointer,
)

ARROW = "application/vnd.apache.arrow.stream"
SPARE_VALUES = 1000  # above the limit, so that a few unknown fields are reported by name instead of as 413


def read(
    request: Request, signature: Signature, decoder: Decoder, max_body: int, max_rows: int, ask: Ask | None = None
) -> Rows:
    """Read and check the rows of a request; `ask` has columns that they leave out.

    Raises UnsupportedMediaType, RequestEntityTooLarge (bytes or rows), BadRequest for a body that cannot be parsed,
    BadRow for rows that do not match the signature, and what `ask` raises.
    """
    media_type = json_body.check_media_type(request, MEDIA_TYPES, signature.reading.encoding)
    raw = json_body.read_body(request, max_body)
    if media_type == "text/csv":
        return read_csv(raw, signature, max_rows, ask)
    if media_type == "application/json" and (rows := decoder.decode(raw, max_rows)) is not None:
        return rows
    if media_type == ARROW:
        return _arrow(raw, signature, max_rows, ask)
    json_body.check_value_count(raw, _max_values(signature, max_rows))
    return READERS[media_type](raw, signature, max_rows, ask)


def _max_values(signature: Signature, max_rows: int) -> int:
    return max_rows * (len(signature.columns) + len(signature.left_out) + 2) + SPARE_VALUES


def _json(raw: bytes, signature: Signature, max_rows: int, ask: Ask | None) -> Rows:
    value = json_body.parse(raw)
    if not isinstance(value, dict):
        raise _fault("", f"expected an object, found {quoted(value)}")
    kind = next((key for key, type_ in (("rows", list), ("columns", dict)) if isinstance(value.get(key), type_)), None)
    if kind is None:
        return stored_columns.check([value], signature, ask, single_row_pointer)
    if len(value) > 1:
        others = [name for name in value if name != kind]
        raise _fault(f"/{kind}", f"expected no other key beside it, found {quoted(others)}")
    if kind == "columns":
        return _columns(value["columns"], signature, max_rows, ask)
    _check_row_count(len(value["rows"]), max_rows, "/rows")
    return stored_columns.check(value["rows"], signature, ask, row_pointer)


def _columns(columns: dict[str, Any], signature: Signature, max_rows: int, ask: Ask | None) -> Rows:
    """Check that the columns match the signature and are lists of equal length; then check their values row by row."""
    lists = {name: values for name, values in columns.items() if isinstance(values, list)}
    lengths = Counter(map(len, lists.values())).most_common()
    if errors := list(islice(_column_errors(columns, signature, lengths), MAX_ERRORS)):
        raise BadRow(errors)
    _check_row_count(lengths[0][0], max_rows, "/columns")
    rows = (dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True))
    return stored_columns.check(rows, signature, ask, column_pointer)


def _column_errors(
    columns: dict[str, Any], signature: Signature, lengths: list[tuple[int, int]]
) -> Iterator[FieldError]:
    for name, values in columns.items():
        if not isinstance(values, list):
            yield _error(f"/columns/{escape_pointer(name)}", f"expected a list, found {quoted(values)}")
        elif len(values) != lengths[0][0]:
            detail = f"has {len(values)} values, other columns have {lengths[0][0]}"
            yield _error(f"/columns/{escape_pointer(name)}", detail)
    yield from (_error(f"/columns{pointer}", detail) for pointer, detail in signature.name_errors(list(columns)))


def _lines(raw: bytes, signature: Signature, max_rows: int, ask: Ask | None) -> Rows:
    lines = ((number, line) for number, line in enumerate(io.BytesIO(raw), start=1) if line.strip())
    numbered = list(islice(lines, max_rows + 1))
    _check_row_count(len(numbered), max_rows, "")
    rows = [json_body.parse(line, f"line {number}: ") for number, line in numbered]
    return stored_columns.check(rows, signature, ask, row_pointer)


def read_csv(raw: bytes, signature: Signature, max_rows: int, ask: Ask | None = None) -> Rows:
    """Read and check rows of delimited text; raises what `read` raises."""
    body = delimited_body.open_body(raw, signature)
    delimited_body.check_value_count(body, raw, _max_values(signature, max_rows))
    lines = body.rows()
    header = next(lines, None)
    if header is None:
        raise _fault("", "expected a header line and at least one row, found nothing")
    used = signature.uses(header)
    if twice := [name for name, count in Counter(header).items() if count > 1 and name in used]:
        raise BadRequest(f"The header names the column {quoted(twice[0])} twice.")
    misfits = islice(signature.name_errors(header), MAX_ERRORS)
    if errors := [_error("", f"header: {_field_name(pointer)}{detail}") for pointer, detail in misfits]:
        raise BadRow(errors)
    rows = list(islice(lines, max_rows + 1))
    _check_row_count(len(rows), max_rows, "")
    if wrong := [(index, len(cells)) for index, cells in enumerate(rows) if len(cells) != len(header)]:
        expected = f"expected {len(header)} cells, as in the header"
        raise BadRow([_error(row_pointer(index, None), f"{expected}, found {n}") for index, n in wrong[:MAX_ERRORS]])
    if (found := fast_columns.read(fast_columns.of_lines(header, rows), signature, textual=True)) is not None:
        return found
    named = (dict(zip(header, cells, strict=True)) for cells in rows)
    return stored_columns.check(named, signature, ask, row_pointer, textual=True)


def _field_name(pointer: str) -> str:
    name = pointer[1:].replace("~1", "/").replace("~0", "~")
    return f"{name}: " if name else ""


def _check_row_count(rows: int, max_rows: int, pointer: str) -> None:
    if not rows:
        raise _fault(pointer, "expected at least one row, found none")
    if rows > max_rows:
        raise RequestEntityTooLarge(f"More than {max_rows:,} rows in one request.")


def _fault(pointer: str, detail: str) -> BadRow:
    return BadRow([_error(pointer, detail)])


def _error(pointer: str, detail: str) -> FieldError:
    return {"pointer": pointer, "detail": detail}


def _arrow(raw: bytes, signature: Signature, max_rows: int, ask: Ask | None) -> Rows:
    try:
        from serving.body import arrow_body
    except ModuleNotFoundError:
        raise UnsupportedMediaType(f"{ARROW} needs pyarrow: use the image serving-full.") from None
    columns = arrow_body.read(raw, max_rows, _max_values(signature, max_rows))
    names = [name for name, _ in columns]
    if twice := [name for name, count in Counter(names).items() if count > 1 and name in signature.uses(names)]:
        raise BadRequest(f"The stream has the column {quoted(twice[0])} twice.")
    if errors := [_error(pointer, detail) for pointer, detail in islice(signature.name_errors(names), MAX_ERRORS)]:
        raise BadRow(errors)
    _check_row_count(len(columns[0][1]) if columns else 0, max_rows, "")
    lists = dict(columns)
    if (found := fast_columns.read(lists, signature)) is not None:
        return found
    rows = (dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True))
    return stored_columns.check(rows, signature, ask, row_pointer)


READERS: dict[str, Callable[[bytes, Signature, int, Ask | None], Rows]] = {
    "application/json": _json,
    "application/jsonl": _lines,
    "application/x-ndjson": _lines,
}
MEDIA_TYPES = (*READERS, "text/csv", ARROW)
