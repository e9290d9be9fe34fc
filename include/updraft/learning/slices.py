"""Slices: the rows of each common value of a column, to measure them apart."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

log = logging.getLogger(__name__)

MIN_SLICE_ROWS, MAX_SLICES = 30, 20  # a metric over fewer rows is chance; a report of more values is not read


def slices(values: pd.Series[Any]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the most common values of a column that have MIN_SLICE_ROWS rows or more, and which rows have them."""
    counts = values.value_counts(dropna=False)
    if left_out := len(counts) - len(kept := counts.head(MAX_SLICES)[lambda rows: rows >= MIN_SLICE_ROWS]):
        log.warning(
            "slices: %d values of %s are left out: fewer than %d rows, or not among the %d most common",
            left_out, values.name, MIN_SLICE_ROWS, MAX_SLICES,
        )  # fmt: skip
    for value in kept.index:
        inside = values.isna() if value != value else values == value  # NaN is not itself
        yield str(value), inside.to_numpy(dtype=bool)
