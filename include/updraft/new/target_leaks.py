"""Target leakage: columns that give the target away, so that a model looks good and has learned nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from updraft.model.columns import DATE
from updraft.new.column_roles import TargetSpec
from updraft.new.column_types import ColumnProfile

ROWS = 20_000  # that are examined
SUSPICIOUS_SCORE = 0.98  # balanced accuracy or R² of one column alone: no honest feature is that good
SUM_SCORE = 0.995  # R² of a linear model: only a target that is computed from the columns fits that well


def find_leaks(
    columns: list[ColumnProfile], target: ColumnProfile, spec: TargetSpec
) -> Iterator[tuple[ColumnProfile, str, bool]]:
    """Yield columns that leak the target, the evidence, and whether it is certain enough to leave them out."""
    rows = target.values.dropna().index
    rows = rows[np.random.default_rng(0).permutation(len(rows))[:ROWS]]
    truth = target.values[rows]
    classes = spec.task != "regression"
    suspects = [
        column for column in columns if column.role in ("feature", "categorical", "text") and column.distinct > 1
    ]
    leaking: set[str] = set()
    for column in suspects:
        values = column.values[rows]
        if evidence := _determines(values, truth, target.name, classes):
            leaking.add(column.name)
            yield column, evidence, True
        elif column.role != "text" and (score := _score_alone(column, values, truth, classes)) > SUSPICIOUS_SCORE:
            leaking.add(column.name)
            measure = "balanced accuracy" if classes else "R²"
            yield (
                column,
                f"alone predicts {target.name} with {measure} {score:.3f}: is it known before {target.name} is?",
                False,
            )
    rest = [column for column in suspects if column.type in ("int64", "float64") and column.name not in leaking]
    if not classes and (parts := _summands(rest, rows, truth)):
        yield target, f"is a sum of other columns, among them {', '.join(parts)}: are they known before it is?", False


def _determines(values: pd.Series[Any], truth: pd.Series[Any], target: str, classes: bool) -> str | None:
    """Return how values determine the target: they equal it, map to it one to one, or each to one value of it."""
    if values.isna().any():
        present = values.notna()
        if not classes or present.mean() < 0.5:  # in few rows a match may be chance
            return None
        values, truth = values[present], truth[present]
    if values.dtype == truth.dtype and bool((values == truth).all()):
        return f"equals {target}"
    groups = pd.DataFrame({"value": values, "truth": truth}).astype("str")
    distinct, pairs = groups["value"].nunique(), len(groups.drop_duplicates())
    if distinct * 5 > len(groups) or pairs > distinct:  # nearly unique values determine anything
        return None
    return (
        f"maps to {target} one to one"
        if pairs == groups["truth"].nunique()
        else f"determines {target}: each of its values occurs with one"
    )


def _score_alone(column: ColumnProfile, values: pd.Series[Any], truth: pd.Series[Any], classes: bool) -> float:
    """Return the score of a small decision tree on one column, out of sample."""
    if classes and truth.value_counts().min() < 3:
        return 0.0
    codes = column.type in ("str", "bool") or column.role == "categorical"
    if codes and not classes:
        held_out = np.random.default_rng(0).random(len(truth)) < 0.3
        means = truth[~held_out].groupby(values[~held_out].astype("str").rename(None)).mean()
        predicted = values[held_out].astype("str").map(means).fillna(truth.mean())
        return float(r2_score(truth[held_out], predicted))
    if column.type == DATE:
        numbers: Any = values.astype("int64", errors="ignore").astype("float64") if not values.isna().any() else None
    else:
        numbers = pd.Series(pd.factorize(values)[0]) if codes else values.astype("float64")
    if numbers is None:
        return 0.0
    numbers = numbers.rank() if not codes else numbers  # equivalent for a tree, and no number overflows float32
    tree = DecisionTreeClassifier(max_leaf_nodes=32) if classes else DecisionTreeRegressor(max_leaf_nodes=256)
    tree.set_params(random_state=0, class_weight="balanced") if classes else tree.set_params(random_state=0)
    scoring = "balanced_accuracy" if classes else "r2"
    return float(
        cross_val_score(tree, numbers.to_numpy().reshape(-1, 1), truth.to_numpy(), cv=3, scoring=scoring).mean()
    )


def _summands(columns: list[ColumnProfile], rows: pd.Index[Any], truth: pd.Series[Any]) -> list[str]:
    """Return the most important summands if the target is a linear combination of columns; otherwise nothing."""
    if not columns:
        return []
    frame = pd.DataFrame({column.name: column.values[rows].fillna(0).astype("float64") for column in columns})
    fitted = LinearRegression().fit(frame, truth)
    if fitted.score(frame, truth) < SUM_SCORE:
        return []
    weight = pd.Series(np.abs(fitted.coef_) * frame.std().to_numpy(), index=frame.columns)
    return list(weight.sort_values(ascending=False).index[:4])
