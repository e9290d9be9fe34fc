"""Sums of trees, for each output by a booster of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from updraft.model.compiled.booster import Booster
from updraft.model.compiled.inputs import Input, matrix, vector
from updraft.model.compiled.layout import Compiled, Trees
from updraft.model.compiled.nodes import lightgbm_text, parse

if TYPE_CHECKING:
    from updraft.model.prediction import Floats

Columns = Sequence[Sequence[Any]]
CHUNK = 4_000_000  # numbers of a matrix that exists at a time, 32 MB


class TreeScores:
    """The trees' sums, divided as a forest's mean or a vote is."""

    def __init__(self, about: Compiled, trees: Trees, inputs: Sequence[Input], content: bytes) -> None:
        self._inputs, self._divisor = inputs, trees.divisor
        # scikit-learn sums a row's exponentials in the order of memory: by column in these.
        self._order: Literal["C", "F"] = "F" if trees.dtype == "float64" or about.link == "votes" else "C"
        self._chunk = max(1, CHUNK // about.width)
        self._boosters = _boosters(about, trees, content)

    def many(self, columns: Columns) -> Floats:
        """Return the sums of each row."""
        count = len(columns[0])
        sums = np.empty((count, len(self._boosters)), order=self._order)
        for start in range(0, count, self._chunk):
            end = start + self._chunk
            part = columns if count <= self._chunk else [column[start:end] for column in columns]
            prepared = self._boosters[0].prepare(matrix(self._inputs, part))
            for output, booster in enumerate(self._boosters):
                sums[start:end, output] = booster.many(prepared)
        sums /= self._divisor
        return sums

    def one(self, columns: Columns) -> list[float]:
        """Return the sums of the first row."""
        row = self._boosters[0].buffer(vector(self._inputs, columns))
        return [booster.one(row) / self._divisor for booster in self._boosters]


def _boosters(about: Compiled, trees: Trees, content: bytes) -> list[Booster]:
    found = parse(content, trees, about.width, about.outputs)
    boosters = []
    for output in range(about.outputs):
        outputs = trees.outputs
        chosen = [tree for tree in range(len(trees.leaves)) if outputs is None or outputs[tree] == output]
        text = lightgbm_text(found, trees.leaves, chosen, output if outputs is None else 0, about.width)
        boosters.append(Booster(text, about.width, trees.dtype))
    return boosters
