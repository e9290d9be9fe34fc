"""The `demo` block of a YAML, guessed from a profile: how values are distributed, and what the target depends on."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from updraft.model.columns import DATE
from updraft.new.column_roles import Goal
from updraft.new.column_types import Seen
from updraft.new.guess_suite import FEW, closed, rounded

WORD = re.compile(r"[a-z]{4,14}")


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
    return (abs(linked), rounded(linked / spread)) if abs(linked) >= 0.02 else (0.0, 0.0)


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
    numbers = [int(end) for end in ends] if column.whole else [rounded(end) for end in ends]
    return dict(zip(("low", "mode", "high"), numbers, strict=True))


def name_of(label: Any, target: Seen) -> str:
    """Call a label what people might."""
    return label if isinstance(label, str) else f"{target.name} {label}"


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
