"""From rows to predictions, whatever computes the scores. Needs neither pandas nor scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from updraft.model.signature import Rows, Signature
from updraft.model.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Form = Literal["compiled", "pipeline"]


@dataclass(frozen=True)
class Prediction:
    """Predictions of a batch: one entry per row, in the order of the rows.

    `predictions` are labels, or numbers in a regression, which has neither `names` nor `probabilities`. Probabilities
    are those of the positive label or, in a multiclass model, a mapping of each label's name to its probability.
    """

    predictions: list[Any]
    names: list[str] | None = None
    probabilities: list[float] | list[dict[str, float]] | None = None


class ServedModel(Protocol):
    """A model as the service uses it; `form` says what computes the scores."""

    @property
    def signature(self) -> Signature: ...

    @property
    def form(self) -> Form: ...

    def scores_of(self, rows: Rows) -> Floats:
        """Score rows that the signature has checked.

        Binary: the probability of the positive label, shape (n,). Multiclass: the probability of each label, shape (n,
        labels). Regression: the prediction, shape (n,).
        """

    def predict_rows(self, rows: Rows) -> Prediction:
        """Predict rows that the signature has checked."""


def decide(task: Task, scores: Floats, threshold: float | None) -> NDArray[Any]:
    """Turn scores into decisions: positive or not, the index of the likeliest label, or the number itself."""
    if task == "regression":
        return scores
    return scores.argmax(axis=1) if threshold is None else scores >= threshold


def to_prediction(signature: Signature, scores: Floats) -> Prediction:
    """Turn a model's scores of rows into its predictions."""
    return _predicted(signature, decide(signature.task, scores, signature.threshold).tolist(), scores.tolist())


def one_prediction(signature: Signature, score: float) -> Prediction:
    """Turn the score of a single row into its prediction; not for a multiclass model."""
    decision = score if signature.threshold is None else score >= signature.threshold
    return _predicted(signature, [decision], [score])


def _predicted(signature: Signature, decisions: list[Any], scores: list[Any]) -> Prediction:
    if signature.task == "regression":
        return Prediction(decisions)
    if signature.task == "binary":
        labels = [signature.negative_first[is_positive] for is_positive in decisions]
        return Prediction([label.value for label in labels], [label.name for label in labels], scores)
    labels = [signature.labels[index] for index in decisions]
    names = [label.name for label in signature.labels]
    probabilities = [dict(zip(names, row, strict=True)) for row in scores]
    return Prediction([label.value for label in labels], [label.name for label in labels], probabilities)
