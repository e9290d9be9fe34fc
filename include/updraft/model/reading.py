"""How rows are read: the `read` block of a YAML, which a model's signature carries, and its rules for one cell.

A file, a collection and a request to the service are all read by these rules. `sources/rows.py` has a faster way to the
same values for whole columns.
"""

from __future__ import annotations

import codecs
import math
import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from updraft.model.casts import Cast, apply, dated
from updraft.model.columns import Column, Value, quoted
from updraft.model.composed import composed

NONE = "none"
NANS = ("NaN", "nan")  # what pandas and R write for a missing value, also in a column of text
UNDECODED = "\ufffd"
_NAN = re.compile(r"[+-]?nan(\(\w*\))?", re.I | re.ASCII)
Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]
Casts = Annotated[tuple[Cast, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)]


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError(
            f"{name!r} is not an encoding that Python supports, such as utf-8, latin-1 or cp1252"
        ) from None


def _character(text: str) -> str:
    if len(text) != 1 or not text.isascii() or text in "\r\n\0":
        raise ValueError(f'{text!r} is not one ASCII character, such as ; or "')
    return text


def _quote(text: str) -> str:
    return text if text == NONE else _character(text)


Character = Annotated[str, AfterValidator(_character)]


class Reading(BaseModel):
    """How a source's values are converted to the suite's: columns renamed (source's: suite's), values cast in order.

    `nulls` are texts that mean null, such as "n/a", beside the empty field of a file. `dates` has the pattern (as in
    `strptime`) of dates that are not ISO 8601. The first five are those of a text file. The default delimiter of a .tsv
    file is the tab. A field may stand in a pair of `quote`, in which two of them are one; with `none` a quote is a
    character as any other. After `escape` a delimiter or quote is a character as any other. Without a header (`none`)
    the columns are called column_1, column_2 and so on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    delimiter: Character = ","
    quote: Annotated[str, AfterValidator(_quote)] = '"'
    escape: Character | None = None
    header: Literal["none"] | None = None
    rename: dict[str, str] = Field(default_factory=dict)
    casts: dict[str, Casts] = Field(default_factory=dict)
    dates: dict[str, str] = Field(default_factory=dict)
    nulls: Names = ()

    @model_validator(mode="after")
    def _differ(self) -> Reading:
        marks = {"delimiter": self.delimiter, "quote": self.quote, "escape": self.escape}
        same = [name for name, mark in marks.items() if mark and list(marks.values()).count(mark) > 1]
        if same:
            raise ValueError(f"{' and '.join(same)} are both {marks[same[0]]!r}")
        return self


def read_value(
    column: Column, value: object, reading: Reading, *, textual: bool, iso_dates: bool = False
) -> Value | datetime | None:
    """Return a source's value as the column's type: nulls, Unicode's NFC, casts and date patterns, then the type.

    In a `textual` source all values are text, so that text may be a number. `iso_dates` may be in ISO 8601 where the
    rules have a pattern. Raises ValueError, which says why a value does not fit.
    """
    if value in reading.nulls or _is_nan(value, column):
        return None
    if isinstance(value, str) and not value.isascii():
        value = normalized(value)
    value = apply(reading.casts.get(column.name, ()), value)
    if column.name in reading.dates:
        value = dated(reading.dates[column.name], value, or_iso=iso_dates)
    if _is_nan(value, column):
        return None
    return column.from_text(value) if textual and isinstance(value, str) else column.convert(value)


def _is_nan(value: object, column: Column) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    if not isinstance(value, str):
        return False
    if column.type == "float64":
        return _NAN.fullmatch(value.strip()) is not None
    return value in NANS and value not in (column.allowed or ())


def normalized(text: str) -> str:
    """Return a text in Unicode's NFC, where each way to write an accent is the same text.

    Raises ValueError for U+FFFD and for half a character.
    """
    if UNDECODED in text:
        raise ValueError(f"{quoted(text)} holds U+FFFD, which stands for bytes that could not be decoded")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{quoted(text)} holds half a character (a lone surrogate)") from None
    return composed(text)
