"""The `demo` block of a YAML, guessed from the profiles: how values are distributed, and what the target depends on."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from updraft.model.columns import DATE
from updraft.new.column_roles import TargetSpec
from updraft.new.column_types import ColumnProfile
from updraft.new.guess_suite import MAX_SET, closed_set, rounded

WORD = re.compile(r"[a-z]{4,14}")  # shorter ones are mostly articles and prepositions
MIN_ROWS, MAX_ROWS = 1000, 20_000  # enough to learn from, few enough for a demo of a minute
SIGNALS = 8  # columns that the target depends on: the strongest ones
MIN_NULLS = 0.0005  # a smaller share is rounded to 0.0
MIN_EFFECT, MIN_CORRELATION = 0.05, 0.02  # weaker links to the target are noise
SPEAKING_WORDS, FILLER_WORDS = 8, 20  # for each label, and for all


def guess_demo(columns: list[ColumnProfile], target: ColumnProfile, spec: TargetSpec) -> dict[str, Any]:
    """Return the `demo` block for rows of this shape."""
    rows = min(max(len(target.values), MIN_ROWS), MAX_ROWS)
    has_target = target.values.notna()
    truth = _standardized(target.values[has_target], spec)
    shapes: dict[str, Any] = {}
    signal: dict[str, Any] = {}
    for column in columns:
        if column.role == "text":
            shapes |= _words(column, target, spec)
        elif column.role != "id" and (shape := _shape(column, spec)):
            shapes[column.name] = shape
        if column.role in ("feature", "categorical") and column.distinct > 1:
            signal[column.name] = _effect(column, column.values[has_target], truth)
    strongest = sorted((name for name in signal if signal[name][0]), key=lambda name: -signal[name][0])[:SIGNALS]
    nullable = [column for column in columns if column.role not in ("target", "id")]
    nulls = {column.name: round(column.nulls, 3) for column in nullable if MIN_NULLS < column.nulls < 1}
    return {"rows": rows, "columns": shapes, "nulls": nulls, "signal": {name: signal[name][1] for name in strongest}}


def _standardized(values: pd.Series[Any], spec: TargetSpec) -> pd.Series[Any]:
    """Return the target as numbers of mean 0 and standard deviation 1; ranks in a regression."""
    if spec.task == "regression":
        numbers = values.rank()
    else:
        numbers = values.map({label: number for number, label in enumerate(spec.labels)}).astype("float64")
    return (numbers - numbers.mean()) / (numbers.std() or 1)


def _effect(column: ColumnProfile, values: pd.Series[Any], truth: pd.Series[Any]) -> tuple[float, Any]:
    """Return how strongly the target depends on a column, and the weights for the `signal` block."""
    if column.role == "categorical" or column.type in ("str", "bool"):
        groups = truth.groupby(values.rename(None)).agg(["mean", "size"])
        groups = groups.sort_values("size", ascending=False).head(MAX_SET)
        effects = groups["mean"][groups["mean"].abs() >= MIN_EFFECT]
        weights = {_to_python(value): round(float(mean), 2) for value, mean in effects.items()}
        return float(np.average(groups["mean"].abs(), weights=groups["size"])), weights
    numbers = values.astype("int64") / 86_400e6 if column.type == DATE and not column.nulls else values
    if column.type == DATE and column.nulls:
        return 0.0, 0.0
    numbers = numbers.astype("float64")
    spread = float(numbers.std()) or 1.0
    correlation = float(numbers.corr(truth, method="spearman")) if numbers.nunique() > 1 else 0.0
    return (abs(correlation), rounded(correlation / spread)) if abs(correlation) >= MIN_CORRELATION else (0.0, 0.0)


def _words(column: ColumnProfile, target: ColumnProfile, spec: TargetSpec) -> dict[str, Any]:
    """Find words typical of a label (of a number: of its lower or upper half), and words typical of none."""
    sides = _sides(target, spec)
    sample = column.values.dropna().head(5000)
    lengths = sample.map(lambda text: len(text.split())).quantile([0.1, 0.9]).astype(int).clip(1, 60)
    counts = {side: Counter[str]() for side in dict.fromkeys(sides)}
    for text, side in zip(sample, sides[sample.index], strict=True):
        if side in counts:
            counts[side].update(set(WORD.findall(text.lower())))
    total = sum(counts.values(), Counter[str]())
    # A word in fewer than 1 of 500 texts is typical of a text, not of a label.
    common = [word for word, number in total.most_common(2000) if number >= max(5, len(sample) / 500)]
    speak: dict[str, list[str]] = {}
    for side in counts:
        size = max(int((sides[sample.index] == side).sum()), 1)
        lift = {w: (counts[side][w] + 1) / size / ((total[w] + 2) / len(sample)) for w in common}  # add-one smoothing
        speak[str(side)] = sorted(lift, key=lambda word: (-lift[word], word))[:SPEAKING_WORDS]
    speaking = {word for words in speak.values() for word in words}
    filler = [word for word in common if word not in speaking][:FILLER_WORDS]
    if not filler or not all(speak.values()):
        return {}
    low, high = (int(length) for length in lengths)
    return {column.name: {"length": [low, max(low, high)], "speak": speak, "filler": filler}}


def _sides(target: ColumnProfile, spec: TargetSpec) -> pd.Series[Any]:
    if spec.labels:
        return target.values.map({label: name_of(label, target) for label in spec.labels})
    return pd.Series(np.where(target.values < target.values.median(), "low", "high"), index=target.values.index)


def _shape(column: ColumnProfile, spec: TargetSpec) -> dict[Any, Any]:
    present = column.values.dropna()
    coded = column.role == "categorical" or column.type in ("str", "bool") or bool(closed_set(column))
    if coded or (column.role == "target" and spec.labels):
        if column.role == "ignored" and column.distinct > MAX_SET:
            return {}
        shares = present.value_counts(normalize=True).head(MAX_SET)
        return {_to_python(value): max(round(float(share), 4), 0.0001) for value, share in shares.items()}
    if column.type == DATE:
        days = present.sort_values().iloc[[0, len(present) // 2, -1]]
        return dict(zip(("low", "mode", "high"), (day.date() for day in days), strict=True))
    ends = [float(present.quantile(q)) for q in (0.01, 0.5, 0.99)]  # an outlier would stretch the triangle
    numbers = [int(end) for end in ends] if column.whole else [rounded(end) for end in ends]
    return dict(zip(("low", "mode", "high"), numbers, strict=True))


def name_of(label: Any, target: ColumnProfile) -> str:
    """Return a readable name of a label."""
    return label if isinstance(label, str) else f"{target.name} {label}"


def _to_python(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value
