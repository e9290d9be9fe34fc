"""The columns that an expectation suite declares: the one place where types live, shared by training and serving.

Reads Great Expectations' own JSON without importing Great Expectations, so that the service can use it too.
"""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypedDict  # the one that pydantic takes below Python 3.12

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
        if self.type == "bool":
            return self.convert(_BOOLEANS.get(text.strip().lower(), text))
        return self.convert(_number(text))

    def check(self, value: object) -> Value | datetime | None:
        """Convert `value` and check the bounds; raise ValueError that says what was expected."""
        converted = self.convert(value)
        for violation in self.violations(converted):
            raise violation
        return converted

    def violations(self, converted: Value | datetime | None) -> Iterator[Violation]:
        """Yield a Violation for each bound that a converted value violates."""
        if converted is None:
            if not self.nullable:
                yield Violation("null", f"null where {self.type} is required")
            return
        if self.allowed is not None and converted not in self.allowed:
            yield Violation("unseen", f"{quoted(converted)} is not one of {_listed(self.allowed)}")
        if isinstance(converted, datetime):
            yield from _outside(converted, self.earliest, self.latest)
        elif isinstance(converted, (int, float)):
            yield from _outside(converted, self.minimum, self.maximum)
            if abs(converted) > LARGEST:
                yield Violation("too_large", f"{converted} is beyond {LARGEST:g}, the largest that every model takes")
        else:
            yield from self._text_violations(converted)

    def _text_violations(self, text: str) -> Iterator[Violation]:
        if not (self.shortest or 0) <= len(text) <= (math.inf if self.longest is None else self.longest):
            ends = f"{_end(self.shortest)} to {_end(self.longest)}"
            yield Violation("text", f"{quoted(text)} has {len(text)} characters, expected {ends}")
        if self.longest is not None and len(text) > self.longest:
            return  # a regular expression may take very long on a text that is too long anyway
        if self.pattern is not None and not re.search(self.pattern, text):
            yield Violation("text", f"{quoted(text)} does not match {self.pattern}")


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


def quoted(value: object) -> str:
    """Return a value's repr for a message, shortened where it is long or deeply nested."""
    text = _SHORT.repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."


def _expectations(path: Path) -> list[Expectation]:
    try:
        return _Suite.model_validate_json(path.read_bytes()).expectations
    except FileNotFoundError:
        raise BadColumns(path, [(None, "no such suite")]) from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        message = f"not a suite: {where + ': ' if where else ''}{fault['msg']}"
        raise BadColumns(path, [(None, message)]) from None


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
            messages.append(f"nothing lies between {_end(low)} and {_end(high)}")
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
    parse = _date if type_ == DATE else float
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


def _integer(value: object) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST:
        if abs(value) >= EXACT:
            raise ValueError(f"{quoted(value)} is too large for a 64-bit float to be exact: write it as an integer")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{quoted(value)} ({type(value).__name__}) is not a whole number")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{quoted(value)} does not fit into 64 bits")
    return int(value)


def _real(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{quoted(value)} ({type(value).__name__}) is not a number")
    if isinstance(value, int) and (abs(value) > LARGEST or int(float(value)) != value):
        raise ValueError(f"{quoted(value)} is too large for a 64-bit float to hold exactly")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} ({type(value).__name__}) is not text")
    return value


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{quoted(value)} ({type(value).__name__}) is not true or false")
    return value


def _date(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{quoted(value)} is not an ISO 8601 date such as 2026-01-31T08:00:00") from None
    if not isinstance(value, date):
        raise ValueError(f"{quoted(value)} ({type(value).__name__}) is not a date")
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    value = datetime.combine(value.date(), value.time(), value.tzinfo)  # drops the nanoseconds of a pandas Timestamp
    try:
        return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    except OverflowError:
        raise ValueError(f"{quoted(value)} is out of the calendar's range in UTC") from None


def _outside(converted: Any, low: Any, high: Any) -> Iterator[Violation]:
    if (low is not None and converted < low) or (high is not None and converted > high):
        value = converted.isoformat() if isinstance(converted, datetime) else quoted(converted)
        yield Violation("out_of_range", f"{value} is not between {_end(low)} and {_end(high)}")


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


def _end(bound: float | datetime | None) -> str:
    if bound is None:
        return "any"
    return bound.isoformat() if isinstance(bound, datetime) else f"{bound:g}"


_CONVERT: dict[Type, Callable[[object], Value | datetime]] = {
    "int64": _integer,
    "float64": _real,
    "str": _text,
    "bool": _boolean,
    "datetime64[us]": _date,
}
