"""Checks a column's values: each different value once, since most columns have few."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from updraft.model.columns import Column
from updraft.model.signature import MAX_ERRORS, Cell, FieldError, MakePointer, Signature

Found = tuple[int, int, FieldError]  # row, column, warning


def warnings(
    signature: Signature, position: int, values: Sequence[Cell], where: MakePointer, name: str | None = None
) -> list[Found] | None:
    """Return the first warnings of a column, which the body calls `name`; None where a value is an error."""
    column = signature.columns[position]
    if _is_clean(column, values):
        return []
    odd = {value for value in set(values) if column.violations(value)}
    if not odd:
        return []
    if not all(signature.only_warns(column, each.kind) for value in odd for each in column.violations(value)):
        return None
    return _located(column, position, values, odd, where, name or column.name)


def _is_clean(column: Column, values: Sequence[Cell]) -> bool:
    """Whether a single value, or the least and the greatest number, already tell that none violates a bound."""
    if len(values) == 1:
        return not column.violations(values[0])
    if column.allowed is not None or column.type not in ("int64", "float64"):
        return False
    try:
        ends = min(values), max(values)  # type: ignore[type-var]
    except TypeError:  # a null among them
        return False
    return not any(map(column.violations, ends))


def _located(
    column: Column, position: int, values: Sequence[Cell], odd: set[Cell], where: MakePointer, name: str
) -> list[Found]:
    found: list[Found] = []
    for row, value in enumerate(values):
        if value in odd:
            for violation in column.violations(value):
                found.append((row, position, {"pointer": where(row, name), "detail": str(violation)}))
            if len(found) >= MAX_ERRORS:
                break
    return found


def in_order(found: Iterable[Found]) -> list[FieldError]:
    """Order warnings that were found column by column as the slow path reports them: row by row."""
    return [warning for _, _, warning in sorted(found, key=lambda each: each[:2])[:MAX_ERRORS]]
