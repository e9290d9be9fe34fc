"""What the columns of a file hold: numbers, dates, texts, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pandas as pd

from updraft.model.columns import DATE, Column, Type
from updraft.sources.casts import decimal_comma, number_from_text
from updraft.usecase.blocks import Cast

Role = Literal["target", "id", "ignored", "text", "categorical", "feature"]
MOSTLY = 0.8  # of the values are numbers or dates: then the others are misfits
UNIT = re.compile(r"\s*([£$€¥₹]|Rs\.?|USD|EUR|GBP|INR)?\s*[-+]?[\d.,]+\s*([A-Za-z%°/²³\"']{0,12})\s*")
PATTERNS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y")
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


@dataclass
class Seen:
    """A column: its values in the type that was guessed (what does not fit is null), and why."""

    name: str
    type: Type
    values: pd.Series[Any]
    role: Role = "feature"
    why: str = ""
    casts: tuple[Cast, ...] = ()
    dates: str | None = None
    misfits: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def nulls(self) -> float:
        return float(self.values.isna().mean())

    @property
    def distinct(self) -> int:
        return int(self.values.nunique())

    @property
    def whole(self) -> bool:
        """Whether all its numbers are whole."""
        return self.type == "int64" or (self.type == "float64" and bool((self.values.dropna() % 1 == 0).all()))

    def counts(self) -> pd.Series[int]:
        return self.values.value_counts()


def seen(name: str, found: pd.Series[Any], textual: bool) -> Seen | None:
    """Guess a column's type; None when nothing is in it, or what no column of a suite can hold."""
    if found.dropna().empty:
        return None
    kind = pd.api.types.infer_dtype(found, skipna=True)
    if kind == "string":
        return _of_text(name, found, textual)
    if kind == "boolean":
        if found.isna().any():
            return None
        return Seen(name, "bool", found.astype("bool"), why="true or false")
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return _of_numbers(name, found, whole=kind == "integer" and not found.isna().any())
    if kind in ("datetime64", "datetime", "date"):
        dates = pd.to_datetime(found, utc=True).dt.tz_localize(None).astype(DATE)
        return Seen(name, DATE, dates, why="dates")
    return None


def _of_numbers(name: str, found: pd.Series[Any], whole: bool) -> Seen | None:
    try:
        numbers = found.astype("int64" if whole else "float64")
    except OverflowError:
        return None
    infinite = numbers.abs() == float("inf")
    told = Seen(name, "int64" if whole else "float64", numbers.mask(infinite) if infinite.any() else numbers)
    told.misfits = int(infinite.sum())
    return _with_misfits(told, found.astype("str"), "finite number")


def _of_text(name: str, found: pd.Series[Any], textual: bool) -> Seen:
    """Say what texts are: as a file of text has them, where "12" is a number, or as JSON has them, where it is text."""
    bare = found.str.strip()
    bare = bare.where(bare != "")
    for guess in (_truth, _iso, _decimal_commas, _numbers) if textual else (_iso, _decimal_commas):
        if told := guess(name, bare):
            return told
    for guess in (_units, _dates):
        if told := guess(name, bare):
            return told
    padded = bool((found.dropna() != found.dropna().str.strip()).any())
    plain = Seen(name, "str", (bare if padded else found).astype("str"), casts=("strip",) if padded else ())
    plain.values = plain.values.where((bare if padded else found).notna())
    return plain


def _truth(name: str, bare: pd.Series[Any]) -> Seen | None:
    if bare.isna().any() or not set(bare.str.lower()) <= {"true", "false"}:
        return None
    return Seen(name, "bool", bare.str.lower() == "true", why="true or false")


def _iso(name: str, bare: pd.Series[Any]) -> Seen | None:
    there = bare.dropna()
    if not there.head(1000).str.match(r"\d{4}-\d\d-\d\d").mean() > MOSTLY:
        return None
    return _dated(name, bare, Column(name=name, type=DATE).convert, None)


def _dates(name: str, bare: pd.Series[Any]) -> Seen | None:
    """Find a pattern that all of the dates have; where day and month cannot be told apart, the day comes first."""
    there = bare.dropna()
    if not there.head(200).str.contains(r"^\d{1,4}[/.\- ]|^[A-Z][a-z]{2} \d|^\d{8}$").all() or len(there) < 2:
        return None
    sample = list(dict.fromkeys(there.head(20_000)))
    fitting = [p + t for p in PATTERNS for t in TIMES if all(_matches(text, p + t) for text in sample[:50])]
    fitting = [pattern for pattern in fitting if all(_matches(text, pattern) for text in sample)]
    if not fitting:
        return None
    told = _dated(name, bare, lambda text: datetime.strptime(text, fitting[0]), fitting[0])
    if told and len(fitting) > 1:
        told.notes.append(f"dates may be read as {fitting[0]} or {fitting[1]}; the first was taken.")
    return told


def _dated(name: str, bare: pd.Series[Any], read: Callable[[str], Any], pattern: str | None) -> Seen | None:
    words = {text: _tried(read, text) for text in bare.dropna().unique()}
    values = pd.to_datetime(bare.map(words), errors="coerce").astype(DATE)
    misfits = int((values.isna() & bare.notna()).sum())
    if misfits > (1 - MOSTLY) * bare.notna().sum():
        return None
    told = Seen(name, DATE, values, why=f"dates {pattern or 'in ISO 8601'}", dates=pattern, misfits=misfits)
    return _with_misfits(told, bare, "date")


