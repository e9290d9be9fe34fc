"""What the training data looked like, column by column: travels with each version, so that drift can be told later."""

from __future__ import annotations

from typing import Any

import pandas as pd

from updraft.suite import DATE, Column

REFERENCE = "reference.json"
MOST_VALUES, SAMPLE = 100, 2000


def describe(frame: pd.DataFrame, columns: list[Column], text: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Count each column's values, or sample it where it has more than 100.

    Returns {name: {type, rows, nulls, counts and others | sample | lengths}}. A sample holds at most 2,000 values,
    sorted; of a text column it holds the lengths, not the texts. Dates are ISO 8601.
    """
    return {column.name: _column(frame[column.name], column, column.name in text, seed) for column in columns}


def _column(values: pd.Series[Any], column: Column, is_text: bool, seed: int) -> dict[str, Any]:
    present = values.dropna()
    facts: dict[str, Any] = {"type": column.type, "rows": len(values), "nulls": int(values.isna().sum())}
    if is_text:
        return facts | {"lengths": _sample(present.str.len(), seed)}
    if column.type == DATE:
        present = present.dt.strftime("%Y-%m-%dT%H:%M:%S")
    if column.type in ("str", "bool") or present.nunique() <= MOST_VALUES:
        counts = present.value_counts().head(MOST_VALUES)
        return facts | {
            "counts": {str(value): int(n) for value, n in counts.items()},
            "others": len(present) - int(counts.sum()),
        }
    return facts | {"sample": _sample(present, seed)}


def _sample(values: pd.Series[Any], seed: int) -> list[Any]:
    drawn = values.sample(min(SAMPLE, len(values)), random_state=seed)
    return sorted(drawn.tolist())
