"""`Model`: what is trained, stored and served. It takes raw rows, so that training and serving cannot diverge."""

from __future__ import annotations

import pickle
import re
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import joblib
import numpy as np
import pandas as pd
from joblib.numpy_pickle import NumpyPickler

from updraft.errors import UserError
from updraft.model.signature import Signature, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MODEL, SIGNATURE = "model.joblib", "signature.json"


class OutdatedModel(UserError):
    """A stored model refers to code that this version of Updraft does not have."""


@dataclass(frozen=True)
class Prediction:
    """Predictions of a batch: one entry per row, in the order of the rows.

    `predictions` are labels, or numbers in a regression, which has neither `names` nor `probabilities`. Probabilities
    are those of the positive label or, in a multiclass model, a mapping of each label's name to its probability.
    """

    predictions: list[Any]
    names: list[str] | None = None
    probabilities: list[float] | list[dict[str, float]] | None = None


@dataclass(frozen=True)
class Model:
    """A fitted scikit-learn pipeline over raw rows, and its signature."""

    signature: Signature
    pipeline: Any

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Load a model folder that this machine has just written: see `from_bytes`."""
        return cls.from_bytes((folder / SIGNATURE).read_bytes(), (folder / MODEL).read_bytes())

    @classmethod
    def from_bytes(cls, signature: bytes, model: bytes) -> Model:
        """Load a model from the contents of its files. This unpickles: pass the very bytes that were verified.

        Raises OutdatedModel when the model was saved by a version of Updraft whose modules had other names.
        """
        checked = Signature.model_validate_json(signature)
        try:
            return cls(checked, joblib.load(BytesIO(model)))
        except (ModuleNotFoundError, AttributeError) as error:  # a module, or a name in a module, that is gone
            if not re.search(r"module (named )?'updraft\.", str(error)):
                raise
            raise OutdatedModel(f"{MODEL}: saved by another version of Updraft ({error}); train again") from None

    def save(self, folder: Path) -> None:
        """Write `model.joblib` and `signature.json`."""
        _dump(self.pipeline, folder / MODEL)
        (folder / SIGNATURE).write_text(self.signature.model_dump_json(indent=2), encoding="utf-8")

    def scores(self, frame: pd.DataFrame) -> Floats:
        """Score raw rows: see `predict_scores`."""
        labels = [label.value for label in self.signature.labels]
        return predict_scores(self.signature.task, self.pipeline, frame, labels, self.signature.positive)

    def decide(self, scores: Floats) -> NDArray[Any]:
        """Turn scores into decisions: see `decide`."""
        return decide(self.signature.task, scores, self.signature.threshold)

    def predict(self, frame: pd.DataFrame) -> Prediction:
        """Predict raw rows."""
        scores = self.scores(frame)
        decisions = self.decide(scores)
        if self.signature.task == "regression":
            return Prediction(decisions.tolist())
        if self.signature.task == "binary":
            negative_first = sorted(self.signature.labels, key=lambda label: label.value == self.signature.positive)
            labels = [negative_first[index] for index in decisions.astype(int)]
            return Prediction([label.value for label in labels], [label.name for label in labels], scores.tolist())
        labels = [self.signature.labels[index] for index in decisions]
        names = [label.name for label in self.signature.labels]
        probabilities = [dict(zip(names, row, strict=True)) for row in scores.tolist()]
        return Prediction([label.value for label in labels], [label.name for label in labels], probabilities)


def _dump(value: Any, path: Path) -> None:
    """Write as `joblib.dump` does, but without dill.

    Airflow imports dill, which patches the dispatch table of every pickler in the process: the file would then need
    dill to load, and the service does not have it.
    """
    dill = sys.modules.get("dill")
    if dill:
        dill.extend(use_dill=False)
    try:
        pickler = type("Pickler", (NumpyPickler,), {"dispatch": pickle._Pickler.dispatch.copy(), "save": _save})
    finally:
        if dill:
            dill.extend(use_dill=True)
    with path.open("wb") as file:
        pickler(file).dump(value)


def _save(pickler: Any, value: Any) -> None:
    """Save a value, and equal strings as one object.

    A pickle tells one string from two equal ones. Which of them a process has depends on what it did before: pydantic,
    for one, caches strings.
    """
    if type(value) is str:
        value = pickler.__dict__.setdefault("strings", {}).setdefault(value, value)
    NumpyPickler.save(pickler, value)


def predict_scores(task: Task, pipeline: Any, frame: pd.DataFrame, labels: list[Any], positive: Any) -> Floats:
    """Score raw rows with a fitted pipeline; float64.

    Binary: the probability of the positive label, shape (n,). Multiclass: the probability of each label in the order of
    `labels`, shape (n, labels), 0 for a label absent from training. Regression: the prediction, shape (n,).
    """
    if task == "regression":
        return np.asarray(pipeline.predict(frame), dtype="float64")
    probabilities, classes = pipeline.predict_proba(frame), list(pipeline.classes_)
    if task == "binary":
        return cast("Floats", probabilities[:, classes.index(positive)])
    scores = np.zeros((len(frame), len(labels)))
    scores[:, [labels.index(label) for label in classes]] = probabilities
    return scores


def decide(task: Task, scores: Floats, threshold: float | None) -> NDArray[Any]:
    """Turn scores into decisions: positive or not, the index of the likeliest label, or the number itself."""
    if task == "regression":
        return scores
    return scores.argmax(axis=1) if threshold is None else scores >= threshold
