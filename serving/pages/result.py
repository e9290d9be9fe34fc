"""The prediction of one row as the form page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.predict.predictor import PredictionResult
from updraft.model.signature import Signature


@dataclass(frozen=True)
class LabelProbability:
    """The probability of a label; `predicted` marks the predicted label."""

    name: str
    probability: float
    predicted: bool


@dataclass(frozen=True)
class ResultView:
    """The predicted label or number, and the probabilities, highest first.

    A binary prediction has one probability, of the positive label, and the threshold from which it is predicted.
    """

    target: str
    label: str | None
    number: float | None
    probabilities: list[LabelProbability]
    threshold: float | None
    id: str | None
    warnings: list[dict[str, str]]


def to_view(result: PredictionResult) -> ResultView:
    """Convert the prediction of a single row for the page."""
    signature, prediction = result.live.model.signature, result.prediction
    label = prediction.names[0] if prediction.names else None
    return ResultView(
        target=signature.title_of(signature.target),
        label=label,
        number=None if label is not None else prediction.predictions[0],
        probabilities=_probabilities(
            signature, label, prediction.probabilities[0] if prediction.probabilities else None
        ),
        threshold=signature.threshold,
        id=result.ids[0] if result.ids else None,
        warnings=[
            {"name": signature.title_of(_name(warning["pointer"])), "detail": warning["detail"]}
            for warning in result.rows.warnings
        ],
    )


def _probabilities(signature: Signature, label: str | None, probability: Any) -> list[LabelProbability]:
    if probability is None:
        return []
    if not isinstance(probability, dict):
        [positive] = [label.name for label in signature.labels if label.value == signature.positive]
        return [LabelProbability(positive, probability, positive == label)]
    ranked = sorted(probability.items(), key=lambda item: -item[1])
    return [LabelProbability(name, probability, name == label) for name, probability in ranked]


def _name(pointer: str) -> str:
    return pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")
