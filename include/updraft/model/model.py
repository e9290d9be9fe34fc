"""`Model`: what is trained, stored and served. It takes raw rows, so that training and serving cannot differ."""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import joblib
import numpy as np
import pandas as pd
from joblib.numpy_pickle import NumpyPickler

from updraft.model.signature import Signature, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MODEL, SIGNATURE = "model.joblib", "signature.json"


@dataclass(frozen=True)
class Prediction:
    """One entry a row, in the order of the rows.

    `predictions` are labels, or numbers of a regression, which has no `names` and no `probabilities`. Probabilities are
    those of the positive label, or, of a multiclass model, one by the name of each label.
    """

    predictions: list[Any]
    names: list[str] | None = None
    probabilities: list[float] | list[dict[str, float]] | None = None


@dataclass(frozen=True)
class Model:
    """A fitted scikit-learn pipeline over raw rows, and what it takes and answers."""

    signature: Signature
    pipeline: Any

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Load a model folder. It is unpickled: verify the folder first when it comes from elsewhere."""
        signature = Signature.model_validate_json((folder / SIGNATURE).read_bytes())
        return cls(signature, joblib.load(folder / MODEL))

    def save(self, folder: Path) -> None:
        """Write `model.joblib` and `signature.json`."""
        _dump(self.pipeline, folder / MODEL)
        (folder / SIGNATURE).write_text(self.signature.model_dump_json(indent=2), encoding="utf-8")

    def scores(self, frame: pd.DataFrame) -> Floats:
        """Score raw rows: see `predict_scores`."""
        told = self.signature
        return predict_scores(told.task, self.pipeline, frame, [label.value for label in told.labels], told.positive)

    def decide(self, scores: Floats) -> NDArray[Any]:
        """Turn scores into decisions: see `decide`."""
        return decide(self.signature.task, scores, self.signature.threshold)

    def predict(self, frame: pd.DataFrame) -> Prediction:
        """Answer raw rows."""
        scores = self.scores(frame)
        decided = self.decide(scores)
        if self.signature.task == "regression":
            return Prediction(decided.tolist())
        if self.signature.task == "binary":
            sides = sorted(self.signature.labels, key=lambda label: label.value == self.signature.positive)
            answers = [sides[side] for side in decided.astype(int)]
            return Prediction([each.value for each in answers], [each.name for each in answers], scores.tolist())
        answers = [self.signature.labels[index] for index in decided]
        names = [label.name for label in self.signature.labels]
        shares = [dict(zip(names, row, strict=True)) for row in scores.tolist()]
        return Prediction([each.value for each in answers], [each.name for each in answers], shares)


def _dump(value: Any, path: Path) -> None:
    """Write as `joblib.dump` does, without dill: Airflow lets it change every pickler, and the service has none."""
    dill = sys.modules.get("dill")
    if dill:
        dill.extend(use_dill=False)
    try:
        plain = type("Plain", (NumpyPickler,), {"dispatch": pickle._Pickler.dispatch.copy()})
    finally:
        if dill:
            dill.extend(use_dill=True)
    with path.open("wb") as file:
        plain(file).dump(value)


def predict_scores(task: Task, pipeline: Any, frame: pd.DataFrame, labels: list[Any], positive: Any) -> Floats:
    """Score raw rows by a fitted pipeline, float64.

    Binary: the probability of the positive label, shape (n,). Multiclass: that of each label in the order of `labels`,
    shape (n, labels), 0 for one that it was not fitted on. Regression: the number, shape (n,).
    """
    if task == "regression":
        return np.asarray(pipeline.predict(frame), dtype="float64")
    found, classes = pipeline.predict_proba(frame), list(pipeline.classes_)
    if task == "binary":
        return cast("Floats", found[:, classes.index(positive)])
    scores = np.zeros((len(frame), len(labels)))
    scores[:, [labels.index(label) for label in classes]] = found
    return scores


def decide(task: Task, scores: Floats, threshold: float | None) -> NDArray[Any]:
    """Decide on scores: positive or not, the index of the likeliest label, or the number itself."""
    if task == "regression":
        return scores
    return scores.argmax(axis=1) if threshold is None else scores >= threshold
