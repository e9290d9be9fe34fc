"""The fast path for cells of text that match the signature: column by column, each different text of it read once.

It returns rows or gives up, and leaves what is invalid to the slow path (`Signature.check`), which reports each error.
What it returns equals what the slow path would return; tests/serving/body/test_fast_csv.py compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

from serving.body import column_check
from updraft.model.columns import Column
from updraft.model.reading import Reading, read_value
from updraft.model.signature import Cell, Rows, Signature, row_pointer


def read(header: Sequence[str], lines: Sequence[Sequence[str]], signature: Signature) -> Rows | None:
    """Return the rows of lines that are all as long as the header, or None to leave them to the slow path.

    No feature stands twice in the header, or is missing there.
    """
    layout = signature.layout(header)
    columns: list[Sequence[Cell]] = []
    found: list[column_check.Found] = []
    for position, (column, key) in enumerate(zip(signature.columns, layout.columns, strict=True)):
        values = None if key is None else _values(column, _column(header, lines, key), signature.reading)
        odd = None if values is None else column_check.warnings(signature, position, values, row_pointer, key)
        if values is None or odd is None:
            return None
        columns.append(values)
        found += odd
    not_used = signature.left_out_warning(dict.fromkeys(layout.left_out))  # once each: several may have no name
    rows = signature.rows(columns, not_used + column_check.in_order(found))
    return rows if layout.id is None else replace(rows, ids=_column(header, lines, layout.id))


def _column(header: Sequence[str], lines: Sequence[Sequence[str]], name: str) -> list[str]:
    return list(map(itemgetter(header.index(name)), lines))


def _values(column: Column, texts: Sequence[str], reading: Reading) -> list[Cell] | None:
    try:
        values = {text: read_value(column, text, reading, textual=True, iso_dates=True) for text in set(texts)}
    except ValueError:
        return None
    return list(map(values.__getitem__, texts))
