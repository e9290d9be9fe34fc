"""What a YAML's `demo` block says and the suite's columns or the labels do not allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

from updraft.model.columns import Column
from updraft.usecase.blocks import Scalar
from updraft.usecase.demo_block import Given, Shape, Triangle, Words
from updraft.usecase.schema import UseCase, sides

Faults = Iterator[tuple[tuple[str, ...], str]]


def cross_field_errors(case: UseCase) -> Faults:
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
    for violation in column.violations(column.convert(int(value) if whole else value)):
        if violation.kind != "too_large":
            raise violation


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
