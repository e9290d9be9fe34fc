"""The row that a model is shown with: the first training row, with nothing in it that is private."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pandas as pd

from updraft.errors import BadData, UserError
from updraft.model.columns import Column
from updraft.model.golden import MIN_SHARED, to_json_value
from updraft.regex_texts import matching_texts
from updraft.usecase import UseCase

WORDS = "This is an example. "
MADE = 200  # texts that are made for a pattern


def example_row(case: UseCase, frame: pd.DataFrame) -> dict[str, Any]:
    """Return a row as a request to the service has it: the first of `frame`, its private values replaced.

    A private number or date becomes the median, a category the commonest value, a text one that says nothing. Raises
    BadData when a column takes nothing that could be made up and may not be null.
    """
    row = {name: to_json_value(frame[name].iloc[0]) for name in case.feature_names}
    return row | {name: _neutral(case, case.column(name), frame[name]) for name in case.serving.private}


def _neutral(case: UseCase, column: Column, values: pd.Series[Any]) -> Any:
    for value in _values(case, column, values.dropna()):
        try:
            column.check(value)
        except ValueError:
            continue
        return value
    if column.nullable:
        return None
    told = f"serving.private: no text could be made up that {column.name!r} takes, to show instead of a row's own"
    raise BadData(f"{case.name}: {told}; give the suite a value set of it, or a plainer pattern")


def _values(case: UseCase, column: Column, values: pd.Series[Any]) -> Iterator[Any]:
    """Yield values that are no single person's, the best first."""
    listed = column.allowed is not None or column.type == "bool"
    if listed or column.name in case.categorical or (column.type == "str" and column.name not in case.text):
        yield from _commonest(values, 1 if listed else MIN_SHARED)
    if column.type == "str":
        yield from _texts(column)
    elif column.type != "bool" and len(values):
        yield to_json_value(values.sort_values().iloc[(len(values) - 1) // 2])
    yield from column.allowed or ()


def _commonest(values: pd.Series[Any], least: int) -> list[Any]:
    """Return the value that most rows have, where so many have it, in a list; of two such the one that sorts first."""
    counts = values.value_counts()
    return sorted(counts.index[(counts == counts.max()) & (counts >= least)].tolist())[:1]


def _texts(column: Column) -> Iterator[str]:
    shortest, longest = column.shortest or 0, column.longest
    yield (WORDS * max(1, -(-shortest // len(WORDS)))).strip().ljust(shortest, ".")[:longest]
    if column.pattern is not None:
        try:
            yield from matching_texts(column.pattern, MADE, Random(0))  # noqa: S311  # an example, no secret
        except UserError:
            return
