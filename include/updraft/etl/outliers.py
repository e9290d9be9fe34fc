"""Outliers of a column of numbers: their bounds, and what becomes of them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from updraft.etl.schema import Outliers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handled:
    """A column without its outliers, which rows had one, and what `clean.json` says of it."""

    values: pa.ChunkedArray
    rows: pa.ChunkedArray
    facts: dict[str, Any]


def handle_outliers(name: str, values: pa.ChunkedArray, rule: Outliers) -> Handled:
    """Clip a column's outliers or make them null; those to quarantine stay, for their rows are left out."""
    low, high = bounds(values, rule)
    if pa.types.is_integer(values.type):
        low = low if math.isinf(low) else math.ceil(low)
        high = high if math.isinf(high) else math.floor(high)
    least, greatest = (pc.min_max(values).as_py()[end] for end in ("min", "max"))
    wipes = least is not None and (low >= high or high <= least or low >= greatest)
    if wipes:  # most rows have one value: by this rule each other one would be an outlier
        only = least if high <= least else greatest if low >= greatest else low
        log.warning("clean.outliers.%s: by its rule all values but %g are outliers; none is taken for one", name, only)
        low, high = -math.inf, math.inf
    outside = pc.or_(pc.less(values, low), pc.greater(values, high)).fill_null(False)
    count = pc.sum(outside).as_py() or 0
    facts = {"rule": rule.rule, "low": _finite(low), "high": _finite(high), "then": rule.then, "outliers": count}
    if count and rule.then == "null":
        values = pc.if_else(outside, pa.scalar(None, values.type), values)
    elif count and rule.then == "clip":
        clipped = pc.min_element_wise(pc.max_element_wise(values, low, skip_nulls=False), high, skip_nulls=False)
        values = pc.if_else(outside, clipped, values).cast(values.type)
    return Handled(values, outside, facts)


def bounds(values: pa.ChunkedArray, rule: Outliers) -> tuple[float, float]:
    """Return the lowest and the highest value that is no outlier; infinite where there is no bound."""
    shares = [0.25, 0.75] if rule.rule == "iqr" else [rule.low or 0.0, rule.high or 1.0]
    low, high = pc.quantile(values, q=shares).to_pylist()
    if low is None:  # no values
        return -math.inf, math.inf
    if rule.rule == "iqr":
        return low - rule.factor * (high - low), high + rule.factor * (high - low)
    return (low if rule.low is not None else -math.inf), (high if rule.high is not None else math.inf)


def _finite(edge: float) -> float | None:
    return None if math.isinf(edge) else edge
