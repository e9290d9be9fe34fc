"""Cross-field validation of the `demo` block against the suite's columns and the labels."""

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
    """Yield the place and message of each value that the suite's columns or the labels do not allow.

    Columns that are not in the suite are ignored; `rules` reports them.
    """
    columns = {column.name: column for column in case.columns}
    for name, shape in case.demo.columns.items():
        yield from _shape_errors(case, name, shape, columns)
    for name, effect in case.demo.signal.items():
        if isinstance(effect, dict):
            yield from _misfits(("demo", "signal", name), columns.get(name), effect)
        elif name in columns and columns[name].type == "str":
            yield ("demo", "signal", name), f"demo.signal.{name}: text has no units; expected a weight for each value"
    for name in case.demo.nulls:
        if name in columns and not columns[name].nullable:
            yield ("demo", "nulls", name), f"demo.nulls.{name}: the suite allows no nulls there"


def _shape_errors(case: UseCase, name: str, shape: Shape, columns: dict[str, Column]) -> Faults:
    place = ("demo", "columns", name)
    if isinstance(shape, Words):
        for side in shape.speak:
            if side not in sides(case):
                known = ", ".join(sides(case))
                yield (*place, "speak", side), f"demo.columns.{name}.speak: no label {side!r}; there are: {known}"
    elif not isinstance(shape, Given):
        yield from _misfits(place, columns.get(name), _values(shape))
    else:
        if shape.given in case.demo.columns and isinstance(case.demo.columns[shape.given], Given):
            yield (*place, "given"), f"demo.columns.{name}.given: {shape.given!r} itself depends on another column"
        yield from _misfits((*place, "values"), columns.get(shape.given), shape.values)
        for value, simple in shape.values.items():
            yield from _misfits((*place, "values", str(value)), columns.get(name), _values(simple))


def _check(column: Column | None, value: Any) -> None:
    """Raise ValueError for a value that the suite rejects; one too large for a model fails in training."""
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
            _check(column, value)
        except ValueError as error:
            yield (*place, str(value)), f"{'.'.join(place)}: {error}"
