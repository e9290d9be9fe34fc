"""A text's TF-IDF, by a look-up of its terms: the words, their order and the arithmetic are scikit-learn's."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from updraft.model.compiled.layout import Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from updraft.model.prediction import Floats

WORDS = re.compile(r"(?u)\b\w\w+\b").findall  # scikit-learn's own; it takes time in proportion to the text
# Logarithms are numpy's: those of Python differ in the last bit. Few texts repeat a term more often.
LOGS = [0.0, *(np.log(np.arange(1.0, 1001.0)) + 1.0).tolist()]


class TextInput:
    """A text's terms, each with the weight that it has in the text."""

    def __init__(self, about: Text) -> None:
        self.column, self.width = about.column, about.width
        self._least, self._most = about.ngrams
        self._sublinear = about.sublinear
        self._idf = array("d", about.idf)
        self._places = {term: place for place, term in enumerate(about.terms)}
        self._columns: dict[int, int] | None = None
        if about.kept is not None:
            self._columns = {place: column for column, place in enumerate(about.kept)}

    def terms(self, value: Any) -> tuple[list[int], list[float]]:
        """Return the columns that are not 0, ascending, and their numbers."""
        counts = self._counts(value or "")
        places = sorted(counts)
        weights = [self._weight(counts[place]) * self._idf[place] for place in places]
        squares = 0.0
        for weight in weights:
            squares += weight * weight
        if squares > 0.0:
            length = math.sqrt(squares)
            weights = [weight / length for weight in weights]
        if self._columns is None:
            return places, weights
        kept = [(self._columns[place], weight) for place, weight in zip(places, weights, strict=True)
                if place in self._columns]  # fmt: skip
        return [column for column, _ in kept], [weight for _, weight in kept]

    def _counts(self, text: str) -> dict[int, int]:
        counts: dict[int, int] = {}
        find = self._places.get
        words = WORDS(text.lower())
        for length in range(self._least, self._most + 1):
            for term in _ngrams(words, length):
                place = find(term)
                if place is not None:
                    counts[place] = counts.get(place, 0) + 1
        return counts

    def _weight(self, count: int) -> float:
        if not self._sublinear:
            return float(count)
        return LOGS[count] if count < len(LOGS) else float(np.log(float(count))) + 1.0

    def fill(self, values: Sequence[Any], into: Floats) -> None:
        """Write the columns of these values."""
        into[:] = 0.0
        rows, columns, numbers = self._sparse(values)
        into[rows, columns] = numbers

    def one(self, value: Any) -> Sequence[float]:
        """Return the numbers of one value."""
        numbers = [0.0] * self.width
        for column, number in zip(*self.terms(value), strict=True):
            numbers[column] = number
        return numbers

    def add(self, values: Sequence[Any], weights: Floats, sums: Floats) -> None:
        """Add the weighted columns of these values to the sums, one by one in their order."""
        rows, columns, numbers = self._sparse(values)
        rows = np.concatenate([np.arange(len(values)), rows])
        for output, weight in enumerate(weights):
            terms = np.concatenate([sums[:, output], numbers * weight[columns]])
            sums[:, output] = np.bincount(rows, terms, len(values))

    def _sparse(self, values: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        rows, columns, numbers = array("q"), array("q"), array("d")
        for row, value in enumerate(values):
            places, weights = self.terms(value)
            rows.extend([row] * len(places))
            columns.extend(places)
            numbers.extend(weights)
        return np.array(rows, dtype="int64"), np.array(columns, dtype="int64"), np.array(numbers, dtype="float64")


def _ngrams(words: list[str], length: int) -> Iterator[str]:
    if length == 1:
        return iter(words)
    if length == 2:
        return (f"{first} {second}" for first, second in pairwise(words))
    return (" ".join(words[start : start + length]) for start in range(len(words) - length + 1))
