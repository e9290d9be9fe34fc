"""The fast way to rows that fit: one pass of msgspec over types made from the signature.

It gives rows or gives up. Whatever is odd, be it wrong, rare or only written in another way, is left to the slow way,
which tells each fault. What it gives is what the slow way would give, and tests/test_fast.py holds it to that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from updraft.model.columns import DATE, Column
from updraft.model.signature import (
    MAX_ERRORS,
    Cell,
    Fault,
    MakePointer,
    Rows,
    Signature,
    column_pointer,
    row_pointer,
    single_row_pointer,
)

EXACT = 2**53 - 1  # above it an integer may not be the float64 that it is read as
INT64 = 2**63


class Decoder:
    """Decoders of one signature's rows: one row, `rows`, or `columns`."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._tried = [index for index, column in enumerate(signature.columns) if _needs_python(signature, column)]
        self._texts = [index for index, column in enumerate(signature.columns) if column.type in ("str", DATE)]
        try:
            self._row, self._rows, self._columns = _decoders(signature)
        except (ValueError, TypeError, NotImplementedError):  # a name or a bound that msgspec has no words for
            self._row = None

    def decode(self, raw: bytes, max_rows: int) -> Rows | None:
        """Return the rows of a body; None when the slow way has to look."""
        if self._row is None or b"\\" in raw:
            return None
        start = raw[:16].replace(b" ", b"")
        try:
            if start.startswith(b'{"rows":'):
                return self._of_rows(raw, max_rows)
            if start.startswith(b'{"columns":'):
                return self._of_columns(raw, max_rows)
            return self._checked(raw, [self._row.decode(raw)], 0, single_row_pointer)
        except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError):
            return None

    def _of_rows(self, raw: bytes, max_rows: int) -> Rows | None:
        rows = self._rows.decode(raw).rows
        return self._checked(raw, rows, 1, row_pointer) if 0 < len(rows) <= max_rows else None

    def _of_columns(self, raw: bytes, max_rows: int) -> Rows | None:
        columns = msgspec.structs.astuple(self._columns.decode(raw).columns)
        if not 0 < len(columns[0]) <= max_rows or len(set(map(len, columns))) > 1:
            return None
        if not self._no_key_twice(raw, 1 + len(columns), columns, 0):
            return None
        return self._judged(columns, column_pointer)

    def _checked(self, raw: bytes, rows: list[Any], wrappers: int, where: MakePointer) -> Rows | None:
        told = [msgspec.structs.astuple(row) for row in rows]
        columns = list(zip(*told, strict=True))
        ids = list(columns.pop()) if self._signature.id else []
        keys = wrappers + len(rows) * len(columns) + sum(each is not UNSET for each in ids)
        if not self._no_key_twice(raw, keys, columns, sum(isinstance(each, str) for each in ids)):
            return None
        return self._judged(columns, where)

    def _no_key_twice(self, raw: bytes, keys: int, columns: Sequence[Sequence[Any]], texts: int) -> bool:
        """Tell whether the body has as many quotes as its keys and texts need: there is no backslash in it.

        msgspec takes the last of two equal keys without a word.
        """
        texts += sum(len(columns[index]) - columns[index].count(None) for index in self._texts)
        return raw.count(b'"') == 2 * (keys + texts)

    def _judged(self, columns: Sequence[Sequence[Any]], where: MakePointer) -> Rows | None:
        """Hold the columns that msgspec could not against their bounds."""
        judged: list[Sequence[Cell]] = list(columns)
        warnings: list[tuple[int, int, Fault]] = []
        for at in self._tried:
            column = self._signature.columns[at]
            judged[at] = [column.convert(value) for value in columns[at]]
            for index, value in enumerate(judged[at]):
                for violation in column.violations(value):
                    if not self._signature.only_warns(column, violation.kind):
                        return None
                    warnings.append((index, at, {"pointer": where(index, column.name), "detail": str(violation)}))
        in_order = [fault for _, _, fault in sorted(warnings, key=lambda each: each[:2])]
        return self._signature.rows(judged, in_order[:MAX_ERRORS])


def _decoders(signature: Signature) -> tuple[Any, Any, Any]:
    """Make the decoders of one row, of `rows` and of `columns`."""
    fields = [(f"c{index}", _type(signature, column)) for index, column in enumerate(signature.columns)]
    names = {f"c{index}": column.name for index, column in enumerate(signature.columns)}
    given: list[Any] = [*fields]
    if signature.id:
        given.append(("id", int | str | None | UnsetType, UNSET))
        names["id"] = signature.id
    row = _struct("Row", given, names)
    lists = _struct("Columns", [(field, list[type_]) for field, type_ in fields], names)  # type: ignore[valid-type]
    rows = _struct("Batch", [("rows", list[row])], {})  # type: ignore[valid-type]
    table = _struct("Table", [("columns", lists)], {})
    return msgspec.json.Decoder(row), msgspec.json.Decoder(rows), msgspec.json.Decoder(table)


def _needs_python(signature: Signature, column: Column) -> bool:
    if column.name in signature.warn_unseen or column.name in signature.warn_out_of_range or column.type == DATE:
        return True
    return column.allowed is not None and not _is_literal(column)


def _is_literal(column: Column) -> bool:
    """Tell whether a Literal can hold the allowed values; of numbers, only where a range does not narrow them."""
    allowed = column.allowed or ()
    if column.type == "str":
        plain = column.pattern is None and column.shortest is None and column.longest is None
        return plain and all(isinstance(value, str) for value in allowed)
    plain = column.minimum is None and column.maximum is None
    return column.type == "int64" and plain and all(type(value) is int for value in allowed)


def _type(signature: Signature, column: Column) -> Any:
    told: Any
    if column.type == DATE:
        told = str
    elif column.name in signature.warn_unseen or column.name in signature.warn_out_of_range:
        told = {"int64": _whole(-INT64, INT64 - 1), "float64": _real(-EXACT, EXACT), "bool": bool, "str": str}[
            column.type
        ]
    elif column.allowed is not None and _is_literal(column):
        told = Literal[column.allowed]
    else:
        told = _bounded(column)
    return told | None if column.nullable else told


def _bounded(column: Column) -> Any:
    if column.type == "bool":
        return bool
    if column.type == "str":
        return Annotated[str, Meta(pattern=column.pattern, min_length=column.shortest, max_length=column.longest)]
    low, high = (
        (-math.inf if column.minimum is None else column.minimum),
        (math.inf if column.maximum is None else column.maximum),
    )
    if column.type == "int64":
        return _whole(math.ceil(max(low, -INT64)), math.floor(min(high, INT64 - 1)))
    return _real(max(low, -EXACT), min(high, EXACT))


def _whole(low: int, high: int) -> Any:
    return Annotated[int, Meta(ge=low, le=high)]


def _real(low: float, high: float) -> Any:
    return Annotated[float, Meta(ge=low, le=high)]


def _struct(name: str, fields: list[Any], names: dict[str, str]) -> Any:
    return msgspec.defstruct(name, fields, rename=cast("Any", names or None), forbid_unknown_fields=True, gc=False)
