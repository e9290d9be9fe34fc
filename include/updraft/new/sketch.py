"""What a profile comes to in a suite and in a YAML's `demo` block: numbers with room, sets that are closed."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from updraft.new.profile import Seen
from updraft.new.roles import Goal
from updraft.suite import DATE

FLAG = {-1, 0, 1}
FEW = 20  # values of a text that may be a closed set
SURE = 10  # rows that each of them has, before a new value is thought a fault
INT64 = (-(2**63), 2**63 - 1)
WORD = re.compile(r"[a-z]{4,14}")


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
        bounds[end] = min(max(int(value), INT64[0]), INT64[1]) if column.type == "int64" else _short(value)
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


def demo(columns: list[Seen], target: Seen, goal: Goal) -> dict[str, Any]:
    """Describe rows of this shape: how values are spread, and what the target hangs on."""
    rows = min(max(len(target.values), 1000), 20_000)
    there = target.values.notna()
    truth = _truth(target.values[there], goal)
    drawn: dict[str, Any] = {}
    signal: dict[str, Any] = {}
    for column in columns:
        if column.role == "text":
            drawn |= _words(column, target, goal)
        elif column.role != "id" and (shape := _shape(column, goal)):
            drawn[column.name] = shape
        if column.role in ("feature", "categorical") and column.distinct > 1:
            signal[column.name] = _effect(column, column.values[there], truth)
    strongest = sorted((name for name in signal if signal[name][0]), key=lambda name: -signal[name][0])[:8]
    nulls = {c.name: round(c.nulls, 3) for c in columns if 0.0005 < c.nulls < 1 and c.role not in ("target", "id")}
    return {"rows": rows, "columns": drawn, "nulls": nulls, "signal": {name: signal[name][1] for name in strongest}}


def _truth(values: pd.Series[Any], goal: Goal) -> pd.Series[Any]:
    """Put the target on one scale: mean 0, deviation 1."""
    if goal.task == "regression":
        numbers = values.rank()
    else:
        numbers = values.map({label: number for number, label in enumerate(goal.labels)}).astype("float64")
    return (numbers - numbers.mean()) / (numbers.std() or 1)


def _shape(column: Seen, goal: Goal) -> dict[Any, Any]:
    there = column.values.dropna()
    coded = column.role == "categorical" or column.type in ("str", "bool") or bool(closed(column))
    if coded or (column.role == "target" and goal.labels):
        if column.role == "ignored" and column.distinct > FEW:
            return {}
        shares = there.value_counts(normalize=True).head(FEW)
        return {_plain(value): max(round(float(share), 4), 0.0001) for value, share in shares.items()}
    if column.type == DATE:
        days = there.sort_values().iloc[[0, len(there) // 2, -1]]
        return dict(zip(("low", "mode", "high"), (day.date() for day in days), strict=True))
    ends = [float(there.quantile(q)) for q in (0.01, 0.5, 0.99)]
    rounded = [int(end) for end in ends] if column.whole else [_short(end) for end in ends]
    return dict(zip(("low", "mode", "high"), rounded, strict=True))


def _effect(column: Seen, values: pd.Series[Any], truth: pd.Series[Any]) -> tuple[float, Any]:
    """Return how strongly the target goes with a column, and the weights that say how."""
    if column.role == "categorical" or column.type in ("str", "bool"):
        means = truth.groupby(values.rename(None)).agg(["mean", "size"]).sort_values("size", ascending=False).head(FEW)
        weights = {_plain(value): round(float(mean), 2) for value, mean in means["mean"].items() if abs(mean) >= 0.05}
        return float(np.average(means["mean"].abs(), weights=means["size"])), weights
    numbers = values.astype("int64") / 86_400e6 if column.type == DATE and not column.nulls else values
    if column.type == DATE and column.nulls:
        return 0.0, 0.0
    numbers = numbers.astype("float64")
    spread = float(numbers.std()) or 1.0
    linked = float(numbers.corr(truth, method="spearman")) if numbers.nunique() > 1 else 0.0
    return (abs(linked), _short(linked / spread)) if abs(linked) >= 0.02 else (0.0, 0.0)


def _words(column: Seen, target: Seen, goal: Goal) -> dict[str, Any]:
    """Find words that speak for a label (of a number: for its lower or upper half), and words that say nothing."""
    sides = _sides(target, goal)
    sample = column.values.dropna().head(5000)
    lengths = sample.map(lambda text: len(text.split())).quantile([0.1, 0.9]).astype(int).clip(1, 60)
    counts = {side: Counter[str]() for side in dict.fromkeys(sides)}
    for text, side in zip(sample, sides[sample.index], strict=True):
        if side in counts:
            counts[side].update(set(WORD.findall(text.lower())))
    total = sum(counts.values(), Counter[str]())
    common = [word for word, number in total.most_common(2000) if number >= max(5, len(sample) / 500)]
    speak: dict[str, list[str]] = {}
    for side in counts:
        size = max(int((sides[sample.index] == side).sum()), 1)
        lift = {w: (counts[side][w] + 1) / size / ((total[w] + 2) / len(sample)) for w in common}
        speak[str(side)] = sorted(lift, key=lambda word: (-lift[word], word))[:8]
    said = {word for words in speak.values() for word in words}
    filler = [word for word in common if word not in said][:20]
    if not filler or not all(speak.values()):
        return {}
    low, high = (int(each) for each in lengths)
    return {column.name: {"length": [low, max(low, high)], "speak": speak, "filler": filler}}


def _sides(target: Seen, goal: Goal) -> pd.Series[Any]:
    if goal.labels:
        return target.values.map({label: name_of(label, target) for label in goal.labels})
    return pd.Series(np.where(target.values < target.values.median(), "low", "high"), index=target.values.index)


def name_of(label: Any, target: Seen) -> str:
    """Call a label what people might."""
    return label if isinstance(label, str) else f"{target.name} {label}"


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def _critical(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "critical"}


def _warning(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": kwargs, "severity": "warning"}
