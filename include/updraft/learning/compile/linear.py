"""From scikit-learn's linear models to weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.result import Result
from updraft.model.compiled.layout import Linear, Link

if TYPE_CHECKING:
    from updraft.model.prediction import Floats


def _weights(coefficients: Any, intercepts: Any) -> tuple[Floats, list[float]]:
    weights = np.atleast_2d(np.asarray(coefficients, dtype="float64"))
    return weights, np.broadcast_to(np.ravel(intercepts), len(weights)).astype("float64").tolist()


def _regression(estimator: Any, outputs: list[int]) -> Result:
    weights, intercepts = _weights(estimator.coef_, estimator.intercept_)
    return Result(Linear(intercepts=intercepts), 1, "identity", weights=weights)


def _logistic(estimator: Any, outputs: list[int]) -> Result:
    weights, intercepts = _weights(estimator.coef_, estimator.intercept_)
    one = len(weights) == 1
    link: Link = "expit" if one else "softmax"
    return Result(Linear(intercepts=intercepts), len(weights), link, weights=weights, of_second=one)


def _calibrated(estimator: Any, outputs: list[int]) -> Result:
    """Compile a LinearSVC with Platt's sigmoids."""
    if len(estimator.calibrated_classifiers_) != 1:
        raise NotCompiled("its calibration is an average of several")
    calibrated = estimator.calibrated_classifiers_[0]
    weights, intercepts = _weights(calibrated.estimator.coef_, calibrated.estimator.intercept_)
    slopes = [float(sigmoid.a_) for sigmoid in calibrated.calibrators]
    offsets = [float(sigmoid.b_) for sigmoid in calibrated.calibrators]
    link: Link = "expit" if len(weights) == 1 else "normalized_expit"
    linear = Linear(intercepts=intercepts, slopes=slopes, offsets=offsets)
    return Result(linear, len(weights), link, weights=weights, of_second=len(weights) == 1)


def _naive_bayes(estimator: Any, outputs: list[int]) -> Result:
    """Compile a MultinomialNB; of a binary one the label that counts comes last."""
    order = list(range(len(estimator.classes_)))
    if len(outputs) == 1:
        order.sort(key=lambda place: place == outputs[0])
    weights, intercepts = _weights(estimator.feature_log_prob_[order], estimator.class_log_prior_[order])
    return Result(Linear(intercepts=intercepts), len(order), "normalized_exp", weights=weights)


LINEAR: dict[str, Callable[[Any, list[int]], Result]] = {
    "LinearRegression": _regression,
    "Ridge": _regression,
    "LogisticRegression": _logistic,
    "CalibratedClassifierCV": _calibrated,
    "MultinomialNB": _naive_bayes,
}
