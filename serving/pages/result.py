"""One row's answer as a page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.predict.predictor import Answered
from updraft.model.signature import Signature


@dataclass(frozen=True)
class Share:
    """The probability of a label; `chosen` is the one that was answered."""

    name: str
    probability: float
    chosen: bool


@dataclass(frozen=True)
class Outcome:
    """What was answered: a label's name or a number, and the probabilities, the highest first.

    A binary answer has one share, that of the positive label, and the threshold at which it is answered.
    """

    target: str
    label: str | None
    number: float | None
    shares: list[Share]
    threshold: float | None
    id: str | None
    warnings: list[dict[str, str]]


def shown(answered: Answered) -> Outcome:
    """Make of an answer to one row what is shown."""
    signature, prediction = answered.live.model.signature, answered.prediction
    label = prediction.names[0] if prediction.names else None
    return Outcome(
        target=signature.target,
        label=label,
        number=None if label is not None else prediction.predictions[0],
        shares=_shares(signature, label, prediction.probabilities[0] if prediction.probabilities else None),
        threshold=signature.threshold,
        id=answered.ids[0] if answered.ids else None,
        warnings=[{"name": _name(each["pointer"]), "detail": each["detail"]} for each in answered.rows.warnings],
    )


def _shares(signature: Signature, label: str | None, told: Any) -> list[Share]:
    if told is None:
        return []
    if not isinstance(told, dict):
        [positive] = [each.name for each in signature.labels if each.value == signature.positive]
        return [Share(positive, told, positive == label)]
    ranked = sorted(told.items(), key=lambda each: -each[1])
    return [Share(name, probability, name == label) for name, probability in ranked]


def _name(pointer: str) -> str:
    return pointer.removeprefix("/").replace("~1", "/").replace("~0", "~")
