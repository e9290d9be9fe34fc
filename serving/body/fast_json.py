"""The fast path for rows that match the signature: one msgspec pass over types generated from it.

It returns rows or gives up. Anything odd, whether invalid, rare or merely written in another way, is left to the slow
path (`Signature.check`), which reports each error. What it returns equals what the slow path would return;
tests/serving/body/test_fast_json.py compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from serving.body import column_check
from updraft.model.columns import DATE, Column
from updraft.model.composed import is_composed
from updraft.model.reading import NANS, UNDECODED, read_value
from updraft.model.signature import (
    Cell,
    MakePointer,
    Rows,
    Signature,
    column_pointer,
    row_pointer,
    single_row_pointer,
)

EXACT = 2**53 - 1  # a larger integer may change when it is read as float64, which the slow path refuses
INT64 = 2**63


class Decoder:
    """Decodes the rows of one signature: a single row, `rows`, or `columns`."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._python_checked = [i for i, column in enumerate(signature.columns) if _needs_python(signature, column)]
        self._read_in_python = {i for i in self._python_checked if _is_ruled(signature, signature.columns[i])}
        self._nulls = frozenset((*NANS, *signature.reading.nulls))  # texts that mean null
        self._text_columns = [i for i, column in enumerate(signature.columns) if column.type in ("str", DATE)]
        try:
            self._row, self._rows, self._columns = _decoders(signature)
            self._getters = [attrgetter(name) for name, *_ in _row_fields(signature)]
        except (ValueError, TypeError, NotImplementedError):  # a name or bound that msgspec cannot express
            self._row = None

    def decode(self, raw: bytes, max_rows: int) -> Rows | None:
        """Return the rows of a body, or None to leave it to the slow path."""
        # Without escapes each quote in the body delimits a string, so that quotes can be counted (_has_unique_keys).
        if self._row is None or b"\\" in raw or not (raw.isascii() or _is_composed(raw)):
            return None
        # The first bytes tell the three shapes apart, which saves a union type and a second pass. If a column is itself
        # named "rows" or "columns", decoding fails, and the slow path decides.
        start = raw[:16].replace(b" ", b"")
        try:
            if start.startswith(b'{"rows":'):
                return self._decode_rows(raw, max_rows)
            if start.startswith(b'{"columns":'):
                return self._decode_columns(raw, max_rows)
            row = msgspec.structs.astuple(self._row.decode(raw))
            return self._convert_rows(raw, [[value] for value in row], 0, single_row_pointer)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
            return None

    def _decode_rows(self, raw: bytes, max_rows: int) -> Rows | None:
        rows = self._rows.decode(raw).rows
        if not 0 < len(rows) <= max_rows:
            return None
        # Columns, since models take columns; all in C, and no tuple for each row, which would keep the garbage
        # collector busy.
        return self._convert_rows(raw, [list(map(get, rows)) for get in self._getters], 1, row_pointer)

    def _decode_columns(self, raw: bytes, max_rows: int) -> Rows | None:
        columns = msgspec.structs.astuple(self._columns.decode(raw).columns)
        if not 0 < len(columns[0]) <= max_rows or len(set(map(len, columns))) > 1:
            return None
        if not self._has_unique_keys(raw, 1 + len(columns), columns, 0):
            return None
        return self._check_in_python(columns, column_pointer)

    def _convert_rows(self, raw: bytes, columns: list[list[Any]], wrappers: int, where: MakePointer) -> Rows | None:
        """Check decoded columns, of which the last has the ids; `wrappers` is the number of keys around the rows."""
        ids = columns.pop() if self._signature.id else []
        keys, texts = wrappers + len(columns[0]) * len(columns), 0
        has_ids = ids.count(UNSET) + ids.count(None) < len(ids)
        if has_ids or None in ids:
            keys += sum(value is not UNSET for value in ids)
            texts = sum(isinstance(value, str) for value in ids)
        if not self._has_unique_keys(raw, keys, columns, texts):
            return None
        checked = self._check_in_python(columns, where)
        if checked is None or not has_ids:
            return checked
        return replace(checked, ids=[None if value is UNSET else value for value in ids])

    def _has_unique_keys(self, raw: bytes, keys: int, columns: Sequence[Sequence[Any]], texts: int) -> bool:
        """Return whether the body has exactly the quotes that its keys and text values need.

        msgspec silently takes the last of two equal keys; the slow path refuses them. Every column is required and
        unknown keys fail, so a repeated key shows as additional quotes. One count over the bytes replaces a Python dict
        per row.
        """
        for index in self._text_columns:
            texts += len(columns[index]) - columns[index].count(None)
        return raw.count(b'"') == 2 * (keys + texts)

    def _check_in_python(self, columns: Sequence[Sequence[Any]], where: MakePointer) -> Rows | None:
        """Check what msgspec cannot check: texts that mean null, and some columns' bounds."""
        for position in self._text_columns:
            if not self._nulls.isdisjoint(columns[position]):
                return None
        checked: list[Sequence[Cell]] = list(columns)
        found: list[column_check.Found] = []
        for position in self._python_checked:
            if position in self._read_in_python:
                checked[position] = self._read(self._signature.columns[position], columns[position])
            warnings = column_check.warnings(self._signature, position, checked[position], where)
            if warnings is None:
                return None
            found += warnings
        return self._signature.rows(checked, column_check.in_order(found) if found else ())

    def _read(self, column: Column, values: Sequence[Any]) -> Sequence[Cell]:
        """Read a column's values by the rules, each text once."""
        reading = self._signature.reading
        texts = {
            value: read_value(column, value, reading, textual=False, iso_dates=True)
            for value in set(values)
            if isinstance(value, str) or value is None
        }
        return [
            texts[value] if value in texts else read_value(column, value, reading, textual=False, iso_dates=True)
            for value in values
        ]


