"""Weighted sums, as scikit-learn adds them up: by BLAS, or column by column where its matrix is sparse."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from updraft.model.compiled.inputs import Input, matrix, vector
from updraft.model.compiled.layout import MAX_WEIGHTS, Linear

if TYPE_CHECKING:
    from updraft.model.prediction import Floats

Columns = Sequence[Sequence[Any]]


class DenseSums:
    """The sums of a matrix without many zeros."""

    def __init__(self, inputs: Sequence[Input], weights: Floats, *, flat: bool) -> None:
        self._inputs, self._outputs = inputs, len(weights)
        weights = weights.copy()  # in the shape and order of scikit-learn's: BLAS sums alike
        self._weights = weights[0] if flat else weights.T

    def many(self, columns: Columns) -> Floats:
        """Return the sums of each row."""
        numbers = matrix(self._inputs, columns)
        sums: Floats = (numbers @ self._weights).reshape(len(numbers), self._outputs)
        return sums

    def one(self, columns: Columns) -> list[float]:
        """Return the sums of the first row."""
        sums: list[float] = (np.array([vector(self._inputs, columns)]) @ self._weights).ravel().tolist()
        return sums


class SparseSums:
    """The sums of a matrix that is mostly 0, of which no row is ever made."""

    def __init__(self, inputs: Sequence[Input], weights: Floats) -> None:
        self._weights = weights
        self._each = [memoryview(row) for row in np.ascontiguousarray(weights)]  # numpy's own indexing is slower
        self._starts = list(zip(inputs, accumulate((each.width for each in inputs), initial=0), strict=False))

    def many(self, columns: Columns) -> Floats:
        """Return the sums of each row."""
        sums = np.zeros((len(columns[0]), len(self._weights)))
        for each, start in self._starts:
            each.add(columns[each.column], self._weights[:, start : start + each.width], sums)
        return sums

    def one(self, columns: Columns) -> list[float]:
        """Return the sums of the first row."""
        places: list[int] = []
        numbers: list[float] = []
        for each, start in self._starts:
            found, values = each.terms(columns[each.column][0])
            places += [start + place for place in found]
            numbers += values
        sums = []
        for weights in self._each:
            total = 0.0
            for place, number in zip(places, numbers, strict=True):
                total += number * weights[place]
            sums.append(total)
        return sums


class LinearScores:
    """A linear model's sums, with intercepts and Platt's line."""

    def __init__(self, about: Linear, inputs: Sequence[Input], weights: Floats, *, flat: bool) -> None:
        self._sums = SparseSums(inputs, weights) if about.sparse else DenseSums(inputs, weights, flat=flat)
        self._intercepts = about.intercepts
        self._platt: list[tuple[float, float]] | None = None
        if about.slopes is not None and about.offsets is not None:
            self._platt = list(zip(about.slopes, about.offsets, strict=True))

    def many(self, columns: Columns) -> Floats:
        """Return the sums of each row."""
        sums: Floats = self._sums.many(columns) + np.array(self._intercepts)
        if self._platt is None:
            return sums
        slopes, offsets = np.array(self._platt).T
        lines: Floats = -(slopes * sums + offsets)
        return lines

    def one(self, columns: Columns) -> list[float]:
        """Return the sums of the first row."""
        sums = [total + other for total, other in zip(self._sums.one(columns), self._intercepts, strict=True)]
        if self._platt is None:
            return sums
        return [-(slope * total + offset) for total, (slope, offset) in zip(sums, self._platt, strict=True)]


def read_weights(content: bytes, width: int, outputs: int) -> Floats:
    """Read `weights.bin`. Raises ValueError where it does not fit."""
    if width * outputs > MAX_WEIGHTS or len(content) != width * outputs * 8:
        raise ValueError(f"{len(content)} bytes of weights, expected {width * outputs * 8}")
    weights = np.frombuffer(content, "<f8").astype("float64", copy=False).reshape(outputs, width)
    if not np.isfinite(weights).all():
        raise ValueError("a weight that is not finite")
    return weights
