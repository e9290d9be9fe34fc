"""What a profile comes to in a suite and in a YAML's `demo` block: numbers with room, sets that are closed."""

from __future__ import annotations

import math
from typing import Any

from updraft.model.columns import DATE
from updraft.new.column_roles import Goal
from updraft.new.column_types import Seen

FLAG = {-1, 0, 1}
FEW = 20  # values of a text that may be a closed set
SURE = 10  # rows that each of them has, before a new value is thought a fault
INT64 = (-(2**63), 2**63 - 1)


def expectations(columns: list[Seen], goal: Goal) -> list[dict[str, Any]]:
    """Write what the same source should still keep to next month."""
    rows = len(columns[0].values)
    made = [_critical("expect_table_columns_to_match_set", column_set=[c.name for c in columns], exact_match=True)]
    made.append(_critical("expect_table_row_count_to_be_between", min_value=max(1, min(rows // 10, 1000))))
    for column in columns:
        made += _of_column(column, goal)
    return made


def _of_column(column: Seen, goal: Goal) -> list[dict[str, Any]]:
    name = column.name
    made = [_critical("expect_column_values_to_be_of_type", column=name, type_=column.type)]
    if not column.nulls:
        made.append(_critical("expect_column_values_to_not_be_null", column=name))
    else:
        share = round(max(0.0, 1 - (1.5 * column.nulls + 0.05)), 2)
        made.append(_warning("expect_column_values_to_not_be_null", column=name, mostly=share))
    if column.role == "id":
        made.append(_critical("expect_column_values_to_be_unique", column=name))
    if column.role == "target" and goal.labels:
        made.append(_critical("expect_column_values_to_be_in_set", column=name, value_set=goal.labels))
    elif values := closed(column):
        made.append(_critical("expect_column_values_to_be_in_set", column=name, value_set=values))
    else:
        made += _range(column)
    return made


def closed(column: Seen) -> list[Any]:
    """Return the values of a flag, or of a text of few values none of which is rare; else nothing."""
    counts = column.counts()
    if column.role in ("ignored", "text", "id") or len(counts) < 2:
        return []
    if column.type in ("int64", "float64"):
        return sorted(int(value) for value in counts.index) if set(counts.index) <= FLAG else []
    if column.type == "str" and len(counts) <= FEW and counts.min() >= SURE:
        return sorted(counts.index)
    return []


def _range(column: Seen) -> list[dict[str, Any]]:
    """Bound numbers with half of their span as room at both ends, and codes not at all.

    Where single values lie far from the rest, the next ones may lie farther: there only the sign is sure, and most
    values are expected in the range, which warns.
    """
    kind, name, there = "expect_column_values_to_be_between", column.name, column.values.dropna()
    if column.type == DATE:
        return [_critical(kind, column=name, min_value=f"{max(there.min().year - 1, 1):04}-01-01")]
    if column.type not in ("int64", "float64") or column.role in ("categorical", "ignored"):
        return []
    sign = {"min_value": 0} if there.min() >= 0 else {"max_value": 0} if there.max() <= 0 else {}
    if column.distinct < 2:
        return []
    if column.role == "id":
        return [_critical(kind, column=name, **sign)] if sign else []
    low, high = (float(there.min()), float(there.max()))
    far = strays(column)
    if far:
        low, high = far[1], far[2]
    room = (0.5 if not far else 1.0) * (high - low) or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(room))
    bounds: dict[str, float] = {
        "min_value": math.floor((low - room) / step) * step,
        "max_value": math.ceil((high + room) / step) * step,
    }
    bounds |= {end: 0 for end in sign if (bounds[end] < 0) == (end == "min_value")}
    for end, value in bounds.items():
        bounds[end] = min(max(int(value), INT64[0]), INT64[1]) if column.type == "int64" else rounded(value)
    if not far:
        return [_critical(kind, column=name, **bounds)]
    surely = [_critical(kind, column=name, **sign)] if sign else []
    return [*surely, _warning(kind, column=name, **bounds, mostly=0.98)]


def strays(column: Seen) -> tuple[float, float, float] | None:
    """Return the value farthest from the rest, and where the middle 98 % lie, when it is far: beyond their span."""
    if (
        column.type not in ("int64", "float64")
        or column.role not in ("feature", "target")
        or set(column.counts().index) <= FLAG
    ):
        return None
    low, start, end, high = (float(each) for each in column.values.quantile([0, 0.01, 0.99, 1]))
    farthest = high if high - end >= start - low else low
    return (farthest, start, end) if max(start - low, high - end) > end - start else None


def rounded(number: float) -> float:
    return float(f"{number:.4g}")


def _critical(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical"}


def _warning(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "warning"}
