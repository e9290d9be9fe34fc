"""The `demo` block of a YAML: how synthetic rows of a use case are generated."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from updraft.usecase.blocks import Part, Scalar, Share


class Triangle(Part):
    """Numbers or dates between `low` and `high`, most of them near `mode`."""

    low: float | date
    mode: float | date
    high: float | date

    @model_validator(mode="after")
    def _rising(self) -> Triangle:
        if len({isinstance(end, date) for end in (self.low, self.mode, self.high)}) > 1:
            raise ValueError("expected three numbers or three dates")
        if not self.low <= self.mode <= self.high:  # type: ignore[operator]
            raise ValueError("expected low <= mode <= high")
        return self


class Words(Part):
    """Texts of `length` (minimum, maximum) words: `filler`, and among it words that are typical of the row's label.

    `speak` has these by label name; in a regression by `low` and `high`, the lower and upper half of the target.
    """

    speak: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    filler: Annotated[list[str], Field(min_length=1)]
    length: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (5, 20)


Weights = Annotated[dict[Scalar, Annotated[float, Field(ge=0)]], Field(min_length=1)]


def _shape(value: Any) -> str:
    """Recognize a shape by a key of its own, so that errors are about the intended shape."""
    shapes = {"mode": "triangle", "given": "given", "speak": "words"}
    if isinstance(value, Part):
        return type(value).__name__.lower()
    return next((shape for key, shape in shapes.items() if isinstance(value, dict) and key in value), "weights")


Simple = Annotated[Annotated[Weights, Tag("weights")] | Annotated[Triangle, Tag("triangle")], Discriminator(_shape)]


class Given(Part):
    """Values conditional on another column, `given`: a distribution for each of its `values`."""

    given: str
    values: Annotated[dict[Scalar, Simple], Field(min_length=1)]


Shape = Annotated[
    Annotated[Weights, Tag("weights")]
    | Annotated[Triangle, Tag("triangle")]
    | Annotated[Given, Tag("given")]
    | Annotated[Words, Tag("words")],
    Discriminator(_shape),
]


class Demo(Part):
    """How synthetic rows are generated. Whatever is not specified here follows from the suite.

    `columns`: distributions: by weight, triangular, conditional on another column, or words.
    `nulls`: a column's share of nulls. `duplicates`: the share of rows that equal another in all columns but the id.
    `signal`: the terms of a row's score: a weight per unit of a number (per day of a date), or weights by value. The
    target is drawn like any column, and its values are assigned by score: the highest scores get the positive label,
    the last of several labels, or the largest numbers.
    `noise`: random noise in the score: 0 is none, 1 as much as the signal.
    """

    rows: Annotated[int, Field(ge=1)] = 20_000
    columns: dict[str, Shape] = Field(default_factory=dict)
    nulls: dict[str, Share] = Field(default_factory=dict)
    duplicates: Annotated[float, Field(ge=0, lt=1)] = 0.0
    signal: dict[str, float | dict[Scalar, float]] = Field(default_factory=dict)
    noise: Annotated[float, Field(ge=0)] = 0.5
