"""The columns that an expectation suite declares: the one place where types live.

Reads Great Expectations' own JSON without importing Great Expectations, so that the service can use it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict  # the one that pydantic takes below Python 3.12

from updraft.model.columns import DATE, NO_NULL, TYPES, Column, Type, Value, format_bound, parse_date, quoted


class Expectation(TypedDict):
    """One entry of a suite, as Great Expectations writes it."""

    type: str
    kwargs: dict[str, Any]
    severity: NotRequired[Literal["critical", "warning", "info"]]


class _Suite(BaseModel):
    expectations: list[Expectation]


class BadColumns(ValueError):
    """A suite does not define usable columns. `faults` pairs a column's name (None: the suite itself) with a message.

    `names` is the column set, where it could be read.
    """

    def __init__(self, path: Path, faults: Sequence[tuple[str | None, str]], names: Sequence[str] = ()) -> None:
        super().__init__("\n".join(f"{path}: {message}" for _, message in faults))
        self.faults, self.names = faults, names


def read_columns(path: Path) -> list[Column]:
    """Read the columns of a suite, in the order of its column set.

    Raises BadColumns, with every fault, when the file is not a suite, has no column set, or when a column has no type
    or one that cannot hold its nulls.
    """
    expectations = _expectations(path)
    column_sets = _critical(expectations, "expect_table_columns_to_match_set")
    names = column_sets[0].get("column_set") if column_sets else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadColumns(path, [(None, "no 'expect_table_columns_to_match_set' names the columns")])
    by_column: dict[str, list[Expectation]] = {name: [] for name in names}
    faults: dict[str | None, str] = {
        name: f"column {name!r} is named {names.count(name)} times in the column set"
        for name in by_column
        if names.count(name) > 1
    }
    for expectation in expectations:
        name = expectation["kwargs"].get("column")
        if isinstance(name, str) and name in by_column:
            by_column[name].append(expectation)
        elif name is not None:
            faults[str(name)] = f"column {name!r} has an expectation and is not in the column set"
    columns: list[Column] = []
    for name in by_column:
        try:
            columns.append(_column(name, by_column[name]))
        except ValidationError as error:
            faults[name] = f"column {name!r}: {error.errors()[0]['loc'][0]}: {error.errors()[0]['msg']}"
        except ValueError as error:
            faults[name] = str(error)
    if faults:
        raise BadColumns(path, list(faults.items()), names)
    return columns


def _expectations(path: Path) -> list[Expectation]:
    try:
        content = path.read_bytes()
        return _Suite.model_validate_json(content).expectations
    except FileNotFoundError:
        raise BadColumns(path, [(None, "no such suite")]) from None
    except ValidationError as error:
        faults = error.errors()
        if len(faults[0]["loc"]) > 1:  # the file is a list of expectations, so it is JSON
            messages = [_fault_of_one(fault, json.loads(content)["expectations"]) for fault in faults]
            raise BadColumns(path, [(None, f"not a valid suite: {message}") for message in messages]) from None
        where = ".".join(str(part) for part in faults[0]["loc"])
        message = f"not a suite: {where + ': ' if where else ''}{faults[0]['msg']}"
        raise BadColumns(path, [(None, message)]) from None


def _fault_of_one(fault: ErrorDetails, expectations: list[Any]) -> str:
    """Name the expectation that has a fault by its number, its type and its column, and what it has and must have."""
    index, *inside = fault["loc"][1:]
    entry = expectations[int(index)]
    parts = entry if isinstance(entry, dict) else {}
    kwargs = parts.get("kwargs")
    column = kwargs.get("column") if isinstance(kwargs, dict) else None
    named = f" ({parts['type']}{f' of {column!r}' if column else ''})" if isinstance(parts.get("type"), str) else ""
    key = ".".join(map(str, inside))
    if fault["type"] == "missing":
        return f"expectation {int(index) + 1}{named}: {key!r} is missing"
    expected = fault.get("ctx", {}).get("expected")
    reason = f"expected {expected}" if expected else fault["msg"]
    return f"expectation {int(index) + 1}{named}: {f'{key} ' if key else ''}{quoted(fault['input'])}, {reason}"


def _critical(expectations: list[Expectation], kind: str) -> list[dict[str, Any]]:
    """Return the arguments of the expectations of one kind that every row must meet for a run to continue."""
    return [kwargs for kwargs in _critical_for_most(expectations, kind) if kwargs.get("mostly", 1) == 1]


def _critical_for_most(expectations: list[Expectation], kind: str) -> list[dict[str, Any]]:
    """Return the arguments of the expectations of one kind that all or most rows must meet for a run to continue."""
    return [
        each["kwargs"]
        for each in expectations
        if each["type"] == kind
        and each.get("severity", "critical") == "critical"
        and each["kwargs"].get("row_condition") is None
    ]


def _bounding(expectations: list[Expectation], kind: str) -> tuple[list[dict[str, Any]], bool]:
    """Return the arguments of the expectations that bound a column, and if some rows may violate them.

    Where there are bounds for every row, those for most rows are the suite's matter alone.
    """
    strict = _critical(expectations, kind)
    return (strict, False) if strict else (found := _critical_for_most(expectations, kind), bool(found))


def _column(name: str, expectations: list[Expectation]) -> Column:
    types = _critical(expectations, "expect_column_values_to_be_of_type")
    type_ = types[0].get("type_") if types else None
    if type_ not in TYPES:
        raise ValueError(f"column {name!r} needs a critical type, one of {', '.join(TYPES)}, found {type_!r}")
    nullable = not _critical(expectations, "expect_column_values_to_not_be_null")
    few_nulls = nullable and bool(_critical_for_most(expectations, "expect_column_values_to_not_be_null"))
    if nullable and not few_nulls and type_ in NO_NULL:
        raise ValueError(
            f"column {name!r} is {type_} and may be null, which pandas cannot hold: "
            "declare it float64, or add a critical expect_column_values_to_not_be_null"
        )
    sets, sets_tolerate = _bounding(expectations, "expect_column_values_to_be_in_set")
    ranges, ranges_tolerate = _bounding(expectations, "expect_column_values_to_be_between")
    allowed = _allowed(name, sets)
    if allowed is not None and type_ == DATE:
        raise ValueError(f"column {name!r} is a date: expected a range, found a set of values")
    tolerates = {"null": few_nulls and type_ in NO_NULL, "unseen": sets_tolerate, "out_of_range": ranges_tolerate}
    column = Column(
        name=name,
        type=type_,
        nullable=nullable and type_ not in NO_NULL,
        allowed=allowed,
        **_range(name, type_, ranges),
        **_text_bounds(name, expectations),
        tolerated=tuple(bound for bound, is_tolerated in tolerates.items() if is_tolerated),
    )
    if contradictions := _contradictions(column):
        raise ValueError("; ".join(f"column {name!r}: {message}" for message in contradictions))
    return column


def _contradictions(column: Column) -> list[str]:
    """List the bounds that no value can meet."""
    messages = []
    numeric, text = column.type in ("int64", "float64"), column.type == "str"
    for low, high in ((column.minimum, column.maximum), (column.earliest, column.latest)):
        if low is not None and high is not None and low > high:  # type: ignore[operator]
            messages.append(f"nothing lies between {format_bound(low)} and {format_bound(high)}")
    if not numeric and (column.minimum is not None or column.maximum is not None):
        messages.append(f"a range of numbers, and the column is {column.type}")
    if column.shortest is not None and column.longest is not None and column.shortest > column.longest:
        messages.append(f"no text is {column.shortest} to {column.longest} characters long")
    if not text and (column.pattern is not None or column.shortest is not None or column.longest is not None):
        messages.append(f"a pattern or a length of texts, and the column is {column.type}")
    for value in column.allowed or ():
        try:
            column.convert(bool(value) if column.type == "bool" and value in (0, 1) else value)
        except ValueError as error:
            messages.append(f"value_set: {error}")
    if column.allowed == ():
        messages.append("value_set is empty")
    return messages


def _allowed(name: str, expectations: list[dict[str, Any]]) -> tuple[Value, ...] | None:
    """Return the values that are in every value set."""
    sets: list[Any] = [kwargs.get("value_set") for kwargs in expectations]
    if not all(isinstance(each, list) for each in sets):
        raise ValueError(f"column {name!r}: expect_column_values_to_be_in_set: value_set must be a list")
    return tuple(value for value in sets[0] if all(value in each for each in sets)) if sets else None


def _range(name: str, type_: Type, ranges: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the intersection of the ranges, both ends included."""
    if any(kwargs.get(strict) for kwargs in ranges for strict in ("strict_min", "strict_max")):
        raise ValueError(
            f"column {name!r}: expect_column_values_to_be_between: strict_min and strict_max are not supported"
        )
    parse = parse_date if type_ == DATE else float
    try:
        lows = [parse(kwargs["min_value"]) for kwargs in ranges if kwargs.get("min_value") is not None]
        highs = [parse(kwargs["max_value"]) for kwargs in ranges if kwargs.get("max_value") is not None]
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r}: expect_column_values_to_be_between: {error}") from None
    ends = ("earliest", "latest") if type_ == DATE else ("minimum", "maximum")
    return dict(zip(ends, (max(lows, default=None), min(highs, default=None)), strict=True))


