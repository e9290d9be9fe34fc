"""The rules of `titles` and `values`: what forms, pages and the API's documentation call columns and their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from updraft.model.columns import Column
from updraft.usecase.blocks import Scalar
from updraft.usecase.messages import listed
from updraft.usecase.schema import UseCase
from updraft.usecase.yaml_lines import Place


def cross_field_errors(case: UseCase) -> Iterator[tuple[Place, str]]:
    """Yield the place and message of each error; unknown columns are reported with those of the other blocks."""
    columns = {column.name: column for column in case.columns}
    unused = {case.id: "is the id: no form shows it"} | dict.fromkeys(case.ignored, "is in ignored: no form shows it")
    for name in filter(columns.__contains__, case.titles):
        if reason := unused.get(name) or _taken(case, name):
            yield ("titles", name), f"titles.{name}: column {name!r} {reason}"
    unused[case.target] = "is the target, whose values have their names in labels"
    for name in filter(columns.__contains__, case.values):
        if name in unused:
            yield ("values", name), f"values.{name}: column {name!r} {unused[name]}"
        elif allowed(columns[name]) is None:
            yield ("values", name), f"values.{name}: column {name!r} has no critical value set in the suite"
        else:
            yield from _values(columns[name], case.values[name])


def allowed(column: Column) -> tuple[object, ...] | None:
    """Return the values that a column's may be; None where there is no set of them."""
    return (True, False) if column.allowed is None and column.type == "bool" else column.allowed


def _taken(case: UseCase, name: str) -> str:
    """Say what else has a column's title; two fields of a form could not be told apart."""
    title = case.titles[name]
    others = {other: case.titles.get(other, other) for other in (*case.feature_names, case.target) if other != name}
    other = next((other for other, shown in others.items() if shown == title), None)
    return f"has the title {title!r}, which is what column {other!r} is called" if other else ""


def _values(column: Column, names: Mapping[Scalar, str]) -> Iterator[tuple[Place, str]]:
    known, earlier = allowed(column) or (), dict[str, Scalar]()
    for value, name in names.items():
        place = ("values", column.name, str(value))
        where = ".".join(place)
        try:
            if column.convert(value) not in known:
                suite = f"is not in the suite's value set of {column.name!r}: {listed(map(repr, known))}"
                yield place, f"{where}: {value!r} {suite}"
        except ValueError as error:
            hint = f'; in quotes, "{value}", it is text' if column.type == "str" else ""
            yield place, f"{where}: {error}{hint}"
        if name in earlier:
            yield place, f"{where}: duplicate {name!r}, also the name of {earlier[name]!r}"
        earlier.setdefault(name, value)
