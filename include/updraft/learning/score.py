"""Score rows with a model and compute the use case's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from updraft.errors import BadData
from updraft.learning.metrics import METRICS, Floats, Truth, measure_all
from updraft.model.model import Model
from updraft.model.number_format import format_metric
from updraft.model.signature import Signature
from updraft.usecase import UseCase

Metrics = dict[Any, float]


@dataclass(frozen=True)
class ScoringResult:
    """A model's scores and decisions on some rows, the truth, and the metrics."""

    model: Model
    truth: Truth
    scores: Floats
    decisions: Any
    metrics: Metrics

    @property
    def predictions(self) -> tuple[Floats, Any]:
        """Scores and decisions."""
        return self.scores, self.decisions


def score(case: UseCase, model: Model, frame: pd.DataFrame) -> ScoringResult:
    """Score rows and compute the use case's metrics. Raises BadData when a metric that it relies on is undefined."""
    truth = encode_target(case, frame[case.target])
    scores = model.scores(frame)
    decisions = model.decide(scores)
    metrics = measure_all(case.metrics, truth, scores, decisions)
    check_metrics(case, metrics)
    return ScoringResult(model, truth, scores, decisions, metrics)


def encode_target(case: UseCase | Signature, target: pd.Series[Any]) -> Truth:
    """Convert the target to the truth that metrics take: positive or not, the label's index, or the number."""
    if case.task == "regression":
        return target.to_numpy(dtype="float64")
    if case.task == "binary":
        return (target == case.positive).to_numpy(dtype=bool)
    index = {label.value: number for number, label in enumerate(case.labels)}
    return target.map(index).to_numpy(dtype="int64")


def check_metrics(case: UseCase, metrics: dict[Any, float]) -> None:
    """Raise BadData when a metric that the use case relies on is undefined on its rows, or any is not finite."""
    required = {case.choose_by, case.gate.metric, *case.floors, *case.max_gap}
    if undefined := sorted(required - metrics.keys()):
        reason = "the target has zeros" if METRICS[undefined[0]].needs == "no zeros" else "the rows have one label only"
        raise BadData(f"{case.name}: {undefined[0]} is not defined: {reason}")
    if infinite := [name for name, value in metrics.items() if not np.isfinite(value)]:
        raise BadData(f"{case.name}: {infinite[0]} is not finite: the target's numbers are too large to square")


def format_metrics(metrics: dict[Any, float]) -> str:
    """Format metrics in one line."""
    return " · ".join(f"{name} {format_metric(value)}" for name, value in metrics.items())
