"""Steps of a model that scikit-learn does not have. Stored models name these functions: keep their meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

DAY = pd.Timedelta(days=1)
EPOCH = pd.Timestamp(1970, 1, 1)


def floats(frame: pd.DataFrame) -> pd.DataFrame:
    """Make every column float64; false is 0, true is 1."""
    return frame.astype("float64")


class FillEmpty(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Put 0 into columns in which training saw nothing at all: HistGradientBoosting cannot bin those."""

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
    """Read a missing text as an empty one."""
    return text.fillna("")
