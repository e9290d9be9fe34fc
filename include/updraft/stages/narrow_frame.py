"""Training rows in narrow types, from which every step of a pipeline computes what it computes from the suite's.

The first step casts numbers to float64, and encoders take the values of a category, not its codes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from updraft.learning.estimators import columns_by_kind
from updraft.stages.stage_folder import WIDE, in_suite_types
from updraft.usecase import UseCase

MOST_DISTINCT = 0.5  # of the rows: a column with more distinct texts is no smaller as categories


def read_narrow(case: UseCase, path: Path) -> pd.DataFrame:
    """Read the training rows, one column at a time; what is no number and no text of a category keeps its type."""
    with pq.ParquetFile(path) as parquet:
        columns = {name: _read_column(case, parquet, name) for name in parquet.schema_arrow.names}
    return pd.DataFrame(columns, copy=len(columns) >= WIDE)


def narrow(case: UseCase, frame: pd.DataFrame) -> pd.DataFrame:
    """Give rows that are in memory, in the suite's types, the narrow ones."""
    return pd.DataFrame({name: _narrow_column(case, frame[name]) for name in frame})


def _read_column(case: UseCase, parquet: pq.ParquetFile, name: str) -> pd.Series[Any]:
    frame = in_suite_types(case, parquet.read([name]).to_pandas())
    column = _narrow_column(case, frame[name])
    pa.default_memory_pool().release_unused()
    return column


def _narrow_column(case: UseCase, column: pd.Series[Any]) -> pd.Series[Any]:
    kinds = columns_by_kind(case)
    if column.name in kinds["numbers"]:
        return _narrow_numbers(column)
    if column.name in kinds["categories"] and column.dtype == "str":
        categories = column.astype("category")
        return categories if len(categories.cat.categories) <= MOST_DISTINCT * len(column) else column
    return column


def _narrow_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    if column.dtype == "int64":
        return pd.to_numeric(column, downcast="integer")
    if column.dtype != "float64":
        return column
    with np.errstate(over="ignore"):
        narrower = column.astype("float32")
    # pandas' own `downcast` takes what is nearly the same.
    return narrower if np.array_equal(narrower.to_numpy("float64"), column.to_numpy(), equal_nan=True) else column
