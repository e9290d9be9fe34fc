"""Convert a source's rows to the suite's types, and reject those that do not fit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property, partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from updraft.model.casts import unit
from updraft.model.columns import DATE, Column, Type
from updraft.model.composed import composed, is_composed
from updraft.model.reading import NANS, Reading, read_value
from updraft.sources.source import Batch, Reject

ARROW: dict[Type, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    DATE: pa.timestamp("us"),
}
EXACT = 2**53  # beyond this an integer may have been rounded to its float64
TEXTS = (types.is_string, types.is_large_string, types.is_string_view)
MOST_UNITS = 10
MOST_DIGITS = 400  # of a Decimal that becomes an integer; a float ends before
OFFSET = r"\d[T ]\d.*(Z|[+-]\d\d(:?\d\d)?)$"  # of a time; the hyphens of a date are no sign
_LARGE = re.compile(r"[+-]?\d{16,4000}(\.0*)?", re.ASCII)
FIRST_DAY, LAST_DAY = pa.scalar(datetime.min, pa.timestamp("us")), pa.scalar(datetime.max, pa.timestamp("us"))


@dataclass(frozen=True)
class RowConverter:
    """Converts a source's values to `columns`; in a `textual` source all values are text, so that text may be a number.

    `convert_column` is the fast path: None where any value does not plainly fit. `convert_rows` goes row by row and
    reports what is wrong with each; both return the same values (`tests/sources/test_rows.py`).
    """

    columns: Sequence[Column]
    reading: Reading
    textual: bool = False
    units: dict[str, set[str]] = field(default_factory=dict)
    nans: dict[str, set[int]] = field(default_factory=dict)  # the rows where `convert_column` found NaN, by column

    def convert_column(self, column: Column, values: pa.ChunkedArray) -> pa.Array | pa.ChunkedArray | None:
        """Turn a source's values into the column's type; None when some do not plainly fit."""
        try:
            if self._is_plain_date(column) and _is_text(values.type):
                typed = _from_text(values, column)  # as JSON writes dates
            elif self.needs_parsing(column) and _is_text(values.type):
                distinct = values.combine_chunks().dictionary_encode()
                found = [self.convert_value(column, value) for value in distinct.dictionary.to_pylist()]
                typed = pa.array(found, ARROW[column.type]).take(distinct.indices)
            elif self.textual:
                typed = _from_text(values, column)
            elif is_kind(values.type, column.type):
                finer = types.is_timestamp(values.type) and values.type.unit == "ns"
                typed = values.cast(ARROW[column.type], safe=not finer)  # than a microsecond: is cut
                typed = _composed(typed) if column.type == "str" else typed
            else:
                return None
        except (ValueError, OverflowError, pa.ArrowException):
            return None
        typed = self._without_nans(column, typed)
        return typed if is_lossless(column, typed) else None

    def _without_nans(self, column: Column, values: Any) -> Any:
        """Make NaN null, in a column of text too, unless the suite allows that text."""
        if column.type == "float64":
            nan = pc.is_nan(values)
        elif column.type == "str":
            texts = [text for text in NANS if text not in (column.allowed or ())]
            nan = pc.is_in(values, value_set=pa.array(texts, pa.string()))
        else:
            return values
        self.nans[column.name] = set(pc.indices_nonzero(nan.fill_null(False)).to_pylist())
        return pc.if_else(nan, None, values) if self.nans[column.name] else values

    def convert_rows(self, placed: Iterable[tuple[str, dict[str, Any]]]) -> Batch:
        """Read rows one by one, with their places: those that fit the columns' types become the table."""
        fitting: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        nans = 0
        for place, row in placed:
            try:
                fitting.append(self._row(row))
                nans += sum(value in NANS or (isinstance(value, float) and math.isnan(value)) for value in row.values())
            except ValueError as error:
                rejects.append(Reject(place, self._found(row), str(error)))
        return Batch(pa.Table.from_pylist(fitting, schema=self.schema), rejects, nans, self.units)

    def to_batch(self, arrays: Sequence[Any]) -> Batch:
        """Make a batch of columns in which every row fits."""
        return Batch(
            pa.table(list(arrays), schema=self.schema), nans=sum(map(len, self.nans.values())), units=self.units
        )

    def convert_value(self, column: Column, value: object) -> object:
        """Cast one value and convert it to the column's type; raise ValueError saying why it does not fit."""
        if isinstance(value, Decimal):
            whole = value.is_finite() and value.adjusted() < MOST_DIGITS and value == value.to_integral_value()
            value = None if value.is_nan() else int(value) if whole else float(value)
        read = read_value(column, value, self.reading, textual=self.textual)
        if (
            isinstance(value, str)
            and read is not None
            and "number_from_text" in self.reading.casts.get(column.name, ())
        ):
            self._note(column, unit(value))
        return read

    def needs_parsing(self, column: Column) -> bool:
        """Return whether a column's texts are to be read: by the YAML, or because JSON writes dates so."""
        if column.name in self.reading.casts or column.name in self.reading.dates:
            return True
        return not self.textual and (column.type == DATE or bool(self.reading.nulls))

    def _is_plain_date(self, column: Column) -> bool:
        ruled = column.name in self.reading.casts or column.name in self.reading.dates
        return column.type == DATE and not ruled and not self.reading.nulls

    @property
    def schema(self) -> pa.Schema:
        """The columns as Arrow has them."""
        return pa.schema([(column.name, ARROW[column.type]) for column in self.columns])

    def match_columns(self, there: Collection[str]) -> dict[str, str]:
        """Find the columns among the names that a source has: {the suite's name: the source's}.

        Names in a header may have spaces around them.
        """
        known = {name.strip(): name for name in there} if self.textual else {}
        known |= {name: name for name in there}
        found = {
            column.name: next((known[name] for name in self.source_names(column) if name in known), None)
            for column in self.columns
        }
        return {ours: name for ours, name in found.items() if name is not None}

    def source_names(self, column: Column) -> list[str]:
        """List the names that a column may have in the source: those that it is renamed from, then its own.

        MongoDB's `_id` comes last: a collection that was filled under our names has one too, of MongoDB's making.
        """
        return sorted([*self._renamed_from.get(column.name, ()), column.name], key=lambda name: name == "_id")

    @cached_property
    def _renamed_from(self) -> dict[str, list[str]]:
        """The source's names by ours: reading all renames for each column takes long where there are thousands."""
        names: dict[str, list[str]] = {}
        for theirs, ours in self.reading.rename.items():
            names.setdefault(ours, []).append(theirs)
        return names

    def _note(self, column: Column, found: str) -> None:
        units = self.units.setdefault(column.name, set())
        if len(units) < MOST_UNITS:
            units.add(found)

    def _found(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a refused row as its source had it; of text, what plainly is of its column's type is typed."""
        if not self.textual:
            return row
        plain = [column for column in self.columns if column.type != "str" and not self.needs_parsing(column)]
        return row | {column.name: _typed(row[column.name], column.type) for column in plain}

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for column in self.columns:
            name = next((name for name in self.source_names(column) if name in row), None)
            if name is None:
                missing = (c.name for c in self.columns if not any(name in row for name in self.source_names(c)))
                raise ValueError(f"{', '.join(missing)}: missing")
            try:
                found[column.name] = self.convert_value(column, row[name])
                if found[column.name] is None and "null" in column.tolerated:
                    raise ValueError(f"null where {column.type} is required")
            except ValueError as error:
                raise ValueError(f"{column.name}: {error}") from None
        return found


def is_lossless(column: Column, values: pa.ChunkedArray) -> bool:
    """Return whether all numbers are finite and small enough to have come from an exact integer, all dates Python's."""
    if column.type == "float64":
        exact = pc.and_(pc.less(values, EXACT), pc.greater(values, -EXACT))
        return not pc.any(pc.invert(exact)).as_py()
    if column.type == DATE:
        within = pc.and_(pc.greater_equal(values, FIRST_DAY), pc.less_equal(values, LAST_DAY))
        return pc.all(within).as_py() is not False
    return True


def _composed(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write texts in Unicode's NFC."""
    foreign = pc.invert(pc.string_is_ascii(values)).fill_null(False)
    texts = values.filter(foreign).to_pylist() if pc.any(foreign).as_py() else []
    if all(map(is_composed, texts)):
        return values
    nfc = pa.array(map(composed, texts), pa.string())  # Arrow's own NFC is NFD
    return pc.replace_with_mask(_combined(values), _combined(foreign), nfc)


def _combined(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _from_text(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    if column.type == "str":
        return _composed(values)
    if column.type == "int64" and pc.any(pc.match_substring_regex(values, "[xX]")).as_py():
        raise ValueError("Arrow would read hexadecimal numbers")
    cast = _dates if column.type == DATE else partial(pc.cast, target_type=ARROW[column.type])
    try:
        return cast(values)
    except pa.ArrowInvalid:
        return cast(pc.utf8_trim_whitespace(values))


def _dates(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read ISO 8601, with an offset from UTC or without, as naive UTC."""
    try:
        return values.cast(ARROW[DATE])
    except pa.ArrowInvalid:
        has_offset = pc.match_substring_regex(values, OFFSET)
        null = pa.scalar(None, values.type)
        zoned = pc.if_else(has_offset, values, null).cast(pa.timestamp("us", "UTC")).cast(ARROW[DATE])
        return pc.coalesce(zoned, pc.if_else(has_offset, null, values).cast(ARROW[DATE]))


def is_kind(found: pa.DataType, type_: Type) -> bool:
    """Return whether a type of Arrow's is a kind of the suite's: its values may be cast where nothing is lost by it."""
    kinds: dict[Type, Sequence[Callable[[pa.DataType], bool]]] = {
        "int64": (types.is_integer, types.is_floating),
        "float64": (types.is_integer, types.is_floating, types.is_decimal),
        "str": TEXTS,
        "bool": (types.is_boolean,),
        DATE: (types.is_timestamp, types.is_date),
    }
    return any(is_it(found) for is_it in (types.is_null, *kinds[type_]))


def _is_text(found: pa.DataType) -> bool:
    return any(is_it(found) for is_it in TEXTS)


def _typed(text: str | None, type_: Type) -> Any:
    """Read a text as the column's type, else as a number, else leave it as it is: `Column.convert` judges it."""
    if text is not None and type_ in ("int64", "float64") and _LARGE.fullmatch(text):
        return int(text.partition(".")[0])  # a float would round it
    for arrow in (ARROW[type_], pa.float64()) if text is not None and type_ != DATE else ():
        try:
            return pa.scalar(text).cast(arrow).as_py()
        except pa.ArrowInvalid:
            continue
    return text
