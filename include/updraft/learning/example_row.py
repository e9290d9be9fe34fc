"""The example row of a model's signature: the first training row, private values replaced."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pandas as pd

from updraft.errors import BadData, UserError
from updraft.learning.golden_rows import MIN_SHARED, to_json_value
from updraft.model.columns import Column
from updraft.regex_texts import matching_texts
from updraft.usecase import UseCase

PLACEHOLDER = "This is an example. "
MAX_TEXTS = 200  # generated texts to try for a pattern


def example_row(case: UseCase, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the first row of `frame` as JSON, as a request to the service has it; private values are replaced.

    A private number or date becomes the median, a category the most common value, a text a placeholder. Raises BadData
    when no valid replacement could be generated and the column may not be null.
    """
    row = {name: to_json_value(frame[name].iloc[0]) for name in case.feature_names}
    return row | {name: _replacement(case, case.column(name), frame[name]) for name in case.serving.private}


def _replacement(case: UseCase, column: Column, values: pd.Series[Any]) -> Any:
    for value in _candidates(case, column, values.dropna().astype(column.type)):
        try:
            column.check(value)
        except ValueError:
            continue
        return value
    if column.nullable:
        return None
    message = f"serving.private: no text could be generated that {column.name!r} accepts, for the example"
    raise BadData(f"{case.name}: {message}; add a value set to the suite, or simplify the pattern")


def _candidates(case: UseCase, column: Column, values: pd.Series[Any]) -> Iterator[Any]:
    """Yield values that identify no person, the best first."""
    listed = column.allowed is not None or column.type == "bool"
    if listed or column.name in case.categorical or (column.type == "str" and column.name not in case.text):
        yield from _most_common(values, 1 if listed else MIN_SHARED)
    if column.type == "str":
        yield from _texts(column)
    elif column.type != "bool" and len(values):
        yield to_json_value(values.sort_values().iloc[(len(values) - 1) // 2])
    yield from column.allowed or ()


def _most_common(values: pd.Series[Any], least: int) -> list[Any]:
    """Return the most common value, in a list, if at least `least` rows have it; on a tie the one that sorts first."""
    counts = values.value_counts()
    return sorted(counts.index[(counts == counts.max()) & (counts >= least)].tolist())[:1]


def _texts(column: Column) -> Iterator[str]:
    shortest, longest = column.shortest or 0, column.longest
    yield (PLACEHOLDER * max(1, -(-shortest // len(PLACEHOLDER)))).strip().ljust(shortest, ".")[:longest]
    if column.pattern is not None:
        try:
            yield from matching_texts(column.pattern, MAX_TEXTS, Random(0))  # noqa: S311  # an example, no secret
        except UserError:
            return
