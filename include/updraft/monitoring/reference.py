"""A profile of the training data, column by column, stored with each version so that drift can be detected later."""

from __future__ import annotations

from typing import Any

import pandas as pd

from updraft.model.columns import DATE, Column
from updraft.usecase import UseCase

REFERENCE = "reference.json"
MAX_VALUES, SAMPLE = 100, 2000  # keeps reference.json small, whatever the data


def describe(frame: pd.DataFrame, case: UseCase) -> dict[str, Any]:
    """Count the values of each feature and of the target, or sample them where there are more than 100.

    Returns {name: {type, rows, nulls, counts and others | sample | lengths}}. A sample holds at most 2,000 values,
    sorted. A text column has a sample of the lengths, a private one neither counts nor sample. Dates are ISO 8601.
    """
    columns = [*case.features, case.column(case.target)]
    return {column.name: _column(frame[column.name], column, case) for column in columns}


def _column(values: pd.Series[Any], column: Column, case: UseCase) -> dict[str, Any]:
    present = values.dropna()
    profile: dict[str, Any] = {"type": column.type, "rows": len(values), "nulls": int(values.isna().sum())}
    if column.name in case.text:
        return profile | {"lengths": _sample(present.str.len(), case.seed)}
    if column.name in case.serving.private:
        return profile
    if column.type == DATE:
        present = present.dt.strftime("%Y-%m-%dT%H:%M:%S")
    if column.type in ("str", "bool") or present.nunique() <= MAX_VALUES:
        counts = present.value_counts().head(MAX_VALUES)
        return profile | {
            "counts": {str(value): int(n) for value, n in counts.items()},
            "others": len(present) - int(counts.sum()),
        }
    return profile | {"sample": _sample(present, case.seed)}


def _sample(values: pd.Series[Any], seed: int) -> list[Any]:
    drawn = values.sample(min(SAMPLE, len(values)), random_state=seed)
    return sorted(drawn.tolist())
