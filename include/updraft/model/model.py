"""`Model`: what is trained, stored and served. It takes raw rows, so that training and serving cannot diverge."""

from __future__ import annotations

import pickle
import re
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import joblib
import numpy as np
import pandas as pd
from joblib.numpy_pickle import NumpyPickler

from updraft.errors import UserError
from updraft.model.prediction import Form, Prediction, decide, to_prediction
from updraft.model.signature import Rows, Signature, Task
from updraft.model.version_files import MODEL, SIGNATURE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class OutdatedModel(UserError):
    """A stored model refers to code that this version of Updraft does not have."""


@dataclass(frozen=True)
class Model:
    """A fitted scikit-learn pipeline over raw rows, and its signature."""

    signature: Signature
    pipeline: Any
    form: ClassVar[Form] = "pipeline"

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
        return to_prediction(self.signature, self.scores(frame))

    def scores_of(self, rows: Rows) -> Floats:
        """Score rows that the signature has checked."""
        return self.scores(rows.frame())

    def predict_rows(self, rows: Rows) -> Prediction:
        """Predict rows that the signature has checked."""
        return self.predict(rows.frame())


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
    """Save a value, and equal strings, or types of arrays, as one object.

    A pickle tells one string from two equal ones. Which of them a process has depends on what it did before: pydantic,
    for one, caches strings, and what comes from another process has types of its own.
    """
    if type(value) is str or isinstance(value, np.dtype):
        value = pickler.__dict__.setdefault("one_of_equals", {}).setdefault(value, value)
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
