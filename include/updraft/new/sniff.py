"""How delimited text is written: its delimiter, its quotes, and whether its first line has names."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator

import pandas as pd

from updraft.sources.decoded import read_head
from updraft.sources.delimited import SEPARATOR
from updraft.sources.format import LocalFile
from updraft.sources.source import BadSource, Reject
from updraft.usecase.blocks import NONE, Reading

DELIMITERS = ",;\t|"
SNIFFED_LINES = 200
# With quotes read as they are, a column in which more values than these stand in a pair of them is a quoted one.
QUOTED = 0.1
LABELS, LOOKED_AT, MOSTLY = (
    50,
    1000,
    0.9,
)  # rows; the share of a column's values that are numbers, in a column of numbers


def sniff_delimiter(file: LocalFile, reading: Reading, tab: bool) -> Reading:
    """Detect the delimiter: the one by which most lines have as many fields as the header, and most fields."""
    text = read_head(file, reading.encoding)
    if separator := SEPARATOR.match(text):
        return _with(reading, delimiter=separator[1])
    head = text.splitlines(keepends=True)[:SNIFFED_LINES]

    def score(delimiter: str) -> tuple[bool, float, int]:
        sizes = [len(row) for row in csv.reader(io.StringIO("".join(head), newline=""), delimiter=delimiter) if row]
        return sizes[0] > 1, sum(size == sizes[0] for size in sizes) / len(sizes), sizes[0]

    if not text.strip():
        raise BadSource(f"{file}: the file is empty")
    best = max(DELIMITERS, key=score)
    return reading if best == "," or (tab and best == "\t") else _with(reading, delimiter=best)


def other_quotes(reading: Reading, broken: list[Reject]) -> Iterator[tuple[Reading, str, str]]:
    """Yield other ways to read a file in which rows were lost, each with its setting and the reason for it."""
    if any(reject.reason.startswith("open quote") for reject in broken):
        yield (
            reading_without_quotes(reading),
            "quote",
            "quotes are characters as others: open ones would lose {} rows",
        )
    if any('\\"' in str(reject.row.get("text")) for reject in broken):
        yield _with(reading, escape="\\"), "escape", '\\" is a quote inside a value: {} rows would be lost otherwise'


def is_quoted(frame: pd.DataFrame) -> bool:
    """Tell whether a column's name or many of its values stand in quotes, so that these are no part of them."""
    for name in frame:
        values = frame[name].dropna().head(LOOKED_AT)
        if str(name).startswith('"') or (values.str.match(r'".*"\Z').mean() if len(values) else 0) > QUOTED:
            return True
    return False


def data_in_header(frame: pd.DataFrame) -> list[str]:
    """Return the names that look like values of their columns, unless another name shows that they are names."""
    values: list[str] = []
    for name in map(str, frame):
        column = frame[name].dropna().head(LOOKED_AT)
        if column.empty:
            continue
        if _numeric(column):
            if not _numeric(pd.Series([name])):
                return []
            values.append(name)
        elif (counts := Counter(column)) and len(counts) <= min(LABELS, len(column) / 3) and name in counts:
            values.append(name)
    return values


def reading_without_header(reading: Reading) -> Reading:
    """Return how a file is read whose first line is a row."""
    return _with(reading, header=NONE)


def reading_without_quotes(reading: Reading) -> Reading:
    """Return how a file is read in which a quote is a character as any other."""
    return _with(reading, quote=NONE)


def most_common_reasons(broken: list[Reject]) -> str:
    """Say why rows were refused: the most common reasons, each with its first row."""
    first = {reject.reason: reject for reject in reversed(broken)}
    counts = Counter(reject.reason for reject in broken).most_common(2)
    return "; ".join(f"{reason} ({count:,} rows, such as {first[reason].place})" for reason, count in counts)


def _with(reading: Reading, **settings: str) -> Reading:
    return Reading(**(reading.model_dump(exclude_unset=True) | settings))


def _numeric(column: pd.Series[str]) -> bool:
    return bool(pd.to_numeric(column, errors="coerce").notna().mean() >= MOSTLY)
