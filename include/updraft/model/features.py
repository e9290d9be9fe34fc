"""Steps of a pipeline that scikit-learn does not have.

Stored models name this module and what is in it (pickle stores references): nothing here may be renamed or change
its meaning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

DAY = pd.Timedelta(days=1)
EPOCH = pd.Timestamp(1970, 1, 1)


def floats(frame: pd.DataFrame) -> pd.DataFrame:
    """Cast every column to float64; false becomes 0, true 1."""
    return frame.astype("float64")


class FillEmpty(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Set columns that were entirely missing in training to 0: HistGradientBoosting cannot bin them."""

    def fit(self, frame: Any, target: Any = None) -> FillEmpty:
        self.empty_ = np.isnan(np.asarray(frame, dtype="float64")).all(axis=0)
        return self

    def transform(self, frame: Any) -> Any:
        values = np.array(frame, dtype="float64")
        values[:, self.empty_] = 0.0
        return values


def date_parts(frame: pd.DataFrame) -> pd.DataFrame:
    """Split each date column into days since 1970, year, month, day of month and day of week (Monday 0), float64."""
    parts = {}
    for name, dates in frame.items():
        parts[f"{name} days"] = (dates - EPOCH) / DAY
        for part in ("year", "month", "day", "day_of_week"):
            parts[f"{name} {part}"] = getattr(dates.dt, part)
    return pd.DataFrame(parts, index=frame.index).astype("float64")


def filled(text: pd.Series[str]) -> pd.Series[str]:
    """Replace missing texts by empty ones."""
    return text.fillna("")
