"""The fast path for columns that match the signature, of text or of Python's values: each different value read once.

It returns rows or gives up, and leaves what is invalid to the slow path (`Signature.check`), which reports each error.
What it returns equals what the slow path would return; tests/serving/body/test_fast_columns.py compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from serving.body import column_check
from updraft.model.columns import Column
from updraft.model.reading import Reading, read_value
from updraft.model.signature import Cell, Rows, Signature, row_pointer


def of_lines(header: Sequence[str], lines: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return lines that are all as long as the header as columns; of equal names the first one counts."""
    return {name: list(map(itemgetter(header.index(name)), lines)) for name in dict.fromkeys(header)}


def read(columns: Mapping[str, Sequence[Any]], signature: Signature, *, textual: bool = False) -> Rows | None:
    """Return the rows of columns of equal length, or None to leave them to the slow path.

    No feature is missing, unless it may be null and the columns are not `textual`.
    """
    layout = signature.layout(columns)
    checked: list[Sequence[Cell]] = []
    found: list[column_check.Found] = []
    for position, (column, key) in enumerate(zip(signature.columns, layout.columns, strict=True)):
        values = None if key is None else _values(column, columns[key], signature.reading, textual=textual)
        odd = None if values is None else column_check.warnings(signature, position, values, row_pointer, key)
        if values is None or odd is None:
            return None
        checked.append(values)
        found += odd
    rows = signature.rows(checked, signature.left_out_warning(layout.left_out) + column_check.in_order(found))
    if layout.id is None:
        return rows
    ids = list(columns[layout.id])
    return rows if all(id_ is None for id_ in ids) else replace(rows, ids=ids)


def _values(column: Column, cells: Sequence[Any], reading: Reading, *, textual: bool) -> list[Cell] | None:
    try:
        values = {cell: read_value(column, cell, reading, textual=textual, iso_dates=True) for cell in set(cells)}
    except ValueError:
        return None
    return list(map(values.__getitem__, cells))
