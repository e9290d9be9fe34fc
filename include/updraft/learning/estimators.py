"""Estimators by name, each in a pipeline that takes raw rows and does to them what the estimator needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from updraft.errors import UserError
from updraft.model.columns import DATE
from updraft.model.features import FillEmpty, date_parts, filled, floats
from updraft.usecase import UseCase
from updraft.usecase.blocks import EstimatorName

# codes: a category is a number, a missing number stays missing.  native: the same, and the estimator is told which are
# categories.  filled: as codes, without missing numbers.  scaled, counted: a column for each category, numbers filled
# and brought to one scale; counted ones are not negative.
OURS = {"n_jobs", "random_state", "categorical_features", "verbose", "warm_start"}
Diet = Literal["codes", "native", "filled", "scaled", "counted"]


@dataclass(frozen=True)
class Estimator:
    """How to make an estimator, and what it takes; `fixed` are parameters that the YAML may overrule."""

    make: Callable[..., Any]
    diet: Diet
    fixed: dict[str, Any] = field(default_factory=dict)
    seeded: bool = True
    kind: type[Any] | None = None  # whose parameters they are, where `make` is no class

    @property
    def parameters(self) -> list[str]:
        """List the parameters that a YAML may set: not the seed, the threads and the columns, which Updraft sets."""
        return sorted(set((self.kind or self.make)().get_params()) - OURS)


class BadParameter(UserError, TypeError):
    """An estimator has no such parameter, or Updraft sets it itself."""


def _linear_svc(**params: Any) -> CalibratedClassifierCV:
    """Make a LinearSVC with probabilities, by Platt's sigmoid on out-of-fold scores of the rows it is fitted on."""
    return CalibratedClassifierCV(LinearSVC(**params), method="sigmoid", cv=3, ensemble=False)


ESTIMATORS: dict[EstimatorName, Estimator] = {
    "RandomForestClassifier": Estimator(RandomForestClassifier, "codes", {"n_jobs": 1}),
    "HistGradientBoostingClassifier": Estimator(HistGradientBoostingClassifier, "native"),
    "DecisionTreeClassifier": Estimator(DecisionTreeClassifier, "codes"),
    "GradientBoostingClassifier": Estimator(GradientBoostingClassifier, "filled"),
    "AdaBoostClassifier": Estimator(AdaBoostClassifier, "filled"),
    "LogisticRegression": Estimator(LogisticRegression, "scaled", {"max_iter": 1000}),
    "LinearSVC": Estimator(_linear_svc, "scaled", kind=LinearSVC),
    "MultinomialNB": Estimator(MultinomialNB, "counted", seeded=False),
    "RandomForestRegressor": Estimator(RandomForestRegressor, "codes", {"n_jobs": 1}),
    "HistGradientBoostingRegressor": Estimator(HistGradientBoostingRegressor, "native"),
    "DecisionTreeRegressor": Estimator(DecisionTreeRegressor, "codes"),
    "LinearRegression": Estimator(LinearRegression, "scaled", seeded=False),
    "Ridge": Estimator(Ridge, "scaled"),
}


def build(case: UseCase, name: EstimatorName, params: dict[str, Any]) -> Pipeline:
    """Build an unfitted pipeline over raw rows; columns that are no features are passed over.

    Raises BadParameter when the estimator has no such parameter; a wrong value shows when it is fitted.
    """
    estimator = ESTIMATORS[name]
    if wrong := sorted(params.keys() - estimator.parameters):
        told = "Updraft sets it itself" if wrong[0] in OURS else f"it has: {', '.join(estimator.parameters)}"
        raise BadParameter(f"{case.name}: {name} takes no parameter {wrong[0]!r}; {told}")
    given = estimator.fixed | ({"random_state": case.seed} if estimator.seeded else {}) | params
    kinds = _kinds(case)
    if estimator.diet == "native":  # 255 codes at most; the rarest share one, unknown is missing
        given["categorical_features"] = list(range(len(kinds["categories"])))
    return Pipeline([("columns", _columns(case, kinds, estimator.diet)), ("model", estimator.make(**given))])


def _kinds(case: UseCase) -> dict[str, list[str]]:
    """Sort the features by what they are."""
    kinds: dict[str, list[str]] = {"categories": [], "numbers": [], "dates": [], "text": []}
    for column in case.features:
        if column.name in case.text:
            kinds["text"].append(column.name)
        elif column.name in case.categorical or column.type == "str":
            kinds["categories"].append(column.name)
        else:
            kinds["dates" if column.type == DATE else "numbers"].append(column.name)
    return kinds


def _columns(case: UseCase, kinds: dict[str, list[str]], diet: Diet) -> ColumnTransformer:
    """Put categories first, then numbers, dates and each text column's counts."""
    numbers = _numbers(case, diet)
    blocks: list[tuple[str, Any, Any]] = [
        ("categories", _categories(diet), kinds["categories"]),
        ("numbers", make_pipeline(FunctionTransformer(floats), *numbers), kinds["numbers"]),
        ("dates", make_pipeline(FunctionTransformer(date_parts), *numbers), kinds["dates"]),
    ]
    blocks += [
        (f"text {name}", make_pipeline(FunctionTransformer(filled), _tfidf(case)), name) for name in kinds["text"]
    ]
    return ColumnTransformer([block for block in blocks if block[2]])


def _categories(diet: Diet) -> Any:
    if diet in ("scaled", "counted"):
        return OneHotEncoder(handle_unknown="ignore")
    unknown, most = (np.nan, 254) if diet == "native" else (-1, None)
    missing = np.nan if diet == "native" else -2
    return OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=unknown, encoded_missing_value=missing, max_categories=most
    )


def _numbers(case: UseCase, diet: Diet) -> list[Any]:
    steps: list[Any] = []
    if case.impute or diet in ("filled", "scaled", "counted"):
        steps.append(_imputer(case))
    else:
        steps.append(FillEmpty())
    if diet == "scaled":
        steps.append(StandardScaler())
    if diet == "counted":
        steps.append(MinMaxScaler(clip=True))
    return steps


def _imputer(case: UseCase) -> Any:
    """Make what fills missing numbers; a column with nothing in it becomes 0."""
    if case.impute and case.impute.by == "knn":
        return KNNImputer(n_neighbors=case.impute.neighbors, keep_empty_features=True)
    return SimpleImputer(strategy=case.impute.by if case.impute else "median", keep_empty_features=True)


def _tfidf(case: UseCase) -> TfidfVectorizer:
    told = case.tfidf
    return TfidfVectorizer(
        ngram_range=told.ngrams, min_df=told.min_df, max_features=told.max_features, sublinear_tf=told.sublinear_tf
    )
