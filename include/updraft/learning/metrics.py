"""Metrics by name, decision thresholds by rule, and bootstraps of a metric and of its difference between two models.

The truth is an array over the rows: booleans (positive or not) in a binary task, indices of the labels in a multiclass
one, numbers in a regression. Scores are a model's output: probabilities of the positive label, (n, labels)
probabilities, or numbers. Decisions have the same type as the truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics as sk

from updraft.errors import UserError
from updraft.usecase.blocks import MetricName, Threshold

Floats = NDArray[np.float64]
Truth = NDArray[Any]


class NoThreshold(UserError):
    """No decision threshold meets the use case's rule."""


@dataclass(frozen=True)
class Metric:
    """A metric of scikit-learn; `of` says whether it is computed from the scores or from the decisions.

    `needs` is what the truth must be like for the metric to be defined; `extra` are arguments of the function.
    """

    function: Callable[..., Any]
    of: Literal["scores", "decisions"]
    better: Literal["higher", "lower"] = "higher"
    needs: Literal["both labels", "no zeros"] | None = None
    extra: dict[str, Any] = field(default_factory=dict)


_ZERO = {"zero_division": 0.0}  # a model that predicts no positive must not look good
METRICS: dict[MetricName, Metric] = {
    "roc_auc": Metric(sk.roc_auc_score, "scores", needs="both labels"),
    "pr_auc": Metric(sk.average_precision_score, "scores", needs="both labels"),
    "f1": Metric(sk.f1_score, "decisions", extra=_ZERO),
    "precision": Metric(sk.precision_score, "decisions", extra=_ZERO),
    "recall": Metric(sk.recall_score, "decisions", extra=_ZERO),
    "brier": Metric(sk.brier_score_loss, "scores", better="lower"),
    "accuracy": Metric(sk.accuracy_score, "decisions"),
    "f1_macro": Metric(sk.f1_score, "decisions", extra=_ZERO | {"average": "macro"}),
    "log_loss": Metric(sk.log_loss, "scores", better="lower"),
    "r2": Metric(sk.r2_score, "decisions"),
    "rmse": Metric(sk.root_mean_squared_error, "decisions", better="lower"),
    "mae": Metric(sk.mean_absolute_error, "decisions", better="lower"),
    "mape": Metric(sk.mean_absolute_percentage_error, "decisions", better="lower", needs="no zeros"),
}


def measure(name: MetricName, truth: Truth, scores: Any, decisions: Any, weights: Any = None) -> float:
    """Compute one metric; precision, recall and F1 are 0 where they would divide by zero."""
    metric = METRICS[name]
    predicted = scores if metric.of == "scores" else decisions
    labels = {"labels": np.arange(predicted.shape[1])} if name == "log_loss" else {}
    return float(metric.function(truth, predicted, sample_weight=weights, **metric.extra, **labels))


def measure_all(names: tuple[MetricName, ...], truth: Truth, scores: Any, decisions: Any) -> dict[MetricName, float]:
    """Compute metrics, rounded to 6 places; those that are undefined on these rows are left out."""
    missing = {"both labels"} if truth.dtype == bool and (truth.all() or not truth.any()) else set()
    if truth.dtype.kind == "f" and (truth == 0).any():
        missing = {"no zeros"}
    defined = [name for name in names if METRICS[name].needs not in missing]
    return {name: round(measure(name, truth, scores, decisions), 6) for name in defined}


def gain(name: MetricName, new: float, old: float) -> float:
    """Return by how much `new` is better than `old`; positive is better, also where lower values are."""
    return new - old if METRICS[name].better == "higher" else old - new


