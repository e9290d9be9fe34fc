"""`CompiledModel`: what a version's files say, ready to score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import ValidationError

from updraft.model.compiled.booster import Booster
from updraft.model.compiled.inputs import matrix, read_inputs, vector
from updraft.model.compiled.layout import COMPILED, MAX_COMPILED, MAX_TREES, TREES, Compiled, Linear, Trees
from updraft.model.compiled.links import LINKS, expit
from updraft.model.compiled.nodes import lightgbm_text, parse
from updraft.model.prediction import Form, Prediction, to_prediction
from updraft.model.signature import Rows, Signature

if TYPE_CHECKING:
    from updraft.model.prediction import Floats


class BadCompiled(ValueError):
    """The files of a compiled model are not what they should be."""


class CompiledModel:
    """A model that needs numpy and, for trees, LightGBM's library. Threads may share it."""

    form: ClassVar[Form] = "compiled"

    def __init__(self, signature: Signature, files: Mapping[str, bytes]) -> None:
        """Read the verified contents of the files. Raises BadCompiled, and NoLightGBM where that is missing."""
        self.signature = signature
        if len(files[COMPILED]) > MAX_COMPILED or len(files.get(TREES, b"")) > MAX_TREES:
            raise BadCompiled(f"{COMPILED} or {TREES}: too large")
        try:
            self._about = about = Compiled.model_validate_json(files[COMPILED])
            self._inputs = read_inputs(about.inputs, len(signature.columns))
            _require_outputs(about, signature)
            boosters = [] if isinstance(about.model, Linear) else _boosters(about, about.model, files.get(TREES, b""))
        except ValidationError as error:
            raise BadCompiled(f"{COMPILED}: {error.errors()[0]['msg']}") from None
        except ValueError as error:
            raise BadCompiled(f"{COMPILED}: {error}") from None
        self._boosters = boosters
        if isinstance(about.model, Linear):
            weights = np.array(about.model.weights)  # in the shape and order of scikit-learn's: BLAS sums alike
            self._weights = weights[0] if signature.task == "regression" else weights.T
            self._intercepts = np.array(about.model.intercepts)
        self._divisor = about.model.divisor if isinstance(about.model, Trees) else 1

    def scores_of(self, rows: Rows) -> Floats:
        """Score rows that the signature has checked."""
        if len(rows) == 1 and self._boosters:
            return self._score_one(vector(self._inputs, rows.columns))
        return self._finish(self._sums(matrix(self._inputs, rows.columns)))

    def predict_rows(self, rows: Rows) -> Prediction:
        """Predict rows that the signature has checked."""
        return to_prediction(self.signature, self.scores_of(rows))

    @property
    def sums(self) -> bool:
        """Whether scores are weighted sums, whose last bits hang on the order; those of trees do not."""
        return not self._boosters

    def _score_one(self, numbers: list[float]) -> Floats:
        row = self._boosters[0].buffer(numbers)
        sums = [booster.one(row) / self._divisor for booster in self._boosters]
        if self.signature.task == "binary" and self._about.link in ("identity", "expit"):
            score = expit(sums[0]) if self._about.link == "expit" else sums[0]
            return np.array([1.0 - score if self._about.complement else score])
        return self._finish(np.array([sums]))

    def _sums(self, numbers: Floats) -> Floats:
        model = self._about.model
        if isinstance(model, Linear):
            sums: Floats = (numbers @ self._weights).reshape(len(numbers), self._about.outputs) + self._intercepts
            if model.slopes is not None and model.offsets is not None:
                sums = -(np.array(model.slopes) * sums + np.array(model.offsets))
            return sums
        # scikit-learn sums a row's exponentials in the order of memory: by column where its trees take float64.
        sums = np.empty((len(numbers), len(self._boosters)), order="F" if model.dtype == "float64" else "C")
        prepared = self._boosters[0].prepare(numbers)
        for output, booster in enumerate(self._boosters):
            sums[:, output] = booster.many(prepared)
        sums /= self._divisor
        return sums

    def _finish(self, sums: Floats) -> Floats:
        found = LINKS[self._about.link](sums)
        if self._about.classes is not None:
            scores = np.zeros((len(found), len(self.signature.labels)))
            scores[:, self._about.classes] = found
            return scores
        score: Floats = found[:, -1]
        return 1.0 - score if self._about.complement else score


def _require_outputs(about: Compiled, signature: Signature) -> None:
    if (about.classes is not None) != (signature.task == "multiclass"):
        raise ValueError(f"classes do not go with a {signature.task} model")
    if about.classes is not None and not set(about.classes) <= set(range(len(signature.labels))):
        raise ValueError(f"a class beyond the {len(signature.labels)} labels")


def _boosters(about: Compiled, trees: Trees, content: bytes) -> list[Booster]:
    found = parse(content, trees, about.width, about.outputs)
    boosters = []
    for output in range(about.outputs):
        outputs = trees.outputs
        chosen = [tree for tree in range(len(trees.leaves)) if outputs is None or outputs[tree] == output]
        text = lightgbm_text(found, trees.leaves, chosen, output if outputs is None else 0, about.width)
        boosters.append(Booster(text, about.width, trees.dtype))
    return boosters
