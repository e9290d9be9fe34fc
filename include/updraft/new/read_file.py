"""Read a file of rows as it is: its encoding and how it is written, its header, and its first rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from updraft.new.sniff import (
    data_in_header,
    is_quoted,
    most_common_reasons,
    other_quotes,
    reading_without_header,
    reading_without_quotes,
    sniff_delimiter,
)
from updraft.sources.delimited import QUOTE_NONE
from updraft.sources.file_formats import FORMATS, ending_of
from updraft.sources.format import LocalFile
from updraft.sources.source import BadSource, Reject
from updraft.usecase.blocks import NONE, Reading

Header = Literal["first", "none"]
MAX_ROWS = 500_000  # that are profiled
SNIFFED_BYTES = 256 << 20  # for the encoding
MIXED_ENCODINGS = 0.02  # of the non-ASCII lines: a few decode as UTF-8 by chance


@dataclass(frozen=True)
class FileSample:
    """The first rows of a file (`textual`: all values are text), how it is read and why, and notes on what is odd."""

    file: LocalFile
    frame: pd.DataFrame
    reading: Reading
    textual: bool
    notes: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    source: dict[str, Any] | None = None  # of the YAML, where it is not the usual one


def read_sample(file: LocalFile, target: str, header: Header | None = None) -> FileSample:
    """Read a file's first MAX_ROWS rows; raise BadSource when it cannot be read, or has no rows or no column names.

    Where the first line looks like data and does not name the target, a person has to say whether it is a `header`.
    """
    ending = ending_of(file.ending)
    if not file.path.is_file() or ending is None:
        fault = "no such file" if not file.path.is_file() else f"expected a name that ends in {', '.join(FORMATS)}"
        raise BadSource(f"{file}: {fault}")
    notes: list[str] = []
    try:
        reading = _reading(file, notes) if ending != ".parquet" else Reading()
        sample = _read(file, ending, reading, header)
    except (pa.ArrowException, UnicodeError, OSError, EOFError) as error:
        raise BadSource(f"{file}: {' '.join(str(error).split())}") from None
    if header is None and sample.textual:
        _ask_about_header(sample, target)
    sample.notes[:0] = notes
    return sample


def _read(file: LocalFile, ending: str, reading: Reading, header: Header | None) -> FileSample:
    textual = ending != ".parquet" and "json" not in ending
    if not textual:
        return _sample(file, ending, reading, textual)[0]
    reading = sniff_delimiter(file, reading, ending.startswith(".tsv"))
    reading = reading_without_header(reading) if header == NONE else reading
    try:
        sample, broken = _sample(file, ending, reading, textual)
    except BadSource as error:
        if QUOTE_NONE not in str(error):
            raise
        return _without_quotes(file, ending, reading, error)
    for other, setting, reason in other_quotes(reading, broken):
        retried, still_broken = _sample(file, ending, other, textual)
        if len(still_broken) < len(broken) and not (setting == "quote" and is_quoted(retried.frame)):
            retried.reasons[setting] = reason.format(f"{len(broken) - len(still_broken):,}")
            retried.notes.insert(0, f"read: {setting}: {retried.reasons[setting]}.")
            sample, broken = retried, still_broken
    if sample.frame.empty:
        refused = f": all {len(broken):,} were refused: {most_common_reasons(broken)}" if broken else ""
        raise BadSource(f"{file}: no rows{refused}")
    return sample


def _without_quotes(file: LocalFile, ending: str, reading: Reading, error: BadSource) -> FileSample:
    """Read a file in which a quote is open for megabytes with quotes as characters, where that is how it is written."""
    sample, _ = _sample(file, ending, reading_without_quotes(reading), textual=True)
    if is_quoted(sample.frame):
        raise error
    sample.reasons["quote"] = "quotes are characters as others: one is never closed"
    sample.notes.insert(0, f"read: quote: {sample.reasons['quote']}.")
    return sample


def _sample(file: LocalFile, ending: str, reading: Reading, textual: bool) -> tuple[FileSample, list[Reject]]:
    """Read the first rows in one way, and those that are no rows when read so."""
    form = FORMATS[ending](file, reading)
    notes: list[str] = []
    names = _names(form.names(lambda _: False), file, notes)
    parts: list[pd.DataFrame] = []
    broken: list[Reject] = []
    rows = 0
    for part in form.chunks(names):
        broken += part.broken
        frame = part.rows.to_pandas() if isinstance(part.rows, pa.Table) else pd.DataFrame(part.rows, dtype=object)
        parts.append(frame)
        rows += len(frame)
        if rows >= MAX_ROWS:
            notes.append(f"only the first {rows:,} rows were profiled.")
            break
    if broken:
        notes.append(f"{len(broken):,} lines are no rows: {most_common_reasons(broken)}: they are quarantined.")
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
    if frame.empty and not textual:
        raise BadSource(f"{file}: no rows")
    return FileSample(file, frame.rename(columns=str.strip), reading, textual, notes), broken


def _ask_about_header(sample: FileSample, target: str) -> None:
    """Refuse to guess whether a first line that looks like data is one."""
    names = list(map(str, sample.frame))
    if not (values := data_in_header(sample.frame)):
        return
    some = ", ".join(map(repr, values[:5]))
    if target in names:
        sample.notes.append(f"the first line looks like data ({some}) and names the target: it is taken as the header.")
        return
    raise BadSource(
        f"{sample.file}: the first line looks like data rather than a header ({some}): "
        f"with --header none it is a row, and the columns are called column_1 to column_{len(names)}; "
        "with --header first it is the header"
    )


def _reading(file: LocalFile, notes: list[str]) -> Reading:
    """Detect the encoding: UTF-8 if it decodes as such, UTF-16 by its byte order mark, else a Western 8-bit one."""
    with file.open() as stream:
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


def _names(header: list[str], file: LocalFile, notes: list[str]) -> list[str]:
    """Return the names to read; columns without a name are left out, duplicate names are an error."""
    duplicated = sorted(name for name, count in Counter(name.strip() for name in header).items() if count > 1 and name)
    if duplicated:
        raise BadSource(f"{file}: header names {', '.join(map(repr, duplicated))} more than once")
    nameless = sum(not name.strip() for name in header)
    if nameless:
        notes.append(f"{nameless} column{'s' * (nameless > 1)} without a name: left out.")
    names = [name for name in header if name.strip()]
    if not names:
        raise BadSource(f"{file}: the first line names no columns")
    return names
