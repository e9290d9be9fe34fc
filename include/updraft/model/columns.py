"""A column of the rows: its type and its bounds, and what of a value fits; shared by training and serving."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from updraft.model.number_format import format_number

Type = Literal["int64", "float64", "str", "bool", "datetime64[us]"]
Value = int | float | str | bool
TYPES: tuple[Type, ...] = ("int64", "float64", "str", "bool", "datetime64[us]")
DATE: Type = "datetime64[us]"
NO_NULL: tuple[Type, ...] = ("int64", "bool")  # pandas has no null in them

# Which bound of its column a value violates.
ViolationKind = Literal["null", "unseen", "out_of_range", "text", "too_large"]

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_INFINITY = re.compile(r"[+-]?inf(inity)?", re.I)
_NOUNS: dict[Type, str] = {
    "int64": "a whole number",
    "float64": "a number",
    "str": "text",
    "bool": "true or false",
    "datetime64[us]": "a date",
}
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
MAX_NUMBER_LENGTH = 4000  # characters; Python converts integers of 4,300 digits at most
MAX_LISTED, MAX_QUOTED = 100, 300  # values and characters that a message repeats
EXACT = 2**53  # beyond this a float64 may stand for several integers
LARGEST = 1e38  # estimators that compute in float32 overflow beyond 3.4e38


class Violation(ValueError):
    """A value of the right type that violates a bound of its column."""

    def __init__(self, kind: ViolationKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Column(BaseModel):
    """A column as the critical expectations define it: type, nulls, allowed values, range (both ends included).

    Numbers lie between `minimum` and `maximum`, dates between `earliest` and `latest`. Text contains a match of
    `pattern` (Great Expectations searches, too) and has `shortest` to `longest` characters. `tolerated` are the bounds
    that the suite lets some rows violate (`mostly`): the service predicts such a row too, with a warning. A tolerated
    null of a type that has none (int64, bool) costs its row: `ingest` quarantines it, the service rejects it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    type: Type
    nullable: bool = True
    allowed: tuple[Value, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    earliest: datetime | None = None
    latest: datetime | None = None
    pattern: str | None = None
    shortest: int | None = None
    longest: int | None = None
    tolerated: tuple[Literal["null", "unseen", "out_of_range"], ...] = ()

    def convert(self, value: object) -> Value | datetime | None:
        """Return `value` as this column's type; raise ValueError with the reason if that would lose anything.

        A date may be ISO 8601 text. Without an offset it is taken as UTC; the result is naive UTC.
        """
        if value is None:
            return None
        return _CONVERT[self.type](value)

    def from_text(self, text: str) -> Value | datetime | None:
        """Convert a CSV cell or a form field to this column's type; empty text is null. Raises ValueError."""
        if self.type == "str":
            return self.convert(text or None)
        if self.type == DATE or not text.strip():
            return self.convert(text.strip() or None)
        value = _BOOLEANS.get(text.strip().lower(), text) if self.type == "bool" else _number(text)
        if isinstance(value, str):  # as everything is there: `convert` would name the type, which says nothing
            raise ValueError(f"{quoted(text)} is not {_NOUNS[self.type]}")
        return self.convert(value)

    def check(self, value: object) -> Value | datetime | None:
        """Convert `value` and check the bounds; raise ValueError that says what was expected."""
        converted = self.convert(value)
        for violation in self.violations(converted):
            raise violation
        return converted

    def violations(self, converted: Value | datetime | None) -> list[Violation]:
        """Return a Violation for each bound that a converted value violates."""
        if converted is None:
            return [] if self.nullable else [Violation("null", f"null where {self.type} is required")]
        found = []
        if self.allowed is not None and converted not in self.allowed:
            found.append(Violation("unseen", f"{quoted(converted)} is not one of {_listed(self.allowed)}"))
        if isinstance(converted, str):
            return found + self._text_violations(converted)
        if isinstance(converted, datetime):
            return found + _outside(converted, self.earliest, self.latest)
        found += _outside(converted, self.minimum, self.maximum)
        if abs(converted) > LARGEST:
            message = f"{converted} is beyond {LARGEST:g}, the largest that every model takes"
            found.append(Violation("too_large", message))
        return found

    def _text_violations(self, text: str) -> list[Violation]:
        found = []
        if not (self.shortest or 0) <= len(text) <= (math.inf if self.longest is None else self.longest):
            ends = f"{format_bound(self.shortest)} to {format_bound(self.longest)}"
            found.append(Violation("text", f"{quoted(text)} has {len(text)} characters, expected {ends}"))
        # A regular expression may take very long on a text that is too long anyway.
        is_too_long = self.longest is not None and len(text) > self.longest
        if self.pattern is not None and not is_too_long and not re.search(self.pattern, text):
            found.append(Violation("text", f"{quoted(text)} does not match {self.pattern}"))
        return found


def quoted(value: object) -> str:
    """Return a value's repr for a message, shortened where it is long or deeply nested."""
    text = _SHORT.repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


def _wrong_type(value: object, type_: Type) -> ValueError:
    return ValueError(f"{quoted(value)} ({type(value).__name__}) is not {_NOUNS[type_]}")


def _integer(value: object) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        if abs(value) >= EXACT:
            raise ValueError(f"{quoted(value)} is too large for a 64-bit float to be exact: write it as an integer")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(value, "int64")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{quoted(value)} does not fit into 64 bits")
    return int(value)


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type(value, "float64")
    if isinstance(value, int) and (abs(value) > LARGEST or int(float(value)) != value):
        raise ValueError(f"{quoted(value)} is too large for a 64-bit float to hold exactly")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, "str")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(value, "bool")
    return value


