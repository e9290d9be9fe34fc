"""Performance: a metric on rows whose truth is known by now, against what the evaluation promised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from updraft.learning.metrics import Truth, bootstrap, gain, measure_all
from updraft.learning.slices import slices
from updraft.model.number_format import format_metric
from updraft.monitoring.reference import Part
from updraft.usecase.blocks import METRICS_OF, MetricName
from updraft.usecase.monitor_block import PerformanceLimits

Verdict = Literal["as promised", "worse", "not enough labels", "not defined", "nothing promised"]
SEED = 0  # of the bootstrap: the same labels give the same interval


@dataclass(frozen=True)
class Labelled:
    """Rows whose truth is known: arrays over them, as metrics take them, and the columns to slice by."""

    truth: Truth
    scores: Any
    decisions: Any
    columns: Mapping[str, pd.Series[Any]]

    def inside(self, rows: Any) -> Labelled:
        """Return some of the rows."""
        return Labelled(self.truth[rows], self.scores[rows], self.decisions[rows], {})


class Measured(Part):
    """The metric on some rows, its 95 % interval, what was promised, and by how much it is worse than that."""

    rows: int
    verdict: Verdict
    reason: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    promised: float | None = None
    loss: float | None = None


class Performance(Part):
    """The metric on all labelled rows and by slice; `metrics` are all that are defined, `promised` the evaluation's.

    `left_out` says of each column that cannot be sliced by why.
    """

    metric: MetricName
    overall: Measured
    metrics: dict[str, float]
    promised: dict[str, float]
    slices: dict[str, dict[str, Measured]]
    left_out: dict[str, str]


def measure_performance(
    labelled: Labelled, metric: MetricName, limits: PerformanceLimits, evaluation: Mapping[str, Any]
) -> Performance:
    """Measure labelled rows of one version; `evaluation` is its `evaluation.json`, {} where it has none.

    It is worse when it loses `limits.loss` or more and the interval lies below what was promised: one alone may be
    chance, or too little to act on. Slices are measured by the same rule.
    """
    promised: dict[str, float] = evaluation.get("metrics", {})
    by_slice = evaluation.get("slices", {})
    names = next(names for names in METRICS_OF.values() if metric in names)
    measured = {
        column: {
            value: _measure(labelled.inside(rows), metric, limits, _promised(by_slice, column, value))
            for value, rows in slices(values)
        }
        for column, values in labelled.columns.items()
    }
    return Performance(
        metric=metric,
        overall=_measure(labelled, metric, limits, promised),
        metrics=_finite(measure_all(names, labelled.truth, labelled.scores, labelled.decisions))
        if len(labelled.truth)
        else {},
        promised=promised,
        slices=measured,
        left_out={column: "it is not known of these rows" for column in by_slice if column not in labelled.columns},
    )


def _measure(
    labelled: Labelled, metric: MetricName, limits: PerformanceLimits, promised: Mapping[str, float]
) -> Measured:
    rows, expected = len(labelled.truth), promised.get(metric)
    if rows < limits.min_labels:
        reason = f"{rows:,} labels, {limits.min_labels:,} are needed"
        return Measured(rows=rows, verdict="not enough labels", reason=reason, promised=expected)
    value = measure_all((metric,), labelled.truth, labelled.scores, labelled.decisions).get(metric)
    if value is None:
        reason = f"{metric} is not defined on these labels"
        return Measured(rows=rows, verdict="not defined", reason=reason, promised=expected)
    interval = bootstrap(metric, labelled.truth, labelled.scores, labelled.decisions, SEED)
    low, high = interval
    found: dict[str, Any] = {"rows": rows, "value": value, "interval": interval, "promised": expected}
    interval_text = f"95 % {format_metric(low)} to {format_metric(high)}"
    sentence = f"{metric} {format_metric(value)} of {rows:,} labels ({interval_text})"
    if expected is None:
        return Measured(**found, verdict="nothing promised", reason=f"{sentence}; the evaluation has none")
    loss = round(gain(metric, expected, value), 6)
    best = max(interval, key=lambda end: gain(metric, end, expected))
    worse = loss >= limits.loss and gain(metric, best, expected) < 0
    reason = f"{sentence}, {format_metric(expected)} promised"
    return Measured(**found, verdict="worse" if worse else "as promised", reason=reason, loss=loss)


def _promised(by_slice: Mapping[str, Any], column: str, value: str) -> Mapping[str, float]:
    metrics: Mapping[str, float] = by_slice.get(column, {}).get(value, {}).get("metrics", {})
    return metrics


def _finite(metrics: Mapping[MetricName, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if abs(value) < float("inf")}
