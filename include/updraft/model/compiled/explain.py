"""Why a row got its score: what each column adds to a baseline, so that all together are the score.

What is added up is what the model adds up before its link function: the log-odds of a boosted classifier, the
probability of a forest. `baseline.bin`, little-endian float64, has what the baseline is made of: the training rows'
weight in each leaf of the trees, or the mean of each column of a linear model's matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from updraft.model.compiled.inputs import Input, matrix
from updraft.model.compiled.layout import Compiled, Linear, Trees
from updraft.model.compiled.nodes import Nodes
from updraft.model.compiled.tree_paths import TreeShap
from updraft.model.signature import Signature

if TYPE_CHECKING:
    from updraft.model.prediction import Floats

Columns = Sequence[Sequence[Any]]
MAX_LEAVES = 500_000
MAX_WORK = 50_000_000  # steps to leaves times points of the quadrature: two seconds or so
WORK_OF_NUMBER = 12  # of the matrix: 4,000,000 at most exist at a time
MAX_NUMBERS = 100_000  # contributions of a response
RTOL = 1e-9  # between a score and what adds up to it, of the size of what is added up
NOTHING = 1e-14  # of that size: the rounding of what cancels out
SCALES = {
    "softmax": "the margin of the label, before the softmax",
    "normalized_exp": "the log-likelihood of the label, before it is normalized",
    "normalized_expit": "the log-odds of the label, before they are normalized",
    "votes": "the votes for the label, before the softmax",
    "identity": "the probability of the label",
}


class NotExplained(Exception):
    """A model has no explanations; the message says why."""


@dataclass(frozen=True)
class Explanation:
    """The `contributions` of each column to each row's score, which is what the `scale` says, of the row's label.

    A score is the row's baseline plus its contributions. A binary model explains its positive label, a multiclass one
    the predicted one, a regression has no `labels`.
    """

    method: str
    reference: str
    scale: str
    labels: list[str] | None
    scores: Floats
    baselines: Floats
    contributions: Floats


class Explainer(Protocol):
    """What a kind of model adds up; `work` is what a row takes, on the scale of MAX_WORK."""

    method: ClassVar[str]
    reference: ClassVar[str]

    @property
    def work(self) -> int: ...

    def explain(self, columns: Columns, factors: Floats) -> tuple[Floats, Floats]:
        """Return the baselines and the contributions by column to the outputs of each row times its `factors`."""


class TreeExplainer:
    """Exact path-dependent Shapley values."""

    method: ClassVar[str] = "path-dependent TreeSHAP; the parts of a column, as of a date or a category, are added up"
    reference: ClassVar[str] = "the mean over the training rows, by their weights in the trees"

    def __init__(self, about: Compiled, trees: Trees, inputs: Sequence[Input], found: Nodes, weights: Floats) -> None:
        owners = np.repeat([each.column for each in inputs], [each.width for each in inputs])
        self._shap = TreeShap(found, trees.leaves, trees.outputs, weights, owners)
        self._inputs, self._dtype, self._divisor = inputs, trees.dtype, trees.divisor
        self._means = self._shap.means(about.outputs) / trees.divisor
        steps = self._shap.steps * (self._shap.deepest // 2 + 2)
        self.work = max(steps, about.width * WORK_OF_NUMBER)

    def explain(self, columns: Columns, factors: Floats) -> tuple[Floats, Floats]:
        """See `Explainer`."""
        numbers = np.ascontiguousarray(matrix(self._inputs, columns), dtype=self._dtype)
        return factors @ self._means, self._shap.contributions(numbers, factors / self._divisor, len(columns))


class LinearExplainer:
    """A weight times how far a number is from its mean: the Shapley values of a sum, whose columns do not interact."""

    method: ClassVar[str] = "linear: the weight times the difference from the training rows' mean"
    reference: ClassVar[str] = "the mean over the training rows"
    work: int = 0

    def __init__(self, about: Linear, inputs: Sequence[Input], weights: Floats, means: Floats) -> None:
        if len(means) != weights.shape[1] or not np.isfinite(means).all():
            raise ValueError(f"expected {weights.shape[1]} means")
        self._inputs, self._weights = inputs, weights
        self._starts = list(accumulate((each.width for each in inputs), initial=0))
        products = weights * means
        self._means = [products[:, start : start + each.width].sum(axis=1) for each, start in self._parts()]
        self._slopes = -np.array(about.slopes if about.slopes is not None else [-1.0] * len(weights))
        offsets = np.array(about.offsets if about.offsets is not None else [0.0] * len(weights))
        self._baseline = self._slopes * (products.sum(axis=1) + about.intercepts) - offsets

    def explain(self, columns: Columns, factors: Floats) -> tuple[Floats, Floats]:
        """See `Explainer`."""
        contributions = np.zeros((len(factors), len(columns)))
        for (each, start), mean in zip(self._parts(), self._means, strict=True):
            sums = np.zeros(factors.shape)
            each.add(columns[each.column], self._weights[:, start : start + each.width], sums)
            contributions[:, each.column] += ((sums - mean) * self._slopes * factors).sum(axis=1)
        return factors @ self._baseline, contributions

    def _parts(self) -> list[tuple[Input, int]]:
        return list(zip(self._inputs, self._starts, strict=False))


def require_few_leaves(trees: Trees) -> None:
    """Raise NotExplained where trees have more leaves than are explained."""
    if (count := sum(trees.leaves)) > MAX_LEAVES:
        raise NotExplained(f"its trees have {count:,} leaves, and {MAX_LEAVES:,} at most are explained")


def margins(about: Compiled, signature: Signature, sums: Floats, scores: Floats) -> tuple[Floats, list[str] | None]:
    """Return by which factors of each row's sums its score is made, and the label it is the score of."""
    factors = np.zeros(sums.shape)
    if about.classes is not None:
        chosen = scores.argmax(axis=1)
        places = np.array([about.classes.index(label) for label in chosen.tolist()])
        factors[np.arange(len(sums)), places] = 1 / (about.outputs - 1) if about.link == "votes" else 1.0
        return factors, [signature.labels[label].name for label in chosen.tolist()]
    factors[:, -1] = -1.0 if about.complement else 1.0
    if about.outputs == 2:  # of the two labels, the one that counts comes last
        factors[:, 0] = -1.0
    return factors, None if signature.task == "regression" else [signature.negative_first[1].name] * len(sums)


def scale(about: Compiled, signature: Signature) -> str:
    """Say what the contributions add up to."""
    if signature.task == "regression":
        return f"the logarithm of {signature.target}" if about.link == "exp" else signature.target
    if signature.task == "multiclass":
        return SCALES[about.link]
    kind = "probability" if about.link == "identity" else "log-odds"
    return f"the {kind} of {signature.negative_first[1].name}"
