"""Score rows with a model and measure the result by the metrics of the use case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from updraft.errors import BadData
from updraft.learning.metrics import Floats, Truth, measure_all
from updraft.model.model import Model
from updraft.usecase import UseCase

Metrics = dict[Any, float]


@dataclass(frozen=True)
class ScoringResult:
    """What a model made of rows."""

    model: Model
    truth: Truth
    scores: Floats
    decisions: Any
    metrics: Metrics

    @property
    def pair(self) -> tuple[Floats, Any]:
        return self.scores, self.decisions


def score(case: UseCase, model: Model, frame: pd.DataFrame) -> ScoringResult:
    """Score rows and measure what came of it, by the use case's metrics."""
    truth = encode_target(case, frame[case.target])
    scores = model.scores(frame)
    decided = model.decide(scores)
    figures = measure_all(case.metrics, truth, scores, decided)
    check_metrics(case, figures)
    return ScoringResult(model, truth, scores, decided, figures)


def encode_target(case: UseCase, target: pd.Series[Any]) -> Truth:
    """Make the truth that metrics take: positive or not, the index of the label, or the number."""
    if case.task == "regression":
        return target.to_numpy(dtype="float64")
    if case.task == "binary":
        return (target == case.positive).to_numpy(dtype=bool)
    index = {label.value: number for number, label in enumerate(case.labels)}
    return target.map(index).to_numpy(dtype="int64")


def check_metrics(case: UseCase, figures: dict[Any, float]) -> None:
    """Raise BadData when a metric that the use case goes by is not defined on its rows, or no metric is finite."""
    asked = {case.choose_by, case.gate.metric, *case.floors, *case.max_gap}
    if absent := sorted(asked - figures.keys()):
        told = "the target has zeros" if absent[0] == "mape" else "the rows have one label only"
        raise BadData(f"{case.name}: {absent[0]} is not defined: {told}")
    if odd := [name for name, value in figures.items() if not np.isfinite(value)]:
        raise BadData(f"{case.name}: {odd[0]} is not finite: the target's numbers are too large to square")


def format_metrics(metrics: dict[Any, float]) -> str:
    """Write metrics in one line."""
    return " · ".join(f"{name} {value:.4f}" for name, value in metrics.items())
