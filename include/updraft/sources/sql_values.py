"""Values as drivers of databases give them → values that the suite's types know."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from updraft.model.columns import Type

BOOLEANS: dict[Any, bool] = {0: False, 1: True, b"\0": False, b"\1": True}
# Types of values that are written as text.
TEXTS: dict[type, Callable[[Any], str]] = {
    UUID: str,
    timedelta: str,
    time: time.isoformat,
    dict: lambda value: json.dumps(value, ensure_ascii=False),
    list: lambda value: json.dumps(value, ensure_ascii=False, default=str),
}


def plain_values(values: Sequence[Any], type_: Type | None) -> list[Any]:
    """Return a column's values for a column of the suite of this type.

    A Decimal is a number, and NaN a null; 0 and 1 are false and true, as MySQL and SQLite keep them (a BIT(1), too); a
    UUID, a time, and JSON are text. What is left is held against the type as a value of any other source.
    """
    types = set(map(type, values))
    if Decimal in types:
        values = [_number(value, type_) if type(value) is Decimal else value for value in values]
    if type_ == "bool" and types & {int, bytes}:
        values = [value if isinstance(value, bool) else _boolean(value) for value in values]
    if type_ == "str" and types & TEXTS.keys():
        values = [TEXTS[type(value)](value) if type(value) in TEXTS else value for value in values]
    return list(values)


def _number(value: Decimal, type_: Type | None) -> Any:
    if value.is_nan():
        return math.nan
    if type_ == "int64" and value.is_finite() and value.adjusted() < 20 and value == value.to_integral_value():
        return int(value)
    return value


def _boolean(value: Any) -> Any:
    return BOOLEANS.get(value, value) if isinstance(value, int | bytes) else value
