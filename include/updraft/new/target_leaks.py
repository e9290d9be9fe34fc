"""Columns that give the target away: a model that learns from them looks good and knows nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from updraft.model.columns import DATE
from updraft.new.column_roles import Goal
from updraft.new.column_types import Seen

ROWS = 20_000  # that are looked at
ALMOST = 0.98  # of what can be reached, by one column alone


def find_leaks(columns: list[Seen], target: Seen, goal: Goal) -> Iterator[tuple[Seen, str, bool]]:
    """Yield columns that give the target away, what was seen, and whether it is certain enough to leave them out."""
    rows = target.values.dropna().index
    rows = rows[np.random.default_rng(0).permutation(len(rows))[:ROWS]]
    truth = target.values[rows]
    classes = goal.task != "regression"
    suspects = [
        column for column in columns if column.role in ("feature", "categorical", "text") and column.distinct > 1
    ]
    told: set[str] = set()
    for column in suspects:
        values = column.values[rows]
        if found := _same(values, truth, target.name, classes):
            told.add(column.name)
            yield column, found, True
        elif column.role != "text" and (score := _alone(column, values, truth, classes)) > ALMOST:
            told.add(column.name)
            measure = "balanced accuracy" if classes else "R²"
            yield (
                column,
                f"alone predicts {target.name} with {measure} {score:.3f}: is it known before {target.name} is?",
                False,
            )
    rest = [column for column in suspects if column.type in ("int64", "float64") and column.name not in told]
    if not classes and (parts := _sum(rest, rows, truth)):
        yield target, f"is a sum of other columns, among them {', '.join(parts)}: are they known before it is?", False


def _same(values: pd.Series[Any], truth: pd.Series[Any], target: str, classes: bool) -> str | None:
    """Say when values equal the truth, stand for it one to one, or settle it."""
    if values.isna().any():
        there = values.notna()
        if not classes or there.mean() < 0.5:
            return None
        values, truth = values[there], truth[there]
    if values.dtype == truth.dtype and bool((values == truth).all()):
        return f"equals {target}"
    groups = pd.DataFrame({"value": values, "truth": truth}).astype("str")
    distinct, pairs = groups["value"].nunique(), len(groups.drop_duplicates())
    if distinct * 5 > len(groups) or pairs > distinct:
        return None
    return (
        f"stands for {target} one to one"
        if pairs == groups["truth"].nunique()
        else f"settles {target}: each value has one"
    )


def _alone(column: Seen, values: pd.Series[Any], truth: pd.Series[Any], classes: bool) -> float:
    """Return what a small tree makes of one column on rows that it was not fitted on."""
    if classes and truth.value_counts().min() < 3:
        return 0.0
    codes = column.type in ("str", "bool") or column.role == "categorical"
    if codes and not classes:
        held = np.random.default_rng(0).random(len(truth)) < 0.3
        means = truth[~held].groupby(values[~held].astype("str").rename(None)).mean()
        guess = values[held].astype("str").map(means).fillna(truth.mean())
        return float(1 - ((truth[held] - guess) ** 2).sum() / ((truth[held] - truth[held].mean()) ** 2).sum())
    if column.type == DATE:
        numbers: Any = values.astype("int64", errors="ignore").astype("float64") if not values.isna().any() else None
    else:
        numbers = pd.Series(pd.factorize(values)[0]) if codes else values.astype("float64")
    if numbers is None:
        return 0.0
    numbers = numbers.rank() if not codes else numbers  # to a tree the same; and no number is too large for it
    tree = DecisionTreeClassifier(max_leaf_nodes=32) if classes else DecisionTreeRegressor(max_leaf_nodes=256)
    tree.set_params(random_state=0, class_weight="balanced") if classes else tree.set_params(random_state=0)
    scoring = "balanced_accuracy" if classes else "r2"
    return float(
        cross_val_score(tree, numbers.to_numpy().reshape(-1, 1), truth.to_numpy(), cv=3, scoring=scoring).mean()
    )


def _sum(columns: list[Seen], rows: pd.Index[Any], truth: pd.Series[Any]) -> list[str]:
    """Name the columns that weigh most in a sum that is the target, if there is one."""
    if not columns:
        return []
    frame = pd.DataFrame({column.name: column.values[rows].fillna(0).astype("float64") for column in columns})
    fitted = LinearRegression().fit(frame, truth)
    if fitted.score(frame, truth) < 0.995:
        return []
    weight = pd.Series(np.abs(fitted.coef_) * frame.std().to_numpy(), index=frame.columns)
    return list(weight.sort_values(ascending=False).index[:4])
