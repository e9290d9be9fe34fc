"""`CompiledModel`: what a version's files say, ready to score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import ValidationError

from updraft.model.compiled import explain
from updraft.model.compiled.explain import Explainer, Explanation, LinearExplainer, NotExplained, TreeExplainer
from updraft.model.compiled.inputs import Input, read_inputs
from updraft.model.compiled.layout import BASELINE, COMPILED, MAX_COMPILED, MAX_TREES, TREES, WEIGHTS, Compiled, Trees
from updraft.model.compiled.links import LINKS, expit
from updraft.model.compiled.nodes import parse
from updraft.model.compiled.sums import LinearScores, read_weights
from updraft.model.compiled.tree_scores import TreeScores
from updraft.model.prediction import Form, Prediction, one_prediction, to_prediction
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
            about = Compiled.model_validate_json(files[COMPILED])
            _require_outputs(about, signature)
            self._inputs = read_inputs(about.inputs, len(signature.columns))
            self._scores = _read_scores(about, signature, self._inputs, files)
        except ValidationError as error:
            raise BadCompiled(f"{COMPILED}: {error.errors()[0]['msg']}") from None
        except ValueError as error:
            raise BadCompiled(f"{COMPILED}: {error}") from None
        self._link, self._classes, self._complement = about.link, about.classes, about.complement
        self._about, self._files = about, _explaining(about, files)
        self._gives_one = about.outputs == 1 and about.classes is None and about.link in ("identity", "expit")

    def scores_of(self, rows: Rows) -> Floats:
        """Score rows that the signature has checked."""
        if len(rows) != 1:
            return self._finish(self._scores.many(rows.columns))
        sums = self._scores.one(rows.columns)
        return np.array([self._finish_one(sums[0])]) if self._gives_one else self._finish(np.array([sums]))

    def predict_rows(self, rows: Rows) -> Prediction:
        """Predict rows that the signature has checked."""
        if self._gives_one and len(rows) == 1:
            return one_prediction(self.signature, self._finish_one(self._scores.one(rows.columns)[0]))
        return to_prediction(self.signature, self.scores_of(rows))

    @property
    def most_explained(self) -> int:
        """How many rows `explain` takes at a time. Raises NotExplained where it takes none."""
        work = self._explainer.work
        if work > explain.MAX_WORK:
            raise NotExplained("its trees are too large: a row would take seconds")
        rows = explain.MAX_WORK // work if work else explain.MAX_NUMBERS
        return max(1, min(rows, explain.MAX_NUMBERS // len(self.signature.columns)))

    def explain(self, rows: Rows) -> Explanation:
        """Say what each column adds to the scores of rows that the signature has checked. Raises NotExplained."""
        explainer = self._explainer
        sums = self._scores.many(rows.columns)
        factors, labels = explain.margins(self._about, self.signature, sums, self._finish(sums))
        baselines, contributions = explainer.explain(rows.columns, factors)
        scores: Floats = (sums * factors).sum(axis=1)
        size = np.abs(baselines) + np.abs(contributions).sum(axis=1) + np.abs(scores)
        if (np.abs(baselines + contributions.sum(axis=1) - scores) > explain.RTOL * size).any():
            raise ArithmeticError("the contributions do not add up to the score")
        contributions[np.abs(contributions) < explain.NOTHING * size[:, None]] = 0.0
        scale = explain.scale(self._about, self.signature)
        return Explanation(explainer.method, explainer.reference, scale, labels, scores, baselines, contributions)

    @cached_property
    def _explainer(self) -> Explainer:
        """Made by the first explanation: predictions need neither its time nor its memory."""
        if BASELINE not in self._files:
            raise NotExplained("the version was stored without the baseline of explanations; train it again")
        try:
            return _read_explainer(self._about, self._inputs, self._files)
        except ValueError as error:
            raise NotExplained(f"{BASELINE}: {error}") from None

    @property
    def sums(self) -> bool:
        """Whether scores are weighted sums, whose last bits hang on the order; those of trees do not."""
        return isinstance(self._scores, LinearScores)

    def _finish_one(self, total: float) -> float:
        """Do for the one number of one row what `_finish` does, without numpy."""
        score = expit(total) if self._link == "expit" else total
        return 1.0 - score if self._complement else score

    def _finish(self, sums: Floats) -> Floats:
        found = LINKS[self._link](sums)
        if self._classes is not None:
            scores = np.zeros((len(found), len(self.signature.labels)))
            scores[:, self._classes] = found
            return scores
        score: Floats = found[:, -1]
        return 1.0 - score if self._complement else score


def _read_scores(
    about: Compiled, signature: Signature, inputs: Sequence[Input], files: Mapping[str, bytes]
) -> LinearScores | TreeScores:
    if isinstance(about.model, Trees):
        return TreeScores(about, about.model, inputs, files.get(TREES, b""))
    weights = read_weights(files.get(WEIGHTS, b""), about.width, about.outputs)
    return LinearScores(about.model, inputs, weights, flat=signature.task == "regression")


def _explaining(about: Compiled, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files that explanations need: not the trees where they are too many to be explained."""
    if isinstance(about.model, Trees) and sum(about.model.leaves) > explain.MAX_LEAVES:
        return {BASELINE: b""}
    return {name: files[name] for name in (BASELINE, TREES, WEIGHTS) if name in files} if BASELINE in files else {}


def _read_explainer(about: Compiled, inputs: Sequence[Input], files: Mapping[str, bytes]) -> Explainer:
    if isinstance(about.model, Trees):
        explain.require_few_leaves(about.model)
        found = parse(files[TREES], about.model, about.width, about.outputs)
        return TreeExplainer(about, about.model, inputs, found, _floats(files[BASELINE]))
    weights = read_weights(files[WEIGHTS], about.width, about.outputs)
    return LinearExplainer(about.model, inputs, weights, _floats(files[BASELINE]))


def _floats(content: bytes) -> Floats:
    return np.frombuffer(content, "<f8").astype("float64", copy=False)


def _require_outputs(about: Compiled, signature: Signature) -> None:
    if (about.classes is not None) != (signature.task == "multiclass"):
        raise ValueError(f"classes do not go with a {signature.task} model")
    if about.classes is not None and not set(about.classes) <= set(range(len(signature.labels))):
        raise ValueError(f"a class beyond the {len(signature.labels)} labels")