def find_threshold(rule: Threshold, truth: Truth, scores: Floats) -> float:
    """Find the best threshold by the rule, where `score >= threshold` predicts positive; the highest on a tie.

    Raises NoThreshold when none reaches the rule's `at_least`.
    """
    if rule.rule == "cost":
        return _cheapest(rule, truth, scores)
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold: it predicts no positive at all
    if rule.rule == "best_f1":
        objective = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    else:
        constrained, other = (precision, recall) if rule.rule == "precision" else (recall, precision)
        objective = np.where(constrained >= rule.at_least, other, -1.0)
        if objective.max() < 0:
            best = f"{constrained.max():.4f} at most"
            raise NoThreshold(f"threshold: no {rule.rule} of {rule.at_least:g} on the training rows, {best}")
    last = len(objective) - 1 - int(np.argmax(objective[::-1]))  # thresholds ascend: the highest of equally good ones
    return float(thresholds[last])


def _cheapest(rule: Threshold, truth: Truth, scores: Floats) -> float:
    """Find the threshold of the lowest cost, which may be that of predicting no positive at all."""
    false_positive_rate, true_positive_rate, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    positives = int(truth.sum())
    false_positives = false_positive_rate * (len(truth) - positives)
    false_negatives = (1 - true_positive_rate) * positives
    cost = false_positives * (rule.false_positive or 0) + false_negatives * (rule.false_negative or 0)
    best = float(thresholds[int(np.argmin(cost))])
    return best if np.isfinite(best) else float(np.nextafter(scores.max(), np.inf))


def bootstrap_gain(
    name: MetricName, truth: Truth, new: tuple[Any, Any], old: tuple[Any, Any], seed: int
) -> tuple[float, float]:
    """Return the 95 % confidence interval of the gain of `new` over `old`, by a paired bootstrap.

    `new` and `old` are scores and decisions on the same rows, which are resampled as `_interval` says, the same ones
    for both.
    """
    index = 0 if METRICS[name].of == "scores" else 1
    truth, (new_values, old_values), counts = _group_equal(truth, new[index], old[index])

    def gain_of(weights: Any) -> float:
        new_value, old_value = (measure(name, truth, values, values, weights) for values in (new_values, old_values))
        return gain(name, new_value, old_value)

    return _interval(gain_of, truth, counts, seed)


def bootstrap(name: MetricName, truth: Truth, scores: Any, decisions: Any, seed: int) -> tuple[float, float]:
    """Return the 95 % confidence interval of a metric that is defined on these rows, by a bootstrap."""
    predicted = scores if METRICS[name].of == "scores" else decisions
    truth, (values,), counts = _group_equal(truth, predicted)
    both = METRICS[name].needs == "both labels"
    return _interval(lambda weights: measure(name, truth, values, values, weights), truth, counts, seed, both=both)


def _interval(
    statistic: Callable[[Any], float], truth: Truth, counts: NDArray[np.int64], seed: int, *, both: bool = True
) -> tuple[float, float]:
    """Compute a statistic of rows that are resampled with replacement, and return its 95 % percentile interval.

    See Efron & Tibshirani 1993, ch. 13. Rows that are equal in all that the metric uses are drawn as one weighted row,
    which makes metrics of decisions cheap. With `both`, draws of one label alone are left out.
    """
    total = int(counts.sum())
    random = np.random.default_rng(seed)
    rounds = min(500, max(100, 10_000_000 // len(counts)))  # bounds the time on large test sets
    draws = (random.multinomial(total, counts / total) for _ in range(rounds))
    values = [
        statistic(weights)
        for weights in draws
        if not both or truth.dtype != bool or 0 < weights[truth].sum() < total  # ranking metrics need both labels
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)


def _group_equal(truth: Truth, *predicted: Any) -> tuple[Truth, list[Any], NDArray[np.int64]]:
    """Merge equal rows into one, with their count; rows with several scores stay as they are."""
    if predicted[0].ndim > 1:
        return truth, list(predicted), np.ones(len(truth), dtype=np.int64)
    columns = {"truth": truth, **{str(number): values for number, values in enumerate(predicted)}}
    rows = pd.DataFrame(columns).value_counts(sort=False).reset_index()
    values = [rows[str(number)].to_numpy() for number in range(len(predicted))]
    return rows["truth"].to_numpy(), values, rows["count"].to_numpy()