def _is_composed(raw: bytes) -> bool:
    """Whether the text of a body is UTF-8 and spelled as the slow path would spell it."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return False
    return UNDECODED not in text and is_composed(text)


def _decoders(signature: Signature) -> tuple[Any, Any, Any]:
    """Return decoders for one row, for `rows` and for `columns`."""
    # Fields are c0, c1, …, renamed to the columns' names, which need not be Python identifiers.
    fields = _column_fields(signature)
    names = {field: column.name for (field, _), column in zip(fields, signature.columns, strict=True)}
    if signature.id:
        names["id"] = signature.id
    row = _struct("Row", _row_fields(signature), names)
    lists = _struct("Columns", [(field, list[type_]) for field, type_ in fields], names)  # type: ignore[valid-type]
    rows = _struct("Batch", [("rows", list[row])], {})  # type: ignore[valid-type]
    table = _struct("Table", [("columns", lists)], {})
    return msgspec.json.Decoder(row), msgspec.json.Decoder(rows), msgspec.json.Decoder(table)


def _column_fields(signature: Signature) -> list[tuple[str, Any]]:
    return [(f"c{index}", _type(signature, column)) for index, column in enumerate(signature.columns)]


def _row_fields(signature: Signature) -> list[Any]:
    """Return the fields of a row; its id is ignored, but allowed."""
    id_ = [("id", int | str | None | UnsetType, UNSET)] if signature.id else []
    return [*_column_fields(signature), *id_]


def _is_ruled(signature: Signature, column: Column) -> bool:
    """Whether a column's values are not yet what msgspec decodes."""
    return column.type == DATE or column.name in signature.reading.casts or column.name in signature.reading.dates


def _needs_python(signature: Signature, column: Column) -> bool:
    """Return whether msgspec cannot check a column: a violation is only a warning, or a bound has no msgspec type."""
    if column.name in signature.warn_unseen or column.name in signature.warn_out_of_range:
        return True
    if _is_ruled(signature, column):
        return True
    return column.allowed is not None and not _is_literal(column)


def _is_literal(column: Column) -> bool:
    """Return whether Literal can express all bounds of a column: it takes no Meta, so nothing else may narrow it."""
    allowed = column.allowed or ()
    if column.type == "str":
        unbounded = column.pattern is None and column.shortest is None and column.longest is None
        return unbounded and all(isinstance(value, str) for value in allowed)
    unbounded = column.minimum is None and column.maximum is None
    return column.type == "int64" and unbounded and all(type(value) is int for value in allowed)


def _type(signature: Signature, column: Column) -> Any:
    type_: Any
    if column.type == DATE:
        type_ = str
    elif _needs_python(signature, column):
        # The bounds hold for what the casts return, or only a warning follows: let msgspec check only the type.
        by_type = {"int64": _int_between(-INT64, INT64 - 1), "float64": _float_between(-EXACT, EXACT)}
        type_ = (by_type | {"bool": bool, "str": str})[column.type]
    elif column.allowed is not None and _is_literal(column):
        type_ = Literal[column.allowed]
    else:
        type_ = _bounded(column)
    return type_ | None if column.nullable else type_


def _bounded(column: Column) -> Any:
    if column.type == "bool":
        return bool
    if column.type == "str":
        return Annotated[str, Meta(pattern=column.pattern, min_length=column.shortest, max_length=column.longest)]
    low = -math.inf if column.minimum is None else column.minimum
    high = math.inf if column.maximum is None else column.maximum
    if column.type == "int64":
        return _int_between(math.ceil(max(low, -INT64)), math.floor(min(high, INT64 - 1)))
    return _float_between(max(low, -EXACT), min(high, EXACT))


def _int_between(low: int, high: int) -> Any:
    return Annotated[int, Meta(ge=low, le=high)]


def _float_between(low: float, high: float) -> Any:
    return Annotated[float, Meta(ge=low, le=high)]


def _struct(name: str, fields: list[Any], names: dict[str, str]) -> Any:
    # gc=False: rows hold only scalars and form no cycles, so the garbage collector need not track thousands of them.
    return msgspec.defstruct(name, fields, rename=cast("Any", names or None), forbid_unknown_fields=True, gc=False)
