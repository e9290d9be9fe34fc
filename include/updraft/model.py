"""`Model` and its `Signature`: what is trained, stored and served.

It takes raw rows, so that training and serving cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import joblib
import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from updraft.suite import Column, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL, SIGNATURE = "model.joblib", "signature.json"
MAX_ERRORS, LONGEST_KEY = 100, 200


class BadRow(ValueError):
    """Rows that do not fit the signature: `errors` holds a JSON Pointer and a sentence for each fault, 100 at most."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        self.errors = errors
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{first['pointer']}: {first['detail']}{more}")


class Label(BaseModel):
    """A value of the target and what people call it."""

    value: int | str
    name: str


class Signature(BaseModel):
    """What a model takes and answers; travels with it as `signature.json`, so that serving reads no configuration.

    `columns` are the features. `labels` come in the order of `predict_proba`; `threshold` is the least probability of
    the `positive` label at which it is answered. `example` is a raw row that the model takes.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    use_case: str
    title: str
    candidate: str
    columns: tuple[Column, ...]
    id: str | None
    target: str
    labels: tuple[Label, ...]
    positive: int | str
    threshold: float
    split: dict[str, float]
    versions: dict[str, str]
    example: dict[str, Any]

    def frame(self, rows: list[Any]) -> pd.DataFrame:
        """Check raw rows and make the frame that the model takes: one column each feature, dtypes of the suite.

        The id may be given and is passed over. Raises BadRow with every fault.
        """
        errors: list[dict[str, str]] = []
        checked = []
        for index, row in enumerate(rows):
            checked.append(self._row(row, f"/rows/{index}", errors))
            if len(errors) >= MAX_ERRORS:
                break
        if errors:
            raise BadRow(errors[:MAX_ERRORS])
        names = [column.name for column in self.columns]
        return pd.DataFrame(checked, columns=names).astype({c.name: c.type for c in self.columns})

    def _row(self, row: object, pointer: str, errors: list[dict[str, str]]) -> list[Any]:
        if not isinstance(row, dict):
            errors.append({"pointer": pointer, "detail": f"expected an object, found {shown(row)}"})
            return []
        values: list[Any] = []
        for column in self.columns:
            try:
                values.append(column.check(row[column.name]))
            except KeyError:
                errors.append({"pointer": f"{pointer}/{_escape(column.name)}", "detail": "required and missing"})
            except ValueError as error:
                errors.append({"pointer": f"{pointer}/{_escape(column.name)}", "detail": str(error)})
        known = self._known
        for key in islice((key for key in row if key not in known), MAX_ERRORS):
            if len(key) > LONGEST_KEY:  # is not sent back
                errors.append({"pointer": pointer, "detail": f"unknown field {shown(key)}"})
                continue
            told = f"{self.target} is what is predicted" if key == self.target else f"known: {', '.join(known)}"
            errors.append({"pointer": f"{pointer}/{_escape(key)}", "detail": f"unknown field; {told}"})
        return values

    @cached_property
    def _known(self) -> list[str]:
        return [column.name for column in self.columns] + ([self.id] if self.id else [])


@dataclass(frozen=True)
class Prediction:
    """One entry a row, in the order of the rows: label, its name, probability of the positive label."""

    labels: list[int | str]
    names: list[str]
    probabilities: list[float]


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
        joblib.dump(self.pipeline, folder / MODEL)
        (folder / SIGNATURE).write_text(self.signature.model_dump_json(indent=2), encoding="utf-8")

    def scores(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Compute the probability of the positive label for each raw row, shape (n,), float64."""
        column = [label.value for label in self.signature.labels].index(self.signature.positive)
        return cast("NDArray[np.float64]", self.pipeline.predict_proba(frame)[:, column])

    def decide(self, scores: NDArray[np.float64]) -> NDArray[Any]:
        """Turn scores into labels at the stored threshold."""
        positive = self.signature.positive
        other = next(label.value for label in self.signature.labels if label.value != positive)
        return np.where(scores >= self.signature.threshold, np.array(positive), np.array(other))

    def predict(self, frame: pd.DataFrame) -> Prediction:
        """Answer raw rows."""
        scores = self.scores(frame)
        labels = self.decide(scores).tolist()
        names = {label.value: label.name for label in self.signature.labels}
        return Prediction(labels, [names[label] for label in labels], scores.tolist())


def _escape(key: object) -> str:
    """Escape a key for a JSON Pointer (RFC 6901)."""
    return str(key).replace("~", "~0").replace("/", "~1")
