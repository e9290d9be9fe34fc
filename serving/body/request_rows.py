"""The rows in a request: one object of JSON, rows, columns, CSV or JSON lines."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from flask import Request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from serving.body import json_body
from serving.body.fast_json import Decoder
from updraft.model.columns import quoted
from updraft.model.signature import (
    MAX_ERRORS,
    BadRow,
    Fault,
    Rows,
    Signature,
    column_pointer,
    escape_pointer,
    row_pointer,
    single_row_pointer,
)

SPARE = 1000  # commas that are let pass, so that a few too many fields are told by name
csv.field_size_limit(2**31 - 1)  # the body has a limit


def read(request: Request, signature: Signature, decoder: Decoder, max_body: int, max_rows: int) -> Rows:
    """Read and check the rows of a request.

    Raises UnsupportedMediaType, RequestEntityTooLarge (bytes or rows), BadRequest for what cannot be parsed, and BadRow
    for rows that do not fit.
    """
    reader = READERS[json_body.media_type(request, READERS)]
    raw = json_body.content(request, max_body)
    values = max_rows * (len(signature.columns) + 1) + SPARE
    if reader is _json and (found := decoder.decode(raw, max_rows)) is not None:
        return found
    json_body.uncrowded(raw, values)
    return reader(raw, signature, max_rows)


def _json(raw: bytes, signature: Signature, max_rows: int) -> Rows:
    value = json_body.parse(raw)
    if not isinstance(value, dict):
        raise _fault("", f"expected an object, found {quoted(value)}")
    kind = next((key for key, type_ in (("rows", list), ("columns", dict)) if isinstance(value.get(key), type_)), None)
    if kind is None:
        return signature.check([value], single_row_pointer)
    if len(value) > 1:
        others = [name for name in value if name != kind]
        raise _fault(f"/{kind}", f"expected alone in its object, found {quoted(others)} beside it")
    if kind == "columns":
        return _columns(value["columns"], signature, max_rows)
    _count(len(value["rows"]), max_rows, "/rows")
    return signature.check(value["rows"], row_pointer)


def _columns(columns: dict[str, Any], signature: Signature, max_rows: int) -> Rows:
    """Check that the columns are those of the signature, lists of one length; then their values, row by row."""
    lists = {name: values for name, values in columns.items() if isinstance(values, list)}
    lengths = Counter(map(len, lists.values())).most_common()
    if errors := list(islice(_column_faults(columns, signature, lengths), MAX_ERRORS)):
        raise BadRow(errors)
    _count(lengths[0][0], max_rows, "/columns")
    rows = (dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True))
    return signature.check(rows, column_pointer)


def _column_faults(columns: dict[str, Any], signature: Signature, lengths: list[tuple[int, int]]) -> Iterator[Fault]:
    for name, values in columns.items():
        if not isinstance(values, list):
            yield _error(f"/columns/{escape_pointer(name)}", f"expected a list, found {quoted(values)}")
        elif len(values) != lengths[0][0]:
            told = f"holds {len(values)} values, other columns hold {lengths[0][0]}"
            yield _error(f"/columns/{escape_pointer(name)}", told)
    yield from (_error(f"/columns{pointer}", detail) for pointer, detail in signature.name_errors(list(columns)))


def _lines(raw: bytes, signature: Signature, max_rows: int) -> Rows:
    lines = ((number, line) for number, line in enumerate(io.BytesIO(raw), start=1) if line.strip())
    found = list(islice(lines, max_rows + 1))
    _count(len(found), max_rows, "")
    return signature.check([json_body.parse(line, f"line {number}: ") for number, line in found], row_pointer)


def _csv(raw: bytes, signature: Signature, max_rows: int) -> Rows:
    rows = _cells(json_body.text(raw))
    header = next(rows, None)
    if header is None:
        raise _fault("", "expected a header line and at least one row, found nothing")
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise BadRequest(f"The header names the column {quoted(twice[0])} twice.")
    misfits = islice(signature.name_errors(header), MAX_ERRORS)
    if errors := [_error("", f"header: {detail}: {pointer[1:]}") for pointer, detail in misfits]:
        raise BadRow(errors)
    found: list[Any] = []
    for cells in rows:
        found.append(dict(zip(header, cells, strict=True)) if len(cells) == len(header) else cells)
        if len(found) > max_rows:
            break
    _count(len(found), max_rows, "")
    wrong = [(index, cells) for index, cells in enumerate(found) if not isinstance(cells, dict)]
    if wrong:
        told = f"expected {len(header)} cells, as the header has them, found "
        raise BadRow([_error(row_pointer(index, None), f"{told}{len(cells)}") for index, cells in wrong[:MAX_ERRORS]])
    return signature.check(found, row_pointer, textual=True)


def _cells(text: str) -> Iterator[list[str]]:
    """Yield the lines that are not empty; in one column an empty line is an empty cell, but at the end."""
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    width, empty = 0, 0
    try:
        for cells in lines:
            if not cells:
                empty += 1
                continue
            if width == 1:
                yield from ([""] for _ in range(empty))
            width, empty = width or len(cells), 0
            yield cells
    except csv.Error as error:
        raise BadRequest(f"The body is not CSV: {error} at line {lines.line_num}.") from None


def _count(rows: int, most: int, pointer: str) -> None:
    if not rows:
        raise _fault(pointer, "expected at least one row, found none")
    if rows > most:
        raise RequestEntityTooLarge(f"More than {most} rows; at most that many are taken at once.")


def _fault(pointer: str, detail: str) -> BadRow:
    return BadRow([_error(pointer, detail)])


def _error(pointer: str, detail: str) -> Fault:
    return {"pointer": pointer, "detail": detail}


READERS: dict[str, Callable[[bytes, Signature, int], Rows]] = {
    "application/json": _json,
    "application/jsonl": _lines,
    "application/x-ndjson": _lines,
    "text/csv": _csv,
}
