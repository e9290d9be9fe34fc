"""What an expectation suite says of each column: the one place where types live, shared by training and serving.

Reads Great Expectations' own JSON without importing Great Expectations, so that the service can use it too.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict  # the one that pydantic takes below Python 3.12

Type = Literal["int64", "float64", "str", "bool"]
Value = int | float | str | bool
TYPES: tuple[Type, ...] = ("int64", "float64", "str", "bool")
INT64 = range(-(2**63), 2**63)

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60


class Column(BaseModel):
    """A column as the critical expectations bound it: type, nulls, allowed values, range (both ends included)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: Type
    nullable: bool = True
    allowed: tuple[Value, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None

    def convert(self, value: object) -> Value | None:
        """Return `value` as this column's type when nothing is lost by it; raise ValueError saying why otherwise."""
        if value is None:
            return None
        return _CONVERT[self.type](value)

    def check(self, value: object) -> Value | None:
        """Convert `value` and hold it against the bounds; raise ValueError with what was expected."""
        converted = self.convert(value)
        if converted is None:
            if not self.nullable:
                raise ValueError(f"null where {self.type} is required")
            return None
        if self.allowed is not None and converted not in self.allowed:
            raise ValueError(f"{shown(value)} is not one of {', '.join(map(repr, self.allowed))}")
        if isinstance(converted, (int, float)) and not self._in_range(converted):
            raise ValueError(f"{shown(value)} is not between {_end(self.minimum)} and {_end(self.maximum)}")
        return converted

    def _in_range(self, number: float) -> bool:
        above = self.minimum is None or number >= self.minimum
        return above and (self.maximum is None or number <= self.maximum)


class Expectation(TypedDict):
    """One entry of a suite, as Great Expectations writes it."""

    type: str
    kwargs: dict[str, Any]
    severity: NotRequired[Literal["critical", "warning", "info"]]


class _Suite(BaseModel):
    expectations: list[Expectation]


def read(path: Path) -> list[Column]:
    """Read the columns of a suite, in the order of its column set.

    Raises ValueError that names the file when it is no suite, has no column set, or has a column without a type or
    with one that cannot hold its nulls.
    """
    expectations = _expectations(path)
    table = _binding(expectations, "expect_table_columns_to_match_set")
    if not table:
        raise ValueError(f"{path}: no 'expect_table_columns_to_match_set' names the columns")
    names: list[str] = table[0]["column_set"]
    return [_column(name, path, [e for e in expectations if e["kwargs"].get("column") == name]) for name in names]


def shown(value: object) -> str:
    """Quote a value for a message, cut where it is long or deep."""
    return _SHORT.repr(value)


def _expectations(path: Path) -> list[Expectation]:
    try:
        return _Suite.model_validate_json(path.read_bytes()).expectations
    except FileNotFoundError:
        raise ValueError(f"{path}: no such suite") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ValueError(f"{path}: not a suite: {where + ': ' if where else ''}{fault['msg']}") from None


def _binding(expectations: list[Expectation], kind: str) -> list[dict[str, Any]]:
    """Return the arguments of those of one kind that every row must meet for the run to go on."""
    return [
        each["kwargs"]
        for each in expectations
        if each["type"] == kind
        and each.get("severity", "critical") == "critical"
        and each["kwargs"].get("mostly", 1) == 1
    ]


def _column(name: str, path: Path, expectations: list[Expectation]) -> Column:
    types = _binding(expectations, "expect_column_values_to_be_of_type")
    found = types[0].get("type_") if types else None
    if found not in TYPES:
        raise ValueError(f"{path}: column {name!r} needs a critical type out of {', '.join(TYPES)}, found {found!r}")
    nullable = not _binding(expectations, "expect_column_values_to_not_be_null")
    if nullable and found in ("int64", "bool"):
        raise ValueError(
            f"{path}: column {name!r} is {found} and may be null, which pandas cannot hold: "
            "declare it float64, or add a critical expect_column_values_to_not_be_null"
        )
    bounds = next(iter(_binding(expectations, "expect_column_values_to_be_between")), {})
    allowed = next(iter(_binding(expectations, "expect_column_values_to_be_in_set")), {}).get("value_set")
    return Column(
        name=name,
        type=found,
        nullable=nullable,
        allowed=None if allowed is None else tuple(allowed),
        minimum=bounds.get("min_value"),
        maximum=bounds.get("max_value"),
    )


def _integer(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{shown(value)} ({type(value).__name__}) is not a whole number")
    if value not in INT64:
        raise ValueError(f"{shown(value)} does not fit into 64 bits")
    return int(value)


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{shown(value)} ({type(value).__name__}) is not a number")
    if isinstance(value, int) and abs(value) > 2**53:
        raise ValueError(f"{shown(value)} is too large for a 64-bit float to hold exactly")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} ({type(value).__name__}) is not text")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} ({type(value).__name__}) is not true or false")
    return value


def _end(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


_CONVERT: dict[Type, Callable[[object], Value]] = {"int64": _integer, "float64": _real, "str": _text, "bool": _boolean}
