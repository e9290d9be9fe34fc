"""Outliers of a column of numbers: their bounds, and what becomes of them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from updraft.etl.schema import Outliers

LEAST, GREATEST = -(2.0**63), 2.0**63  # beyond all integers of a column
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest value of a column that is no outlier; infinite where there is no bound."""

    low: float
    high: float

    def outside(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return which values are outliers; null is none. An infinite bound would make floats of integers."""
        none = pc.and_(pc.is_null(values), pc.is_valid(values))
        below = none if math.isinf(self.low) else pc.less(values, self.low)
        above = none if math.isinf(self.high) else pc.greater(values, self.high)
        return pc.or_(below, above).fill_null(False)

    def clip(self, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Take the nearest bound for each outlier."""
        clipped = values
        if not math.isinf(self.low):
            clipped = pc.max_element_wise(clipped, self.low, skip_nulls=False)
        if not math.isinf(self.high):
            clipped = pc.min_element_wise(clipped, self.high, skip_nulls=False)
        return pc.if_else(self.outside(values), clipped, values).cast(values.type)


def find_bounds(name: str, values: pa.ChunkedArray, rule: Outliers) -> Bounds:
    """Find the bounds of a whole column by its rule; without any where all values but one would be outliers."""
    low, high = _by_rule(values, rule)
    if pa.types.is_integer(values.type):
        low = -math.inf if low <= LEAST else math.ceil(low)
        high = math.inf if high >= GREATEST else math.floor(high)
    least, greatest = (pc.min_max(values).as_py()[end] for end in ("min", "max"))
    wipes = least is not None and (low >= high or high <= least or low >= greatest)
    if wipes:  # most rows have one value: by this rule each other one would be an outlier
        only = least if high <= least else greatest if low >= greatest else low
        log.warning("clean.outliers.%s: by its rule all values but %g are outliers; none is taken for one", name, only)
        return Bounds(-math.inf, math.inf)
    return Bounds(low, high)


def handle_outliers(
    values: pa.ChunkedArray, outside: pa.ChunkedArray, bounds: Bounds, rule: Outliers
) -> pa.ChunkedArray:
    """Clip outliers or make them null; those to quarantine stay, for their rows are left out."""
    if not pc.any(outside).as_py() or rule.then == "quarantine":
        return values
    return bounds.clip(values) if rule.then == "clip" else pc.if_else(outside, pa.scalar(None, values.type), values)


def _by_rule(values: pa.ChunkedArray, rule: Outliers) -> tuple[float, float]:
    shares = [0.25, 0.75] if rule.rule == "iqr" else [rule.low or 0.0, rule.high or 1.0]
    low, high = pc.quantile(values, q=shares).to_pylist()
    if low is None:  # no values
        return -math.inf, math.inf
    if rule.rule == "iqr":
        return low - rule.factor * (high - low), high + rule.factor * (high - low)
    return (low if rule.low is not None else -math.inf), (high if rule.high is not None else math.inf)
