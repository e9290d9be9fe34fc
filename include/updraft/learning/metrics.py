"""Metrics by name, decision thresholds by rule, and a paired bootstrap of a gain.

Truth is an array over the rows: booleans (positive or not) for a binary task, indices into the labels for a multiclass
one, numbers for a regression. Scores are what a model gives: probabilities of the positive label, (n, labels)
probabilities, or numbers; decisions are of the same kind as the truth.
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
    """No decision threshold does what the use case's rule asks."""


@dataclass(frozen=True)
class Metric:
    """A metric of scikit-learn's; `of` says whether it judges the scores or the decisions."""

    function: Callable[..., Any]
    of: Literal["scores", "decisions"]
    better: Literal["higher", "lower"] = "higher"
    extra: dict[str, Any] = field(default_factory=dict)


_ZERO = {"zero_division": 0.0}  # nothing to count is no merit
METRICS: dict[MetricName, Metric] = {
    "roc_auc": Metric(sk.roc_auc_score, "scores"),
    "pr_auc": Metric(sk.average_precision_score, "scores"),
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
    "mape": Metric(sk.mean_absolute_percentage_error, "decisions", better="lower"),
}
NEED_BOTH_LABELS, NEED_NO_ZERO = {"roc_auc", "pr_auc"}, {"mape"}


def measure(name: MetricName, truth: Truth, scores: Any, decided: Any, weights: Any = None) -> float:
    """Compute one metric; precision, recall and F1 that have nothing to count are 0."""
    metric = METRICS[name]
    judged = scores if metric.of == "scores" else decided
    labels = {"labels": np.arange(judged.shape[1])} if name == "log_loss" else {}
    return float(metric.function(truth, judged, sample_weight=weights, **metric.extra, **labels))


def measure_all(names: tuple[MetricName, ...], truth: Truth, scores: Any, decided: Any) -> dict[MetricName, float]:
    """Compute metrics, rounded to 6 places; left out are those that are not defined on these rows.

    Ranking metrics need rows of both labels, and a share of the truth (mape) one without zeros.
    """
    undefined = NEED_BOTH_LABELS if truth.dtype == bool and (truth.all() or not truth.any()) else set()
    if truth.dtype.kind == "f" and (truth == 0).any():
        undefined = NEED_NO_ZERO
    defined = [name for name in names if name not in undefined]
    return {name: round(measure(name, truth, scores, decided), 6) for name in defined}


def gain(name: MetricName, new: float, old: float) -> float:
    """Return by how much `new` is better than `old`: positive is better, whichever way the metric runs."""
    return new - old if METRICS[name].better == "higher" else old - new


def find_threshold(rule: Threshold, truth: Truth, scores: Floats) -> float:
    """Find the threshold that does best by the rule when `score >= threshold` is called positive; the highest on a tie.

    Raises NoThreshold when none keeps what the rule asks at least.
    """
    if rule.rule == "cost":
        return _cheapest(rule, truth, scores)
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last point is "call nothing positive", without a threshold
    if rule.rule == "best_f1":
        worth = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    else:
        kept, other = (precision, recall) if rule.rule == "precision" else (recall, precision)
        worth = np.where(kept >= rule.at_least, other, -1.0)
        if worth.max() < 0:
            told = f"no {rule.rule} of {rule.at_least:g} on the training rows, {kept.max():.4f} at most"
            raise NoThreshold(f"threshold: {told}")
    best = len(worth) - 1 - int(np.argmax(worth[::-1]))
    return float(thresholds[best])


def _cheapest(rule: Threshold, truth: Truth, scores: Floats) -> float:
    """Find the least cost, which may be that of calling nothing positive."""
    false_share, true_share, thresholds = sk.roc_curve(truth, scores, drop_intermediate=False)
    positives = int(truth.sum())
    false_positives, false_negatives = false_share * (len(truth) - positives), (1 - true_share) * positives
    cost = false_positives * (rule.false_positive or 0) + false_negatives * (rule.false_negative or 0)
    best = float(thresholds[int(np.argmin(cost))])
    return best if np.isfinite(best) else float(np.nextafter(scores.max(), np.inf))


def bootstrap_gain(
    name: MetricName, truth: Truth, new: tuple[Any, Any], old: tuple[Any, Any], seed: int
) -> tuple[float, float]:
    """Bound the gain of `new` over `old` (scores and decisions on the same rows) by a paired bootstrap, 95 %.

    Rows are drawn with replacement, the same ones for both (percentile interval; Efron & Tibshirani 1993, ch. 13). Rows
    that are alike in all that the metric looks at are drawn as one weighted row, which makes decisions cheap.
    """
    side = 0 if METRICS[name].of == "scores" else 1
    truth, news, olds, counts = _alike(truth, new[side], old[side])
    total = int(counts.sum())
    random = np.random.default_rng(seed)
    rounds = min(500, max(100, 10_000_000 // len(counts)))
    draws = (random.multinomial(total, counts / total) for _ in range(rounds))
    gains = [
        gain(name, *(measure(name, truth, judged, judged, weights) for judged in (news, olds)))
        for weights in draws
        if truth.dtype != bool or 0 < weights[truth].sum() < total
    ]
    low, high = np.quantile(gains, [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)


def _alike(truth: Truth, new: Any, old: Any) -> tuple[Truth, Any, Any, NDArray[np.int64]]:
    """Fold rows that are alike into one, with their count; rows of more than one score stay as they are."""
    if new.ndim > 1:
        return truth, new, old, np.ones(len(truth), dtype=np.int64)
    rows = pd.DataFrame({"truth": truth, "new": new, "old": old}).value_counts(sort=False).reset_index()
    return rows["truth"].to_numpy(), rows["new"].to_numpy(), rows["old"].to_numpy(), rows["count"].to_numpy()
