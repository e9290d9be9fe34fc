"""A row of data that was taken for a header, because the file has none."""

from __future__ import annotations

from collections.abc import Sequence

from updraft.model.columns import Column
from updraft.model.reading import NONE, Reading

HINT = (
    "; that looks like a row of data: `read: {header: none}` reads it as one and calls the columns column_1, column_2, "
    "…, which `rename` gives the suite's names"
)


def hint_of_no_header(names: Sequence[str], columns: Sequence[Column], reading: Reading, *, textual: bool) -> str:
    """Return a hint where the names of a text file's columns look like values; otherwise nothing."""
    if not textual or reading.header == NONE:
        return ""
    return HINT if any(_is_value(name, columns) for name in names) else ""


def _is_value(name: str, columns: Sequence[Column]) -> bool:
    """Tell whether a name has digits and no letter, as numbers and dates but no header, or is an allowed value."""
    if any(char.isdigit() for char in name) and not any(char.isalpha() for char in name):
        return True
    return any(name.strip() in column.allowed for column in columns if column.allowed)
