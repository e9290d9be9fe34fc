"""Sniff a file of rows: its encoding and delimiter, its header, and its first rows as they are."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa

from updraft.sources.decoded import Decoded
from updraft.sources.delimited import Delimited
from updraft.sources.files import FORMATS
from updraft.sources.format import Format
from updraft.sources.source import BadSource
from updraft.usecase.blocks import Reading

MAX_ROWS = 500_000  # that are profiled
SNIFFED_BYTES = 256 << 20  # for the encoding
MIXED_ENCODINGS = 0.02  # of the non-ASCII lines: a few decode as UTF-8 by chance
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class FileSample:
    """The first rows of a file (`textual`: all values are text), how it is read and why, and notes on what is odd."""

    path: Path
    frame: pd.DataFrame
    reading: Reading
    textual: bool
    notes: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)


def read_sample(path: Path) -> FileSample:
    """Read a file's first MAX_ROWS rows; raise BadSource when it cannot be read, or has no rows or no column names."""
    ending = next((suffix for suffix in FORMATS if path.name.lower().endswith(suffix)), None)
    if not path.is_file() or ending is None:
        fault = "no such file" if not path.is_file() else f"expected a name that ends in {', '.join(FORMATS)}"
        raise BadSource(f"file {str(path)!r}: {fault}")
    notes: list[str] = []
    try:
        reading = _reading(path, notes) if ending != ".parquet" else Reading()
        form = FORMATS[ending](path, reading)
        if isinstance(form, Delimited):
            reading, form = _delimited(path, reading, ending)
        names = _names(form.names(lambda _: False), path, notes)
        frame = _frame(form, names, path, notes)
    except (pa.ArrowException, UnicodeError, OSError, EOFError, csv.Error) as error:
        raise BadSource(f"file {str(path)!r}: {' '.join(str(error).split())}") from None
    if frame.empty:
        raise BadSource(f"file {str(path)!r}: no rows")
    return FileSample(path, frame, reading, isinstance(form, Delimited), notes)


def _reading(path: Path, notes: list[str]) -> Reading:
    """Detect the encoding: UTF-8 if it decodes as such, UTF-16 by its byte order mark, else a Western 8-bit one."""
    with pa.input_stream(str(path)) as stream:
        raw: bytes = stream.read(SNIFFED_BYTES)
    if lost := sum(b"\xef\xbf\xbd" in line for line in raw.splitlines()):
        reason = "the sign for characters that were lost before this file was written"
        notes.append(f"{lost:,} lines contain U+FFFD, {reason}: these rows are quarantined.")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Reading(encoding="utf-16")
    try:
        raw.decode("utf-8")
        return Reading()
    except UnicodeDecodeError as error:
        if error.start > len(raw) - 4:  # only the last character is incomplete: it was cut off by SNIFFED_BYTES
            return Reading()
    lines = [line for line in raw.splitlines() if not line.isascii()]
    utf8 = sum(_decodes(line, "utf-8") for line in lines)
    encoding = "utf-8" if utf8 > len(lines) / 2 else "cp1252" if _decodes(raw, "cp1252") else "latin-1"
    if utf8 > MIXED_ENCODINGS * len(lines):
        mixed = f"encodings are mixed: {utf8:,} of {len(lines):,} non-ASCII lines are UTF-8, the others are not"
        quarantined = "Lines that are not UTF-8 are quarantined"
        effect = quarantined if encoding == "utf-8" else f"Read as {encoding}, the UTF-8 lines are garbled"
        notes.append(f"{mixed}. {effect}; better repair the file.")
    else:
        notes.append(f"the file is not UTF-8; {encoding} is a guess: check that £, é and the like are read correctly.")
    return Reading(encoding=encoding)


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _delimited(path: Path, reading: Reading, ending: str) -> tuple[Reading, Delimited]:
    """Detect the delimiter: the one by which most lines have as many fields as the header, and most fields."""
    with Decoded(path, reading.encoding) as text:
        head = [line.decode("utf-8").removeprefix("\ufeff") for line in islice(text.buffered(), 200)]

    def score(delimiter: str) -> tuple[bool, float, int]:
        sizes = [len(row) for row in csv.reader(io.StringIO("".join(head), newline=""), delimiter=delimiter) if row]
        return sizes[0] > 1, sum(size == sizes[0] for size in sizes) / len(sizes), sizes[0]

    if not any(line.strip() for line in head):
        raise BadSource(f"file {str(path)!r}: the file is empty")
    best = max(DELIMITERS, key=score)
    tab = ending.startswith(".tsv") and best == "\t"
    reading = Reading(encoding=reading.encoding, **({} if best == "," or tab else {"delimiter": best}))
    return reading, Delimited(path, reading, tab)


def _names(header: list[str], path: Path, notes: list[str]) -> list[str]:
    """Return the names to read; columns without a name are left out, duplicate names are an error."""
    duplicated = sorted(name for name, count in Counter(name.strip() for name in header).items() if count > 1 and name)
    if duplicated:
        raise BadSource(f"file {str(path)!r}: header names {', '.join(map(repr, duplicated))} more than once")
    nameless = sum(not name.strip() for name in header)
    if nameless:
        notes.append(f"{nameless} column{'s' * (nameless > 1)} without a name: left out.")
    names = [name for name in header if name.strip()]
    if not names:
        raise BadSource(f"file {str(path)!r}: the first line names no columns")
    if sum(_is_number(name) for name in names) > len(names) / 2:
        notes.append(f"the first line looks like data rather than a header: {', '.join(names[:5])}")
    return names


def _frame(form: Format, names: list[str], path: Path, notes: list[str]) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    malformed = rows = 0
    for part in form.parts(names):
        malformed += len(part.broken)
        frame = part.rows.to_pandas() if isinstance(part.rows, pa.Table) else pd.DataFrame(part.rows)
        parts.append(frame)
        rows += len(frame)
        if rows >= MAX_ROWS:
            notes.append(f"only the first {rows:,} rows were profiled.")
            break
    if malformed:
        notes.append(f"{malformed:,} lines have too many or too few fields: they are quarantined.")
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
    return frame.rename(columns=str.strip)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
