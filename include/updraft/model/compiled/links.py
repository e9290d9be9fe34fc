"""From sums to scores, as scikit-learn computes them: with libm's `exp` for one number, numpy's for several."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from updraft.model.compiled.layout import Link

if TYPE_CHECKING:
    from updraft.model.prediction import Floats

LEAST = -709.0  # exp(-x) overflows below


def expit(x: float) -> float:
    """Return 1 / (1 + exp(-x)): scipy computes it with the same `exp`, numpy's is another one."""
    return 1.0 / (1.0 + math.exp(-x)) if x > LEAST else math.exp(x)


def _expit(sums: Floats) -> Floats:
    return np.array([expit(x) for x in sums.ravel().tolist()]).reshape(sums.shape)


def _softmax(sums: Floats) -> Floats:
    found = sums.copy(order="K")
    found -= found.max(axis=1).reshape(-1, 1)
    np.exp(found, out=found)
    found /= found.sum(axis=1).reshape(-1, 1)
    return found


def _normalized_exp(sums: Floats) -> Floats:
    largest = sums.max(axis=1, keepdims=True)
    total = np.log(np.exp(sums - largest).sum(axis=1, keepdims=True)) + largest
    found: Floats = np.exp(sums - total)
    return found


def _normalized_expit(sums: Floats) -> Floats:
    found = _expit(sums)
    total = found.sum(axis=1, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1.0), 1 / sums.shape[1])


def _votes(sums: Floats) -> Floats:
    """Turn AdaBoost's votes for each label into probabilities."""
    if sums.shape[1] > 2:
        return _softmax(sums / (sums.shape[1] - 1))
    decision = -sums[:, 0] + sums[:, 1]
    return _softmax(np.vstack([-decision, decision]).T / 2)


LINKS: dict[Link, Callable[[Floats], Floats]] = {
    "identity": lambda sums: sums,
    "exp": np.exp,
    "expit": _expit,
    "softmax": _softmax,
    "normalized_exp": _normalized_exp,
    "normalized_expit": _normalized_expit,
    "votes": _votes,
}
