"""From rows to the matrix that the trees or weights take, column by column, or one row by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from updraft.model.compiled.layout import Category, InputPart, Number, Part
from updraft.model.compiled.text import TextInput

if TYPE_CHECKING:
    from updraft.model.prediction import Floats

EPOCH = datetime(1970, 1, 1)
DAY = 86_400_000_000.0  # microseconds
NAN = math.nan


class NumberInput:
    """A number, or a part of a date, as float64, and the arithmetic on it."""

    width = 1

    def __init__(self, about: Number) -> None:
        self.column, self._read, self._steps = about.column, READ[about.part], about.steps
        self._is_plain = about.part == "number"

    def fill(self, values: Sequence[Any], into: Floats) -> None:
        """Write the column of these values."""
        numbers = into[:, 0]
        if self._is_plain:  # numpy reads None as NaN, and a number as `float` does
            numbers[:] = np.array(values, dtype="float64")
        else:
            numbers[:] = [NAN if value is None else self._read(value) for value in values]
        for name, number in self._steps:
            ON_COLUMNS[name](numbers, number)

    def one(self, value: Any) -> Sequence[float]:
        """Return the one number of a value."""
        number = NAN if value is None else self._read(value)
        for name, other in self._steps:
            number = ON_NUMBERS[name](number, other)
        return (number,)

    def terms(self, value: Any) -> tuple[Sequence[int], Sequence[float]]:
        """Return the columns that are not 0, and their numbers."""
        return (0,), self.one(value)

    def add(self, values: Sequence[Any], weights: Floats, sums: Floats) -> None:
        """Add the weighted column of these values to the sums."""
        numbers = np.empty((len(values), 1))
        self.fill(values, numbers)
        sums += numbers * weights[:, 0]


class _Codes(dict[Any, float]):
    """The code of each value, also of those that are missing or unknown: without a call of Python for a known one."""

    missing = unknown = NAN

    def __missing__(self, value: Any) -> float:
        return self.missing if value is None or value != value else self.unknown


class CategoryInput:
    """A category's code, in one column or as the place of a 1 among zeros."""

    def __init__(self, about: Category) -> None:
        self.column, self.width = about.column, about.width or 1
        self._places = about.width
        self._codes = _Codes(zip(about.values, (NAN if code is None else code for code in about.codes), strict=True))
        self._codes.missing = NAN if about.missing is None else about.missing
        self._codes.unknown = NAN if about.unknown is None else about.unknown
        self._code = self._codes.__getitem__

    def fill(self, values: Sequence[Any], into: Floats) -> None:
        """Write the columns of these values."""
        codes = np.array(list(map(self._code, values)), dtype="float64")
        if self._places is None:
            into[:, 0] = codes
            return
        into[:] = 0.0
        known = np.flatnonzero(codes == codes)
        into[known, codes[known].astype("int64")] = 1.0

    def one(self, value: Any) -> Sequence[float]:
        """Return the numbers of one value."""
        code = self._code(value)
        if self._places is None:
            return (code,)
        places = [0.0] * self._places
        if code == code:
            places[int(code)] = 1.0
        return places

    def terms(self, value: Any) -> tuple[Sequence[int], Sequence[float]]:
        """Return the column that is not 0, if there is one, and its number."""
        code = self._code(value)
        if self._places is None:
            return (0,), (code,)
        return ((int(code),), (1.0,)) if code == code else ((), ())

    def add(self, values: Sequence[Any], weights: Floats, sums: Floats) -> None:
        """Add the weighted columns of these values to the sums."""
        codes = np.array([self._code(value) for value in values], dtype="float64")
        if self._places is None:
            sums += codes[:, None] * weights[:, 0]
            return
        known = np.flatnonzero(codes == codes)
        sums[known] += weights.T[codes[known].astype("int64")]


Input = NumberInput | CategoryInput | TextInput


def matrix(inputs: Sequence[Input], columns: Sequence[Sequence[Any]]) -> Floats:
    """Build the matrix of some rows, given by column."""
    found = np.empty((len(columns[0]), sum(each.width for each in inputs)), order="F")  # as scikit-learn's is
    start = 0
    for each in inputs:
        each.fill(columns[each.column], found[:, start : start + each.width])
        start += each.width
    return found


def vector(inputs: Sequence[Input], columns: Sequence[Sequence[Any]]) -> list[float]:
    """Build what `matrix` has for the first row, faster."""
    numbers: list[float] = []
    for each in inputs:
        numbers += each.one(columns[each.column][0])
    return numbers


def _days(date: datetime) -> float:
    since = date - EPOCH
    return float((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) / DAY


def _fill(numbers: Floats, number: float) -> None:
    numbers[np.isnan(numbers)] = number


def _set(numbers: Floats, number: float) -> None:
    numbers[:] = number


READ: dict[Part, Callable[[Any], float]] = {
    "number": float,
    "days": _days,
    "year": lambda date: float(date.year),
    "month": lambda date: float(date.month),
    "day": lambda date: float(date.day),
    "day_of_week": lambda date: float(date.weekday()),
}
ON_COLUMNS: dict[str, Callable[[Floats, float], object]] = {
    "fill": _fill,
    "set": _set,
    "subtract": lambda numbers, other: np.subtract(numbers, other, out=numbers),
    "divide": lambda numbers, other: np.divide(numbers, other, out=numbers),
    "multiply": lambda numbers, other: np.multiply(numbers, other, out=numbers),
    "add": lambda numbers, other: np.add(numbers, other, out=numbers),
    "at_least": lambda numbers, other: np.maximum(numbers, other, out=numbers),
    "at_most": lambda numbers, other: np.minimum(numbers, other, out=numbers),
}
ON_NUMBERS: dict[str, Callable[[float, float], float]] = {
    "fill": lambda number, other: other if number != number else number,
    "set": lambda number, other: other,
    "subtract": lambda number, other: number - other,
    "divide": lambda number, other: number / other,
    "multiply": lambda number, other: number * other,
    "add": lambda number, other: number + other,
    "at_least": lambda number, other: other if number < other else number,
    "at_most": lambda number, other: other if number > other else number,
}


def read_inputs(inputs: Sequence[InputPart], columns: int) -> list[Input]:
    """Make the inputs that `compiled.json` describes. Raises ValueError for one of a column that is not there."""
    for about in inputs:
        if about.column >= columns:
            raise ValueError(f"column {about.column} of {columns}")
        if isinstance(about, Number) and ("divide", 0.0) in about.steps:
            raise ValueError("a division by 0")
    return [_read_input(about) for about in inputs]


def _read_input(about: InputPart) -> Input:
    if isinstance(about, Number):
        return NumberInput(about)
    return CategoryInput(about) if isinstance(about, Category) else TextInput(about)
