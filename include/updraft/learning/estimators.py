"""Estimators by name, each in a pipeline that takes raw rows and preprocesses them as the estimator needs."""

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

# ordinal: categories become integers, missing numbers stay missing.  native: the same, and the estimator gets a list of
# the categorical columns.  imputed: like ordinal, with missing numbers imputed.  scaled: one-hot encoded categories,
# numbers imputed and standardized.  nonnegative: like scaled, with numbers in 0..1 (for MultinomialNB).
Preprocessing = Literal["ordinal", "native", "imputed", "scaled", "nonnegative"]
SET_BY_UPDRAFT = {"n_jobs", "random_state", "categorical_features", "verbose", "warm_start"}


@dataclass(frozen=True)
class Estimator:
    """How to create an estimator and preprocess its input; `defaults` replace some of scikit-learn's."""

    create: Callable[..., Any]
    preprocessing: Preprocessing
    defaults: dict[str, Any] = field(default_factory=dict)
    seeded: bool = True
    parameters_of: type[Any] | None = None  # the class that defines the parameters, where `create` is a function

    @property
    def parameters(self) -> list[str]:
        """Parameters that a YAML may set: all but the seed, the threads and the columns, which Updraft sets."""
        return sorted(set((self.parameters_of or self.create)().get_params()) - SET_BY_UPDRAFT)


class BadParameter(UserError, TypeError):
    """An estimator has no such parameter, does not accept its value, or Updraft sets it itself."""


def _linear_svc(**params: Any) -> CalibratedClassifierCV:
    """Return a LinearSVC with probabilities: Platt scaling on out-of-fold scores of the rows that it is fitted on."""
    return CalibratedClassifierCV(LinearSVC(**params), method="sigmoid", cv=3, ensemble=False)


ESTIMATORS: dict[EstimatorName, Estimator] = {
    "RandomForestClassifier": Estimator(RandomForestClassifier, "ordinal", {"n_jobs": 1}),
    "HistGradientBoostingClassifier": Estimator(HistGradientBoostingClassifier, "native"),
    "DecisionTreeClassifier": Estimator(DecisionTreeClassifier, "ordinal"),
    "GradientBoostingClassifier": Estimator(GradientBoostingClassifier, "imputed"),
    "AdaBoostClassifier": Estimator(AdaBoostClassifier, "imputed"),
    "LogisticRegression": Estimator(LogisticRegression, "scaled", {"max_iter": 1000}),
    "LinearSVC": Estimator(_linear_svc, "scaled", parameters_of=LinearSVC),
    "MultinomialNB": Estimator(MultinomialNB, "nonnegative", seeded=False),
    "RandomForestRegressor": Estimator(RandomForestRegressor, "ordinal", {"n_jobs": 1}),
    "HistGradientBoostingRegressor": Estimator(HistGradientBoostingRegressor, "native"),
    "DecisionTreeRegressor": Estimator(DecisionTreeRegressor, "ordinal"),
    "LinearRegression": Estimator(LinearRegression, "scaled", seeded=False),
    "Ridge": Estimator(Ridge, "scaled"),
}


def build(case: UseCase, name: EstimatorName, params: dict[str, Any]) -> Pipeline:
    """Build an unfitted pipeline over raw rows; columns that are not features are ignored.

    Raises BadParameter when the estimator has no such parameter; a wrong value fails in `fit`.
    """
    estimator = ESTIMATORS[name]
    if unknown := sorted(params.keys() - estimator.parameters):
        own = unknown[0] in SET_BY_UPDRAFT
        hint = "Updraft sets it itself" if own else f"it has: {', '.join(estimator.parameters)}"
        raise BadParameter(f"{case.name}: {name} takes no parameter {unknown[0]!r}; {hint}")
    settings = estimator.defaults | ({"random_state": case.seed} if estimator.seeded else {}) | params
    kinds = columns_by_kind(case)
    if estimator.preprocessing == "native":  # the categories are the first columns, see `_columns`
        settings["categorical_features"] = list(range(len(kinds["categories"])))
    return Pipeline([
        ("columns", _columns(case, kinds, estimator.preprocessing)),
        ("model", estimator.create(**settings)),
    ])


def forget_addresses(pipeline: Pipeline) -> None:
    """Remove what scikit-learn notes by its address in memory, and would note again: it differs in each process."""
    for _, steps, _ in pipeline["columns"].transformers_:
        if isinstance(steps, Pipeline) and isinstance(steps[-1], TfidfVectorizer):
            vars(steps[-1]).pop("_stop_words_id", None)


def columns_by_kind(case: UseCase) -> dict[str, list[str]]:
    """Group the features by kind."""
    kinds: dict[str, list[str]] = {"categories": [], "numbers": [], "dates": [], "text": []}
    for column in case.feature_columns:
        if column.name in case.text:
            kinds["text"].append(column.name)
        elif column.name in case.categorical or column.type == "str":
            kinds["categories"].append(column.name)
        else:
            kinds["dates" if column.type == DATE else "numbers"].append(column.name)
    return kinds


def _columns(case: UseCase, kinds: dict[str, list[str]], preprocessing: Preprocessing) -> ColumnTransformer:
    """Put categories first, then numbers, dates and each text column's TF-IDF."""
    numbers = _numbers(case, preprocessing)
    blocks: list[tuple[str, Any, Any]] = [
        ("categories", _categories(preprocessing), kinds["categories"]),
        ("numbers", make_pipeline(FunctionTransformer(floats), *numbers), kinds["numbers"]),
        ("dates", make_pipeline(FunctionTransformer(date_parts), *numbers), kinds["dates"]),
    ]
    blocks += [
        (f"text {name}", make_pipeline(FunctionTransformer(filled), _tfidf(case)), name) for name in kinds["text"]
    ]
    return ColumnTransformer([block for block in blocks if block[2]])


def _categories(preprocessing: Preprocessing) -> Any:
    if preprocessing in ("scaled", "nonnegative"):
        return OneHotEncoder(handle_unknown="ignore")
    # HistGradientBoosting takes 255 categories: the rarest share one code, and unknown ones count as missing.
    unknown, max_categories = (np.nan, 254) if preprocessing == "native" else (-1, None)
    missing = np.nan if preprocessing == "native" else -2
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=unknown,
        encoded_missing_value=missing,
        max_categories=max_categories,
    )


def _numbers(case: UseCase, preprocessing: Preprocessing) -> list[Any]:
    steps: list[Any] = []
    # Texts make the matrix sparse, and trees take no missing numbers in a sparse one.
    if case.impute or case.text or preprocessing in ("imputed", "scaled", "nonnegative"):
        steps.append(_imputer(case))
    else:
        steps.append(FillEmpty())
    if preprocessing == "scaled":
        steps.append(StandardScaler())
    if preprocessing == "nonnegative":
        steps.append(MinMaxScaler(clip=True))
    return steps


def _imputer(case: UseCase) -> Any:
    """Return the imputer of missing numbers; a column without any value becomes 0."""
    if case.impute and case.impute.by == "knn":
        return KNNImputer(n_neighbors=case.impute.neighbors, keep_empty_features=True)
    return SimpleImputer(strategy=case.impute.by if case.impute else "median", keep_empty_features=True)


def _tfidf(case: UseCase) -> TfidfVectorizer:
    options = case.tfidf
    return TfidfVectorizer(
        ngram_range=options.ngrams,
        min_df=options.min_df,
        max_features=options.max_features,
        sublinear_tf=options.sublinear_tf,
    )
