"""Metrics by name, the decision threshold, and a paired bootstrap of a difference.

Truth and decisions are booleans: positive or not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import metrics as sk

from updraft.usecase import MetricName

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric of scikit-learn's; `of` says whether it judges the probabilities or the decisions at the threshold."""

    function: Callable[..., Any]
    of: Literal["scores", "decisions"]
    better: Literal["higher", "lower"] = "higher"


METRICS: dict[MetricName, Metric] = {
    "roc_auc": Metric(sk.roc_auc_score, "scores"),
    "pr_auc": Metric(sk.average_precision_score, "scores"),
    "f1": Metric(sk.f1_score, "decisions"),
    "precision": Metric(sk.precision_score, "decisions"),
    "recall": Metric(sk.recall_score, "decisions"),
    "brier": Metric(sk.brier_score_loss, "scores", better="lower"),
}
_UNDEFINED_IS_ZERO = {sk.f1_score, sk.precision_score, sk.recall_score}


def measure(name: MetricName, truth: Bools, scores: Any, decided: Any, weights: Any = None) -> float:
    """Compute one metric; precision, recall and F1 that have no positive to count are 0."""
    metric = METRICS[name]
    extra = {"zero_division": 0.0} if metric.function in _UNDEFINED_IS_ZERO else {}
    judged = scores if metric.of == "scores" else decided
    return float(metric.function(truth, judged, sample_weight=weights, **extra))


def measure_all(truth: Bools, scores: Floats, decided: Bools) -> dict[MetricName, float]:
    """Compute every metric, rounded to 6 places."""
    return {name: round(measure(name, truth, scores, decided), 6) for name in METRICS}


def gain(name: MetricName, new: float, old: float) -> float:
    """Return by how much `new` is better than `old`: positive is better, whichever way the metric runs."""
    return new - old if METRICS[name].better == "higher" else old - new


def best_f1_threshold(truth: Bools, scores: Floats) -> float:
    """Find the threshold at which calling `score >= threshold` positive has the best F1; the highest one on a tie."""
    precision, recall, thresholds = sk.precision_recall_curve(truth, scores, drop_intermediate=True)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = len(thresholds) - 1 - int(np.argmax(f1[:-1][::-1]))
    return float(thresholds[best])


def bootstrap_gain(
    name: MetricName, truth: Bools, new: tuple[Floats, Bools], old: tuple[Floats, Bools], seed: int, rounds: int = 500
) -> tuple[float, float]:
    """Bound the gain of `new` over `old` (scores and decisions on the same rows) by a paired bootstrap, 95 %.

    Rows are drawn with replacement, the same ones for both (percentile interval; Efron & Tibshirani 1993, ch. 13). Rows
    that are alike in all that the metric looks at are drawn as one weighted row, which makes decisions cheap.
    """
    side = 0 if METRICS[name].of == "scores" else 1
    rows = pd.DataFrame({"truth": truth, "new": new[side], "old": old[side]}).value_counts(sort=False).reset_index()
    truths, news, olds = (rows[column].to_numpy() for column in ("truth", "new", "old"))
    draws = np.random.default_rng(seed).multinomial(len(truth), rows["count"] / len(truth), size=rounds)
    gains = [
        gain(name, *(measure(name, truths, judged, judged, weights) for judged in (news, olds)))
        for weights in draws
        if 0 < weights[truths].sum() < len(truth)
    ]
    low, high = np.quantile(gains, [0.025, 0.975])
    return round(float(low), 6), round(float(high), 6)