def _numbers(name: str, bare: pd.Series[Any]) -> Seen | None:
    there = bare.dropna()
    values = pd.to_numeric(bare, errors="coerce")
    if (infinite := values.abs() == float("inf")).any():
        values = values.mask(infinite)
    odd = there[values[there.index].isna() & (there.str.lower() != "nan")]
    if (
        len(odd) > (1 - MOSTLY) * len(there)
        or there.str.match(r"[-+]?0\d").any()
        or there.str.fullmatch("0[xX].*").any()
    ):
        return None
    whole = bool(there[~there.index.isin(odd.index)].str.fullmatch(r"-?\d{1,19}").all())
    exact = whole and values.dtype == "int64"
    if whole and not exact and bool((values.abs() > 2**53).any()):
        return None
    if len(odd) and (commas := _commas(name, bare, odd)):
        return commas
    told = Seen(name, "int64" if exact else "float64", values.astype("int64" if exact else "float64"), misfits=len(odd))
    if whole and not exact:
        told.why = "whole numbers; float64 because some are missing" if not len(odd) else "numbers"
    return _with_misfits(told, bare, "number")


def _decimal_commas(name: str, bare: pd.Series[Any]) -> Seen | None:
    """Find numbers with a decimal comma: the digits after it are not always three, or a zero stands before it."""
    there = bare.dropna()
    with_comma = there[there.str.contains(",", regex=False)]
    if not (with_comma.str.match(r"[-+]?0,") | ~with_comma.str.contains(r",\d{3}(?:[,.]|$)")).mean() > 0.1:
        return None
    values = bare.map(lambda text: _tried(decimal_comma, text), na_action="ignore").astype("float64")
    if values.notna().sum() < MOSTLY * len(there):
        return None
    told = Seen(name, "float64", values, why="numbers with a decimal comma", casts=("decimal_comma",))
    told.misfits = int((values.isna() & bare.notna()).sum())
    return _with_misfits(told, bare, "number")


def _commas(name: str, bare: pd.Series[Any], odd: pd.Series[Any]) -> Seen | None:
    """Read plain numbers and those with thousands commas alike; a unit among them is not guessed."""
    plain = {
        text: match for text in odd.unique() if (match := UNIT.fullmatch(text)) is not None and not any(match.groups())
    }
    if not any(_tried(number_from_text, text) is not None for text in plain):
        return None
    with_unit = set(odd.unique()) - set(plain)
    values = bare.mask(bare.isin(with_unit)).astype("object")
    values = values.map(lambda text: _tried(number_from_text, text), na_action="ignore")
    whole = all(isinstance(number, int) for number in values)
    told = Seen(name, "int64" if whole else "float64", values.astype("int64" if whole else "float64"))
    told.why, told.casts = "numbers, some with commas", ("number_from_text",)
    told.misfits = int((told.values.isna() & bare.notna()).sum())
    return _with_misfits(told, bare, "number")


def _units(name: str, bare: pd.Series[Any]) -> Seen | None:
    """Find numbers with a unit, a currency sign or thousands commas: in nearly all rows, of few kinds."""
    there = bare.dropna()
    texts = there.unique()
    if there.str.match(r"0\d").any():  # codes such as postcodes
        return None
    units = {text: (match[1] or match[2]).lower() for text in texts if (match := UNIT.fullmatch(text)) is not None}
    numbers = {text: number for text in units if (number := _tried(number_from_text, text)) is not None}
    values = bare.map(numbers)
    kinds = pd.Series(units, dtype="object")[list(numbers)].value_counts() if numbers else pd.Series(dtype="int64")
    if values.notna().sum() < 0.95 * len(there) or len(set(numbers.values())) < 6 or len(kinds) > 4:
        return None
    whole = not values.isna().any() and all(isinstance(number, int) for number in numbers.values())
    found = values.astype("int64" if whole else "float64")
    unit = ", ".join(kinds.index[kinds.index != ""]) or "commas"
    told = Seen(name, "int64" if whole else "float64", found, casts=("number_from_text",))
    told.why = f"numbers written with {unit}"
    told.misfits = int((values.isna() & bare.notna()).sum())
    if len(kinds[kinds.index != ""]) > 1 or (kinds.index.any() and kinds.get("", 0) > 0.01 * kinds.sum()):
        shares = ", ".join(f"{unit or 'none'} ({count:,})" for unit, count in kinds.items())
        told.notes.append(f"units differ, and `number_from_text` does not convert them: {shares} distinct values.")
    return _with_misfits(told, bare, "number")


def _with_misfits(told: Seen, bare: pd.Series[Any], kind: str) -> Seen:
    if told.misfits:
        odd = bare[told.values.isna() & bare.notna()].value_counts()
        some = ", ".join(repr(text[:30]) for text in odd.index[:4])
        told.notes.append(f"no {kind} in {told.misfits:,} rows ({some}): they are set aside.")
    return told


def _matches(text: str, pattern: str) -> bool:
    return _tried(lambda each: datetime.strptime(each, pattern), text) is not None


def _tried(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        return None
