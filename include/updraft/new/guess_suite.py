"""The expectation suite, guessed from the columns' profiles: ranges with a margin, closed value sets."""

from __future__ import annotations

import math
import re
from typing import Any

from updraft.model.columns import DATE
from updraft.new.column_roles import TargetSpec
from updraft.new.column_types import ColumnProfile

FLAG = {-1, 0, 1}
# A text's values are a closed set, of which a new value is an error, when they are few and each has occurred often:
# a value with a handful of rows suggests that others exist which have not occurred yet.
MAX_SET, MIN_ROWS_PER_VALUE = 20, 10
MARGIN, MARGIN_WITH_OUTLIERS = 0.5, 1.0  # of the span, at either end: next month's values are not quite this month's
MOSTLY_IN_RANGE = 0.98  # a range without the outliers is that of the middle 98 %
# Share of the rows that may lie beyond what the file shows of a feature: a few odd rows stop no run, a column that
# moved does. In a small file that is three rows; target, id and types are never tolerant.
STRAY, STRAY_ROWS, MOST_STRAY = 0.01, 3, 0.1
CALENDAR = re.compile(
    r"(jan|feb|mar|apr|may|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thur|thurs|fri|sat|sun)\.?|"
    r"(january|february|march|april|june|july|august|september|october|november|december)|"
    r"(mon|tues|wednes|thurs|fri|satur|sun)day|(spring|summer|autumn|fall|winter)|q[1-4]([ -]?\d{4})?|"
    r"((19|20)\d\d)([-/ ]?(q[1-4]|w?\d\d?))?",
    re.I,
)
INT64 = (-(2**63), 2**63 - 1)


def guess_expectations(columns: list[ColumnProfile], spec: TargetSpec) -> list[dict[str, Any]]:
    """Return the expectations that the same source should still meet next month."""
    rows = len(columns[0].values)
    result = [_critical("expect_table_columns_to_match_set", column_set=[c.name for c in columns], exact_match=True)]
    # Far fewer rows than now means that an export broke off; an ordinary slow month stays above a tenth.
    result.append(_critical("expect_table_row_count_to_be_between", min_value=max(1, min(rows // 10, 1000))))
    for column in columns:
        result += _of_column(column, spec)
    return result


def _of_column(column: ColumnProfile, spec: TargetSpec) -> list[dict[str, Any]]:
    name, stray = column.name, _tolerance(column)
    result = [_critical("expect_column_values_to_be_of_type", column=name, type_=column.type)]
    if not column.nulls:
        result.append(_critical("expect_column_values_to_not_be_null", column=name, **stray))
    else:
        # Next month may have half as many nulls again, and 5 % more where there are hardly any now.
        share = round(max(0.0, 1 - (1.5 * column.nulls + 0.05)), 2)
        result.append(_warning("expect_column_values_to_not_be_null", column=name, mostly=share))
    if column.role == "id":
        result.append(_critical("expect_column_values_to_be_unique", column=name))
    if column.role == "target" and spec.labels:
        result.append(_critical("expect_column_values_to_be_in_set", column=name, value_set=spec.labels))
    elif values := closed_set(column):
        result.append(_critical("expect_column_values_to_be_in_set", column=name, value_set=values, **stray))
    else:
        result += _range(column)
    return result


def _tolerance(column: ColumnProfile) -> dict[str, float]:
    """Return the argument that lets some rows lie beyond a bound of a feature; nothing for the target and the id."""
    return {} if column.role in ("target", "id") else _few_rows(column)


def _few_rows(column: ColumnProfile) -> dict[str, float]:
    return {"mostly": round(1 - min(max(STRAY, STRAY_ROWS / len(column.values)), MOST_STRAY), 3)}


def closed_set(column: ColumnProfile) -> list[Any]:
    """Return the values of a flag, or of a text with few values of which none is rare; otherwise nothing.

    Of months, weekdays and the like the next ones are other ones; so they are of a text of which new values still
    turned up in the second half of the file.
    """
    counts = column.counts()
    if column.role in ("ignored", "text", "id") or len(counts) < 2:
        return []
    if column.type in ("int64", "float64"):
        return sorted(int(value) for value in counts.index) if set(counts.index) <= FLAG else []
    if column.type != "str" or len(counts) > MAX_SET or counts.min() < MIN_ROWS_PER_VALUE:
        return []
    grows = column.values.iloc[: len(column.values) // 2].nunique() < len(counts)
    is_calendar = all(CALENDAR.fullmatch(str(value).strip()) for value in counts.index)
    return [] if grows or is_calendar else sorted(counts.index)


def _range(column: ColumnProfile) -> list[dict[str, Any]]:
    """Bound numbers by their range plus a margin, and codes not at all.

    Where single values lie far from the rest, the next one may lie farther still: then only the sign is critical, and
    the range of most values is a warning.
    """
    kind, name, present = "expect_column_values_to_be_between", column.name, column.values.dropna()
    stray = _tolerance(column)
    if column.type == DATE:
        return [_critical(kind, column=name, min_value=f"{max(present.min().year - 1, 1):04}-01-01", **stray)]
    if column.type not in ("int64", "float64") or column.role in ("categorical", "ignored"):
        return []
    sign = {"min_value": 0} if present.min() >= 0 else {"max_value": 0} if present.max() <= 0 else {}
    if column.distinct < 2:
        return []
    if column.role == "id":
        return [_critical(kind, column=name, **sign)] if sign else []
    low, high = (float(present.min()), float(present.max()))
    extreme = outlier(column)
    if extreme:
        _, low, high = extreme
    margin = (MARGIN_WITH_OUTLIERS if extreme else MARGIN) * (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(margin))  # bounds are round numbers
    bounds: dict[str, float] = {
        "min_value": math.floor((low - margin) / step) * step,
        "max_value": math.ceil((high + margin) / step) * step,
    }
    bounds |= {end: 0 for end in sign if (bounds[end] < 0) == (end == "min_value")}
    for end, value in bounds.items():
        bounds[end] = min(max(int(value), INT64[0]), INT64[1]) if column.type == "int64" else rounded(value)
    if not extreme:
        # A price beyond the highest so far is no fault, in a target too; of a target a wrong sign is.
        strict = [_critical(kind, column=name, **sign)] if sign and column.role == "target" else []
        return [*strict, _critical(kind, column=name, **bounds, **_few_rows(column))]
    critical = [_critical(kind, column=name, **sign, **stray)] if sign else []
    return [*critical, _warning(kind, column=name, **bounds, mostly=MOSTLY_IN_RANGE)]


def outlier(column: ColumnProfile) -> tuple[float, float, float] | None:
    """Return the most extreme value and the range of the middle 98 %, if it is farther away than that range is wide."""
    if (
        column.type not in ("int64", "float64")
        or column.role not in ("feature", "target")
        or set(column.counts().index) <= FLAG
    ):
        return None
    low, start, end, high = (float(value) for value in column.values.quantile([0, 0.01, 0.99, 1]))
    extreme = high if high - end >= start - low else low
    return (extreme, start, end) if max(start - low, high - end) > end - start else None


def rounded(number: float) -> float:
    """Round to four significant digits."""
    return float(f"{number:.4g}")


def _critical(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical"}


def _warning(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "warning"}
