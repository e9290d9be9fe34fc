"""The `demo` block of a YAML: how the demo's generator makes rows of a use case's shape."""

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
    """Texts of `length` words, from and to: `filler`, and in it words that `speak` for the row's label, by its name.

    In a regression the names are `low` and `high`, for the lower and the upper half of the target.
    """

    speak: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    filler: Annotated[list[str], Field(min_length=1)]
    length: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (5, 20)


Weights = Annotated[dict[Scalar, Annotated[float, Field(ge=0)]], Field(min_length=1)]


def _shape(value: Any) -> str:
    """Tell a shape by a key of its own, so that a fault is told of the shape that was meant."""
    shapes = {"mode": "triangle", "given": "given", "speak": "words"}
    if isinstance(value, Part):
        return type(value).__name__.lower()
    return next((shape for key, shape in shapes.items() if isinstance(value, dict) and key in value), "weights")


Simple = Annotated[Annotated[Weights, Tag("weights")] | Annotated[Triangle, Tag("triangle")], Discriminator(_shape)]


class Given(Part):
    """Values that hang on those of another column, `given`: how they are drawn for each of its `values`."""

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
    """How the demo's generator makes rows. What is not said here is taken from the suite.

    `columns`: how values are drawn: by weight, in a triangle, given another column's value, or as words.
    `nulls`: a column's share of nulls. `duplicates`: the share of rows that repeat another in all but the id.
    `signal`: what a row's score is the sum of: a weight for each unit of a number (for each day of a date), or weights
    of values by name. The target is drawn like any column, and its values are handed out by score: the highest scores
    get the positive label, the last one of several, or the largest numbers.
    `noise`: what chance adds to the score: 0 is nothing, 1 as much as the signal.
    """

    rows: Annotated[int, Field(ge=1)] = 20_000
    columns: dict[str, Shape] = Field(default_factory=dict)
    nulls: dict[str, Share] = Field(default_factory=dict)
    duplicates: Annotated[float, Field(ge=0, lt=1)] = 0.0
    signal: dict[str, float | dict[Scalar, float]] = Field(default_factory=dict)
    noise: Annotated[float, Field(ge=0)] = 0.5
