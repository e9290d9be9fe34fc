"""Draw the values of one synthetic column: as the `demo` block says, otherwise within the suite's bounds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from updraft.model.columns import DATE, Column
from updraft.regex_texts import matching_texts
from updraft.usecase import UseCase
from updraft.usecase.blocks import Scalar
from updraft.usecase.demo_block import Triangle

Values = NDArray[Any]

DAY = 86_400.0  # seconds
SINCE = 1_704_067_200.0  # 2024-01-01, where dates start without a lower bound
SPAN, DATE_SPAN = 100.0, 730 * DAY  # of ranges without an upper bound
CATEGORIES = 12  # different texts of a column without a value set


@dataclass(frozen=True)
class Bounds:
    """A column's bounds in the suite, of any severity; dates are seconds since 1970."""

    low: float | None = None
    high: float | None = None
    allowed: tuple[Any, ...] = ()
    pattern: str | None = None
    lengths: tuple[int, int] = (0, 1000)
    unique: bool = False

    def fit(self, text: str) -> str:
        """Cut a text, or pad it with dots, to a length that the suite allows."""
        return text[: self.lengths[1]].ljust(self.lengths[0], ".")


def bounds_of(case: UseCase, column: Column) -> Bounds:
    """Collect a column's bounds from the suite; of several ranges, their intersection."""
    suite = json.loads(case.suite.read_text(encoding="utf-8"))["expectations"]
    expectations = [(entry["type"], entry["kwargs"]) for entry in suite if entry["kwargs"].get("column") == column.name]
    by_kind: dict[str, Any] = dict(expectations)
    ranges = [kwargs for kind, kwargs in expectations if kind == "expect_column_values_to_be_between"]
    lengths = [kwargs for kind, kwargs in expectations if kind == "expect_column_value_lengths_to_be_between"]
    labels = tuple(label.value for label in case.labels) if column.name == case.target else ()
    return Bounds(
        low=_narrowest(column, ranges, "min", max, 1),
        high=_narrowest(column, ranges, "max", min, -1),
        allowed=labels or tuple(by_kind.get("expect_column_values_to_be_in_set", {}).get("value_set", ())),
        pattern=by_kind.get("expect_column_values_to_match_regex", {}).get("regex"),
        lengths=(
            max((kwargs.get("min_value") or 0 for kwargs in lengths), default=0),
            min((kwargs.get("max_value") or 1000 for kwargs in lengths), default=1000),
        ),
        unique=column.name == case.id or "expect_column_values_to_be_unique" in by_kind,
    )


def draw(case: UseCase, column: Column, bound: Bounds, count: int, random: np.random.Generator) -> Values:
    """Draw values by the YAML's shape, otherwise within the suite's bounds."""
    shape = case.demo.columns.get(column.name)
    if isinstance(shape, (Triangle, dict)):
        return draw_simple(column, shape, count, random)
    if bound.unique:
        return _distinct(column, bound, count, random)
    if bound.allowed:
        return np.array(bound.allowed, dtype=object)[random.integers(len(bound.allowed), size=count)]
    if column.type == "bool":
        return random.random(count) < 0.5
    if column.type == "str":
        return _distinct(column, bound, CATEGORIES, random)[random.integers(CATEGORIES, size=count)]
    return _in_range(column, bound, random.random(count), whole=column.name in case.categorical)


def draw_simple(
    column: Column, shape: Triangle | dict[Scalar, float], count: int, random: np.random.Generator
) -> Values:
    """Draw values by weight, or from a triangular distribution."""
    if isinstance(shape, dict):
        weights = np.array(list(shape.values()))
        return np.array(list(shape), dtype=object)[random.choice(len(shape), count, p=weights / weights.sum())]
    low, mode, high = (_number(column, end) for end in (shape.low, shape.mode, shape.high))
    drawn = random.triangular(low, mode, high, count) if low < high else np.full(count, low)
    return _as_column(column, drawn, low, high)


def _number(column: Column, value: Any) -> float:
    return pd.Timestamp(value).timestamp() if column.type == DATE else float(value)


def _narrowest(
    column: Column, ranges: list[dict[str, Any]], end: str, narrowest: Callable[..., float | None], inwards: int
) -> float | None:
    """Return the innermost of the ranges' ends; an exclusive end is moved inwards by the smallest step."""
    ends = []
    for kwargs in ranges:
        if kwargs.get(f"{end}_value") is not None:
            value = _number(column, kwargs[f"{end}_value"])
            step = inwards if column.type != "float64" else float(np.nextafter(value, inwards * np.inf)) - value
            ends.append(value + step if kwargs.get(f"strict_{end}") else value)
    return narrowest(ends, default=None)


def _in_range(column: Column, bound: Bounds, shares: Values, whole: bool) -> Values:
    """Map shares in [0, 1) uniformly to the range."""
    start, span = (SINCE, DATE_SPAN) if column.type == DATE else (0.0, SPAN)
    if bound.low is not None:
        start = bound.low
    elif bound.high is not None:
        start = min(start, bound.high - span)
    end = start + span if bound.high is None else bound.high
    if whole or column.type == "int64":
        first, last = math.ceil(start), math.floor(end)
        steps: Values = np.floor(shares * (last - first + 1))
        return np.asarray(np.clip(first + steps, first, last))
    return _as_column(column, start + shares * (end - start), start, end)


def _as_column(column: Column, drawn: Values, low: float, high: float) -> Values:
    """Round to about four significant digits, within the range; seconds become dates."""
    if column.type == DATE:
        return np.clip(drawn.round(), low, high).astype("datetime64[s]")
    places = 0 if column.type == "int64" or low == high else max(0, 3 - math.floor(math.log10(high - low)))
    return np.clip(drawn.round(places), low, high)


def _distinct(column: Column, bound: Bounds, count: int, random: np.random.Generator) -> Values:
    """Generate distinct values, as far as the suite allows so many."""
    if bound.allowed:
        return random.permutation(np.array(bound.allowed, dtype=object))[:count]
    if column.type == "str":
        names = _names(column, bound, count)
        return np.array(_matching(bound.pattern, names, random) if bound.pattern else names)
    if column.type == "int64":
        first = int(bound.low or 1) if bound.high is None else int(max(bound.low or 1, 1 - count + bound.high))
        return np.arange(first, first + count)
    return _in_range(column, bound, (np.arange(count) + 0.5) / count, whole=False)


def _matching(pattern: str, names: list[str], random: np.random.Generator) -> list[str]:
    """Return the names if all match the pattern, otherwise texts generated from it."""
    if all(re.search(pattern, name) for name in names):
        return names
    texts = matching_texts(pattern, len(names), Random(int(random.integers(2**32))))  # noqa: S311  # rows, not secrets
    return [texts[number % len(texts)] for number in range(len(names))]


def _names(column: Column, bound: Bounds, count: int) -> list[str]:
    digits = len(str(count - 1))
    return [bound.fit(f"{number:0{digits}} {column.name}") for number in range(count)]
