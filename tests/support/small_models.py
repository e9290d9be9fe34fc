"""Small real models of the vehicle-insurance use case, fitted in a moment, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from updraft.model.columns import Column
from updraft.model.model import Model
from updraft.model.signature import Label, Signature
from updraft.model.suite import read_columns
from updraft.registry.registry import Registry, Version

NAME = "vehicle_insurance"
SUITE = Path(__file__).parents[2] / "expectations" / f"{NAME}.json"
ROW: dict[str, Any] = {
    "Gender": "Male",
    "Age": 44,
    "Driving_License": 1,
    "Region_Code": 28.0,
    "Previously_Insured": 0,
    "Vehicle_Age": "> 2 Years",
    "Vehicle_Damage": "Yes",
    "Annual_Premium": 40454.0,
    "Policy_Sales_Channel": 26.0,
    "Vintage": 217,
}
OTHER = ROW | {"Previously_Insured": 1, "Vehicle_Damage": "No", "Vehicle_Age": "< 1 Year", "Age": 21}


@cache
def columns() -> tuple[Column, ...]:
    """Return the features as the suite has them."""
    return tuple(column for column in read_columns(SUITE) if column.name not in {"id", "Response"})


@cache
def frame() -> tuple[pd.DataFrame, pd.Series[int]]:
    """Draw 300 rows that the suite allows, and a target that hangs on two of the columns."""
    draw = np.random.default_rng(7)
    values = {column.name: _values(column, draw) for column in columns()}
    rows = pd.DataFrame(values).astype({column.name: column.type for column in columns()})
    lift = 0.06 + 0.45 * (rows["Vehicle_Damage"] == "Yes") + 0.25 * (rows["Previously_Insured"] == 0)
    return rows, (draw.random(300) < lift).astype(int)


def model(use_case: str = NAME, estimator: Any = None, threshold: float = 0.5, seed: int = 0) -> Model:
    """Fit a model; another `seed` gives other probabilities.

    It is made of trees: what BLAS sums for a linear model hangs in the last bit on where the arrays lie in memory.
    """
    rows, target = frame()
    texts = [column.name for column in columns() if column.type == "str"]
    numbers = [column.name for column in columns() if column.type != "str"]
    prepare = ColumnTransformer([("texts", OneHotEncoder(), texts), ("numbers", StandardScaler(), numbers)])
    pipeline: Pipeline = make_pipeline(prepare, forest(random_state=seed) if estimator is None else estimator)
    return Model(signature(use_case, threshold), pipeline.fit(rows, target))


@cache
def loaded_model() -> Model:
    """Fit the model that most tests of the service load; none of them may change it."""
    return model(threshold=0.3)


def forest(**params: Any) -> RandomForestClassifier:
    """Make a small forest."""
    return RandomForestClassifier(n_estimators=20, max_depth=6, max_features=None, min_samples_leaf=8, **params)


def signature(use_case: str = NAME, threshold: float = 0.5) -> Signature:
    """Make the signature that goes with `model`."""
    return Signature(
        use_case=use_case,
        title="Would a customer buy vehicle insurance?",
        candidate="random_forest",
        columns=columns(),
        id="id",
        target="Response",
        labels=(Label(value=0, name="not interested"), Label(value=1, name="interested")),
        positive=1,
        threshold=threshold,
        split={"seed": 1, "test_share": 0.2},
        versions={},
        example=ROW,
    )


def push(registry: Registry, folder: Path, it: Model, *, spoil: Callable[[Path], object] | None = None) -> Version:
    """Save a model, `spoil` its files before they are signed, and push it under its use case."""
    folder.mkdir(parents=True)
    it.save(folder)
    if spoil:
        spoil(folder)
    return registry.push(it.signature.use_case, folder, {"metrics": {"f1": 0.5}}, run_id=folder.name)


def promote(registry: Registry, version: Version) -> None:
    """Put a version into production, whatever is there."""
    now = registry.production(version.name)
    registry.promote(version.name, version.number, expect=now, who="tests", why="a test")


def probabilities(it: Model, *rows: dict[str, Any]) -> Any:
    return it.predict(it.signature.frame(list(rows))).probabilities


def _values(column: Column, draw: np.random.Generator) -> Any:
    if column.allowed is not None:
        return draw.choice(list(column.allowed), 300)
    low, high = int(column.minimum or 0), int(column.maximum or 100)
    return draw.integers(low, high, 300, endpoint=True)
