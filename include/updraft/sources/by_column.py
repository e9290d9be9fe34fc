"""Columns read as a whole where they plainly fit, value by value where one does not, and only odd rows as rows.

So an odd value costs its own column and its own row, and no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from updraft.model.columns import Column
from updraft.model.reading import NANS, UNDECODED
from updraft.sources.rows import ARROW, RowConverter
from updraft.sources.source import Batch

Values: TypeAlias = pa.ChunkedArray | list[Any]
Rows = Callable[[Sequence[int]], list[tuple[str, dict[str, Any]]]]


def read_by_column(converter: RowConverter, columns: Sequence[Values], rows: Rows, odd: set[int], torn: bool) -> Batch:
    """Read columns, in the order of `converter.columns`; `rows` gives some of their rows, by index, with their places.

    `odd` are rows that are known not to fit plainly. In a `torn` source texts may hold U+FFFD. Each row comes out as
    `converter.convert_rows` reads it, in the same order; the batch's `rows` are indices into the columns.
    """
    odd = set(odd)
    arrays: list[Any] = []
    slow: list[str] = []
    at_nan: list[set[int]] = []
    for column, values in zip(converter.columns, columns, strict=True):
        array = None if isinstance(values, list) else converter.convert_column(column, values)
        if array is None:
            slow.append(column.name)
            array, faults, with_nan = _by_value(converter, column, values)
            odd |= faults
            at_nan.append(with_nan)
            arrays.append(array)
            continue
        at_nan.append(converter.nans.get(column.name, set()))
        if torn and column.type == "str":
            odd.update(pc.indices_nonzero(pc.match_substring(array, UNDECODED).fill_null(False)).to_pylist())
        arrays.append(array)
    for column, array in zip(converter.columns, arrays, strict=True):
        if "null" in column.tolerated and array.null_count:
            odd.update(pc.indices_nonzero(pc.is_null(array)).to_pylist())
    table = pa.table(arrays, schema=converter.schema)
    nans = sum(len(indices - odd) for indices in at_nan)
    if not odd:
        return Batch(table, nans=nans, units=converter.units, slow=tuple(slow), rows=range(len(table)))
    indices = sorted(odd)
    placed = rows(indices)
    batch = converter.convert_rows(placed)
    refused = {reject.place for reject in batch.rejects}
    fitting = [index for index, (place, _) in zip(indices, placed, strict=True) if place not in refused]
    merged = _merged(table, odd, batch.table, fitting)
    kept = sorted({*range(len(table))} - odd | {*fitting})
    return replace(batch, table=merged, nans=nans + batch.nans, slow=tuple(slow), rows=kept)


def as_column(values: list[Any]) -> Values:
    """Turn values into a column of one type; leave them as they are where they are of more than one."""
    types = set(map(type, values)) - {type(None)}
    if len(types) > 1 and not types <= {int, float}:  # Arrow would make 1.0 of true
        return values
    try:
        return pa.chunked_array([values])
    except (OverflowError, UnicodeError, pa.ArrowException):
        return values


def _by_value(converter: RowConverter, column: Column, values: Values) -> tuple[pa.Array, set[int], set[int]]:
    """Read a column value by value; return also the indices of those that do not fit, and of NaN."""
    found: list[Any] = []
    faults: set[int] = set()
    at_nan: set[int] = set()
    known: dict[str, Any] = {}  # texts repeat
    for index, value in enumerate(values if isinstance(values, list) else values.to_pylist()):
        if value in NANS or (isinstance(value, float) and math.isnan(value)):
            at_nan.add(index)
        try:
            if not isinstance(value, str):
                found.append(converter.convert_value(column, value))
                continue
            if value not in known:
                known[value] = converter.convert_value(column, value)
            found.append(known[value])
        except ValueError:
            faults.add(index)
            found.append(None)
    return pa.array(found, ARROW[column.type]), faults, at_nan


def _merged(table: pa.Table, odd: set[int], late: pa.Table, fitting: list[int]) -> pa.Table:
    """Leave the odd rows out of a table, except those that fit after all, which come in their places."""
    plain = [index for index in range(len(table)) if index not in odd]
    kept = table.take(pa.array(plain, pa.int64()))
    if not fitting:
        return kept
    order = pc.sort_indices(pa.array(plain + fitting, pa.int64()))
    return pa.concat_tables([kept, late]).take(order)