def parse_date(value: object) -> datetime:
    """Return a date, or its ISO 8601 text, as naive UTC; raise ValueError for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{quoted(value)} is not an ISO 8601 date such as 2026-01-31T08:00:00") from None
    if not isinstance(value, date):
        raise _wrong_type(value, DATE)
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    value = datetime.combine(value.date(), value.time(), value.tzinfo)  # drops the nanoseconds of a pandas Timestamp
    try:
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except OverflowError:
        raise ValueError(f"{quoted(value.isoformat())} is out of the calendar's range in UTC") from None


def _outside(converted: Any, low: Any, high: Any) -> list[Violation]:
    if not ((low is not None and converted < low) or (high is not None and converted > high)):
        return []
    value = converted.isoformat() if isinstance(converted, datetime) else quoted(converted)
    return [Violation("out_of_range", f"{value} is not between {format_bound(low)} and {format_bound(high)}")]


def _number(text: str) -> object:
    """Parse a number as JSON writes it, with a plus sign, or infinite; other text stays, for `convert` to reject."""
    bare = text.strip()
    if _INFINITY.fullmatch(bare):
        return float(bare)
    if len(bare) > MAX_NUMBER_LENGTH or not _NUMBER.fullmatch(bare):
        return text
    return int(bare) if bare.lstrip("+-").isdigit() else float(bare)


def _listed(values: Sequence[object]) -> str:
    """List values in one line, at most MAX_LISTED of them."""
    text = ", ".join(map(repr, values[:MAX_LISTED]))
    return text if len(values) <= MAX_LISTED else f"{text} and {len(values) - MAX_LISTED} more"


def format_bound(bound: float | datetime | None) -> str:
    """Write an end of a range for a message; `any` where it is open."""
    if bound is None:
        return "any"
    return bound.isoformat() if isinstance(bound, datetime) else format_number(bound)


_CONVERT: dict[Type, Callable[[object], Value | datetime]] = {
    "int64": _integer,
    "float64": _real,
    "str": _text,
    "bool": _boolean,
    "datetime64[us]": parse_date,
}
