"""The `demo` block of a YAML: how the demo's generator makes rows of a use case's shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from updraft.blocks import Part, Scalar, Share
from updraft.suite import Column

if TYPE_CHECKING:
    from updraft.usecase import UseCase

Faults = Iterator[tuple[tuple[str, ...], str]]


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


def sides(case: UseCase) -> list[str]:
    """Name what words may speak for: the labels, or the lower and the upper half of a number."""
    return [label.name for label in case.labels] or ["low", "high"]


def disagreements(case: UseCase) -> Faults:
    """Yield the place and the message of what the suite's columns or the labels do not take.

    Columns that the suite does not know are passed over.
    """
    columns = {column.name: column for column in case.columns}
    for name, shape in case.demo.columns.items():
        yield from _shape_of(case, name, shape, columns)
    for name, effect in case.demo.signal.items():
        if isinstance(effect, dict):
            yield from _misfits(("demo", "signal", name), columns.get(name), effect)
        elif name in columns and columns[name].type == "str":
            yield ("demo", "signal", name), f"demo.signal.{name}: text has no units; expected a weight for each value"
    for name in case.demo.nulls:
        if name in columns and not columns[name].nullable:
            yield ("demo", "nulls", name), f"demo.nulls.{name}: the suite takes no nulls there"


def _shape_of(case: UseCase, name: str, shape: Shape, columns: dict[str, Column]) -> Faults:
    place = ("demo", "columns", name)
    if isinstance(shape, Words):
        for side in shape.speak:
            if side not in sides(case):
                told = f"there are: {', '.join(sides(case))}"
                yield (*place, "speak", side), f"demo.columns.{name}.speak: no label is called {side!r}; {told}"
    elif not isinstance(shape, Given):
        yield from _misfits(place, columns.get(name), _values(shape))
    else:
        if shape.given in case.demo.columns and isinstance(case.demo.columns[shape.given], Given):
            yield (*place, "given"), f"demo.columns.{name}.given: {shape.given!r} itself is given another column"
        yield from _misfits((*place, "values"), columns.get(shape.given), shape.values)
        for value, simple in shape.values.items():
            yield from _misfits((*place, "values", str(value)), columns.get(name), _values(simple))


def _hold(column: Column | None, value: Any) -> None:
    """Raise ValueError for what the suite refuses; what no model takes is told when it is trained."""
    if column is None:
        return
    whole = column.type == "int64" and isinstance(value, float) and value.is_integer()
    for breach in column.breaches(column.convert(int(value) if whole else value)):
        if breach.bound != "too_large":
            raise breach


def _values(simple: Triangle | dict[Scalar, float]) -> list[Any]:
    if isinstance(simple, dict):
        return list(simple)
    return [end.isoformat() if isinstance(end, date) else end for end in (simple.low, simple.high)]


def _misfits(place: tuple[str, ...], column: Column | None, values: Iterable[Any]) -> Faults:
    for value in values if column else ():
        try:
            _hold(column, value)
        except ValueError as error:
            yield (*place, str(value)), f"{'.'.join(place)}: {error}"
