"""A file of rows, as found: its encoding and delimiter, and its columns before anything is made of them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pandas as pd
import pyarrow as pa

from updraft.sources.files import FORMATS, Decoded, Delimited, Format
from updraft.sources.source import BadSource
from updraft.usecase.blocks import Reading

ROWS = 500_000  # that are looked at
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class Snapshot:
    """The columns as found (`textual`: every one is text), how the file is read, and what is odd about it."""

    path: Path
    frame: pd.DataFrame
    reading: Reading
    textual: bool
    notes: list[str] = field(default_factory=list)


def snapshot(path: Path) -> Snapshot:
    """Read a file's first ROWS rows; raise BadSource when it cannot be read, has no rows, or no names of columns."""
    ending = next((each for each in FORMATS if path.name.lower().endswith(each)), None)
    if not path.is_file() or ending is None:
        what = "no such file" if not path.is_file() else f"expected a name that ends in {', '.join(FORMATS)}"
        raise BadSource(f"file {str(path)!r}: {what}")
    notes: list[str] = []
    try:
        reading = _reading(path, notes) if ending != ".parquet" else Reading()
        form = FORMATS[ending](path, reading)
        if isinstance(form, Delimited):
            reading, form = _delimited(path, reading, ending)
        names = _names(form.names(lambda found: False), path, notes)
        frame = _frame(form, names, path, notes)
    except (pa.ArrowException, UnicodeError, OSError, EOFError, csv.Error) as error:
        raise BadSource(f"file {str(path)!r}: {' '.join(str(error).split())}") from None
    if frame.empty:
        raise BadSource(f"file {str(path)!r}: no rows")
    return Snapshot(path, frame, reading, isinstance(form, Delimited), notes)


def _reading(path: Path, notes: list[str]) -> Reading:
    """Tell the encoding: UTF-8 when all of it is, UTF-16 by its mark, else a Western 8-bit one."""
    with pa.input_stream(str(path)) as stream:
        raw: bytes = stream.read(256 << 20)
    if lost := sum(b"\xef\xbf\xbd" in line for line in raw.splitlines()):
        told = "which stands for characters that were lost before this file was written"
        notes.append(f"{lost:,} lines hold U+FFFD, {told}: such rows are set aside.")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return Reading(encoding="utf-16")
    try:
        raw.decode("utf-8")
        return Reading()
    except UnicodeDecodeError as error:
        if error.start > len(raw) - 4:  # cut off in the middle of a character
            return Reading()
    lines = [line for line in raw.splitlines() if not line.isascii()]
    fit = sum(_decodes(line, "utf-8") for line in lines)
    encoding = "utf-8" if fit > len(lines) / 2 else "cp1252" if _decodes(raw, "cp1252") else "latin-1"
    if fit > len(lines) / 50:  # a few look like it by chance
        told = f"encodings are mixed: {fit:,} of {len(lines):,} lines beyond ASCII are UTF-8, the others are not. "
        told += (
            "Lines that are not UTF-8 are set aside"
            if encoding == "utf-8"
            else f"Read as {encoding}, those are garbled"
        )
        notes.append(f"{told}; best mend the file.")
    else:
        notes.append(f"the file is not UTF-8; {encoding} is a guess: look whether £, é and the like come out right.")
    return Reading(encoding=encoding)


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _delimited(path: Path, reading: Reading, ending: str) -> tuple[Reading, Delimited]:
    """Tell the delimiter: the one by which most lines have as many fields as the header, and most fields."""
    with Decoded(path, reading.encoding) as text:
        head = [line.decode("utf-8").removeprefix("\ufeff") for line in islice(text.buffered(), 200)]

    def worth(delimiter: str) -> tuple[bool, float, int]:
        sizes = [len(row) for row in csv.reader(io.StringIO("".join(head), newline=""), delimiter=delimiter) if row]
        return sizes[0] > 1, sum(size == sizes[0] for size in sizes) / len(sizes), sizes[0]

    if not any(line.strip() for line in head):
        raise BadSource(f"file {str(path)!r}: nothing in it")
    best = max(DELIMITERS, key=worth)
    tab = ending.startswith(".tsv") and best == "\t"
    found = Reading(encoding=reading.encoding, **({} if best == "," or tab else {"delimiter": best}))
    return found, Delimited(path, found, tab)


def _names(found: list[str], path: Path, notes: list[str]) -> list[str]:
    """Return the names to read; columns without one are left out, one that stands twice cannot be told apart."""
    twice = sorted(name for name, count in Counter(name.strip() for name in found).items() if count > 1 and name)
    if twice:
        raise BadSource(f"file {str(path)!r}: header names {', '.join(map(repr, twice))} more than once")
    nameless = sum(not name.strip() for name in found)
    if nameless:
        notes.append(f"{nameless} column{'s' * (nameless > 1)} without a name: left out.")
    names = [name for name in found if name.strip()]
    if not names:
        raise BadSource(f"file {str(path)!r}: the first line names no columns")
    if sum(_is_number(name) for name in names) > len(names) / 2:
        notes.append(f"the first line looks like data, not like names: {', '.join(names[:5])}")
    return names


def _frame(form: Format, names: list[str], path: Path, notes: list[str]) -> pd.DataFrame:
    parts: list[pd.DataFrame] = []
    broken = rows = 0
    for part in form.parts(names):
        broken += len(part.broken)
        some = part.rows.to_pandas() if isinstance(part.rows, pa.Table) else pd.DataFrame(part.rows)
        parts.append(some)
        rows += len(some)
        if rows >= ROWS:
            notes.append(f"only the first {rows:,} rows were looked at.")
            break
    if broken:
        notes.append(f"{broken:,} lines are no rows, because they have too many or too few fields: they are set aside.")
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
    return frame.rename(columns=str.strip)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
