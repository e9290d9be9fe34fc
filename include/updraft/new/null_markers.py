"""Texts that stand for missing values: `NA`, `?`, `-` among numbers, `NaN` among texts."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import pandas as pd

from updraft.usecase.messages import listed

# What people and programs write for a missing value. Another word is taken for one only where it is the only text in a
# column of numbers, again and again; a text with a digit, such as "10+", means a number and is none.
KNOWN = re.compile(
    r"n/?a|n\.a\.?|nan|-?nan\(ind\)|null|nil|none|missing|unknown|undefined|not (available|applicable|known)|no data|"
    r"empty|blank|void|#n/a( n/a)?|#na|#null!|#value!|#ref!|#div/0!|#name\?|<na>|\(null\)|\\n|[^\w\s]{1,3}",
    re.I,
)
SURE = re.compile(r"nan|<na>|#n/a", re.I)  # is a missing value among texts, too: pandas and Excel write it
MIN_NUMBERS = 5  # different ones: a column of few is rather one of codes, of which the text is another
MOSTLY = 0.5  # of the values are numbers where another word stands for a missing one
VALUES = 1000  # different texts beyond which a column is not one of numbers with a marker


def find_null_markers(frame: pd.DataFrame, textual: bool, target: str) -> dict[str, list[str]]:
    """Return the texts that mean null, each with the columns that show it. A label of the target is never one."""
    markers: dict[str, list[str]] = defaultdict(list)
    labels: set[Any] = set()
    for name in map(str, frame):
        found = _markers(frame[name], textual)
        for marker in found:
            markers[marker].append(name)
        if name == target and not found:
            labels = set(frame[name].dropna().unique()[:VALUES])
    return {marker: columns for marker, columns in markers.items() if marker not in labels}


def reason_of(markers: dict[str, list[str]], frame: pd.DataFrame) -> str:
    """Say where markers were seen, and what else becomes null by them."""
    said = []
    for marker, columns in markers.items():
        rows = {str(name): int((frame[name] == marker).sum()) for name in frame}
        elsewhere = [name for name, count in rows.items() if count and name not in columns]
        also = f", and so it is null in {_some(elsewhere)}" if elsewhere else ""
        count = sum(rows[name] for name in columns)
        said.append(f"{marker!r} stands for a missing value in {_some(columns)} ({count:,} times){also}")
    return "; ".join(said)


def without_markers(frame: pd.DataFrame, markers: dict[str, list[str]]) -> pd.DataFrame:
    """Return the rows with nulls in place of the markers."""
    texts = [name for name in frame if _may_hold_text(frame[name])]
    return frame.assign(**{str(name): frame[name].mask(frame[name].isin(markers)) for name in texts})


def _markers(values: pd.Series[Any], textual: bool) -> list[str]:
    present = values.dropna()
    if not _may_hold_text(present) or (textual and pd.to_numeric(present, errors="coerce").notna().all()):
        return []
    is_text = present.map(lambda value: isinstance(value, str)).astype(bool)
    if not present[~is_text].map(lambda value: isinstance(value, (int, float))).all():
        return []
    counts = present[is_text].value_counts()
    numeric = _read_as_numbers(counts) if textual else pd.Series(False, index=counts.index)
    others = counts[~numeric]
    numbers = int(numeric.sum()) + present[~is_text].nunique()  # different ones
    among_numbers = len(present) - int(others.sum())
    known = [text for text in others.index[:VALUES] if KNOWN.fullmatch(text.strip())]
    rest = others.drop(known)
    if known and rest.empty and numbers > 1:
        return known
    if len(rest) == 1 and not known and numbers >= MIN_NUMBERS and among_numbers > MOSTLY * len(present):
        return [str(text) for text, count in rest.items() if count > 1 and not re.search(r"\d", str(text))]
    if known and len(rest) >= MIN_NUMBERS and all(re.search(r"\d", str(text)) for text in rest.index):
        return known  # dates, or numbers with a unit
    return [text for text in known if SURE.fullmatch(text)]


def _may_hold_text(values: pd.Series[Any]) -> bool:
    return len(values) > 0 and (values.dtype == object or pd.api.types.is_string_dtype(values.dtype))


def _read_as_numbers(counts: pd.Series[int]) -> pd.Series[bool]:
    numbers = pd.to_numeric(pd.Series(counts.index, index=counts.index).str.strip(), errors="coerce")
    return numbers.notna()


def _some(names: list[str]) -> str:
    return listed(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