def _text_bounds(name: str, expectations: list[Expectation]) -> dict[str, Any]:
    """Return a pattern that matches where all patterns match, and the intersection of the length ranges."""
    patterns = [kwargs.get("regex") for kwargs in _critical(expectations, "expect_column_values_to_match_regex")]
    lengths = _critical(expectations, "expect_column_value_lengths_to_be_between")
    if any(kwargs.get(strict) for kwargs in lengths for strict in ("strict_min", "strict_max")):
        raise ValueError(
            f"column {name!r}: expect_column_value_lengths_to_be_between: strict_min and strict_max are not supported"
        )
    whole = patterns[0] if len(patterns) == 1 else "".join(rf"(?=[\s\S]*?(?:{pattern}))" for pattern in patterns)
    for pattern in (*patterns, whole):
        try:
            re.compile(pattern or "")
        except (re.error, TypeError) as error:
            raise ValueError(f"column {name!r}: {quoted(pattern)} is not a regular expression: {error}") from None
    least = [kwargs["min_value"] for kwargs in lengths if kwargs.get("min_value") is not None]
    most = [kwargs["max_value"] for kwargs in lengths if kwargs.get("max_value") is not None]
    ends = {"shortest": max(least, default=None), "longest": min(most, default=None)}
    return {"pattern": rf"\A{whole}" if len(patterns) > 1 else whole or None} | ends
