"""Cross-field validation of an ETL: what is valid in each block of its YAML, but not with the columns there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from updraft.etl.expression import BadExpression, parse_expression
from updraft.etl.schema import Etl
from updraft.model.columns import DATE, Type
from updraft.usecase.messages import nearest
from updraft.usecase.yaml_lines import Place

Errors = Iterator[tuple[Place, str]]
NUMBERS = ("int64", "float64")


def cross_field_errors(etl: Etl, names: Sequence[str]) -> Errors:
    """Yield the place and message of each error; `names` are the suite's columns, with a valid type or not."""
    types = column_types(etl)
    read = {column: types.get(column) for column in [*names, *etl.raw_columns] if column not in etl.clean.derive}
    yield from _names(etl, names, read)
    yield from _expressions(etl, names, read)
    yield from _outliers(etl, types)
    yield from _labels(etl, names)
    if getattr(getattr(etl.source, "settings", None), "watermark", None) is not None:
        yield (
            ("source", etl.source.kind, "watermark"),
            "source.watermark: an ETL reads all rows, and writes the changed",
        )
    if etl.id is not None and etl.id not in names:
        yield ("id",), f"id: no column {etl.id!r} in the suite{nearest(etl.id, names)}"
    yield from (
        (("id",), f"id: the suite lets column {etl.id!r} be null or a float64; expected int64 or str, and no nulls")
        for column in etl.columns
        if column.name == etl.id and (column.nullable or column.type not in ("int64", "str"))
    )


def column_types(etl: Etl) -> dict[str, Type]:
    """Return the type of each column as `clean` meets it: those that are read, and the suite's of derived ones."""
    return {column.name: column.type for column in etl.columns} | dict(etl.raw_columns)


def _names(etl: Etl, names: Sequence[str], read: dict[str, Type | None]) -> Errors:
    """Check that each rule is about a column that there is."""
    for block in ("outliers", "nulls"):
        for name in getattr(etl.clean, block):
            if name not in read and name not in etl.clean.derive:
                yield ("clean", block, name), f"clean.{block}: no column {name!r}{nearest(name, [*read, *names])}"
    for block, place in (("rename", etl.read.rename), ("casts", etl.read.casts), ("dates", etl.read.dates)):
        for key, value in place.items():
            name = value if block == "rename" else key
            if name in etl.clean.derive:
                yield ("read", block, key), f"read.{block}.{key}: column {name!r} is derived, not read"
            elif name not in read:
                message = f"no column {name!r} in the suite or raw_columns{nearest(str(name), read)}"
                yield ("read", block, key), f"read.{block}.{key}: {message}"
    for name in etl.raw_columns:
        if name in etl.clean.derive:
            yield ("clean", "derive", name), f"clean.derive.{name}: is in raw_columns, too: it is read or derived"


def _expressions(etl: Etl, names: Sequence[str], read: dict[str, Type | None]) -> Errors:
    """Check each expression by itself: its grammar, and that it uses columns that are read or derived before it."""
    known = list(read)
    for name, text in etl.clean.derive.items():
        place = ("clean", "derive", name)
        if name not in names:
            yield place, f"clean.derive.{name}: the suite has no such column{nearest(name, names)}"
        try:
            unknown = [used for used in parse_expression(text, known).names if used not in known]
        except BadExpression as error:
            yield place, f"clean.derive.{name}: {error}"
        else:
            for used in unknown:
                yield place, f"clean.derive.{name}: no column {used!r}{nearest(used, known)}"
        known.append(name)


def _outliers(etl: Etl, types: dict[str, Type]) -> Errors:
    for name, rule in etl.clean.outliers.items():
        place, type_ = ("clean", "outliers", name), types.get(name)
        if type_ is not None and type_ not in NUMBERS:
            yield place, f"clean.outliers.{name}: the column is {type_}, expected a number"
        elif type_ == "int64" and rule.then == "null" and name not in etl.clean.nulls:
            yield place, f"clean.outliers.{name}: the column is int64, which has no nulls: clip or quarantine"


def _labels(etl: Etl, names: Sequence[str]) -> Errors:
    suite = {column.name: column for column in etl.columns}
    for name, values in etl.clean.labels.items():
        place = ("clean", "labels", name)
        if name not in names:
            yield place, f"clean.labels.{name}: the suite has no such column{nearest(name, names)}"
        elif name in suite and suite[name].type == DATE:
            yield place, f"clean.labels.{name}: the column is a date"
        elif name in suite:
            for text, value in values.items():
                try:
                    suite[name].check(value)
                except ValueError as error:
                    yield (*place, str(text)), f"clean.labels.{name}.{text}: {error}"
