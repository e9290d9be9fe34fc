"""What the columns of a file contain: numbers, dates or text, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pandas as pd

from updraft.model.casts import Cast, decimal_comma, number_from_text
from updraft.model.columns import DATE, Column, Type

Role = Literal["target", "id", "ignored", "text", "categorical", "feature"]
# A column is of numbers or dates when this share of its values are; the rest are misfits, such as "n/a". With a lower
# share it is rather text of which some values happen to be numbers.
MOSTLY = 0.8
# Numbers with a unit must pass a higher bar, because categories such as "2 doors" look like them: nearly all values
# must parse, with few units, and with more different numbers than such a category has.
MOSTLY_WITH_UNIT, MAX_UNITS, MIN_NUMBERS_WITH_UNIT = 0.95, 4, 6
# A thousands comma has three digits after it, a decimal comma seldom. More than this share of other commas is no typo.
DECIMAL_COMMAS = 0.1
MIXED_UNITS = 0.01  # numbers without the unit that the others have: up to this share it was probably forgotten
UNIT = re.compile(
    r"\s*([£$€¥₹]|Rs\.?|USD|EUR|GBP|INR|CHF)?\s*[-+]?[\d.,]+(?:['\u2019]\d{3}(?!\d)[\d.,]*)*\s*([A-Za-z%°/²³\"']{0,12})\s*"
)
PATTERNS = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y")
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
MAX_DIGITS = 4000  # that Python converts in any case
UTC = (" UTC", " GMT", "UTC", " Z")  # after a time; of other zones a name says too little (EST, IST)
ALL_PATTERNS = [
    *(date + time for date in PATTERNS for time in TIMES),
    *(date + time + zone for date in (*PATTERNS, "%Y-%m-%d") for time in TIMES if time for zone in UTC),
    *(f"%Y-%m-%d{time}" for time in TIMES[3:]),
]
# Digits and what stands between them in numbers and dates: a column of these is no column of words.
NUMBER_LIKE = re.compile(r"[^\w\s]?\s?\d[\d\s.,:/'\u2019+-]*(\s?[A-Za-z]{1,4})?(\s?\d[\d\s.,:/+-]*)?")


@dataclass
class ColumnProfile:
    """A column's guessed type, its values in that type (null where they do not fit), its role, and the reasons."""

    name: str
    type: Type
    values: pd.Series[Any]
    role: Role = "feature"
    why: str = ""
    casts: tuple[Cast, ...] = ()
    dates: str | None = None
    misfits: int = 0
    number_like: bool = False  # text that looks like numbers or dates, and could not be read as either
    notes: list[str] = field(default_factory=list)

    @property
    def nulls(self) -> float:
        """Share of the values that are null."""
        return float(self.values.isna().mean())

    @property
    def distinct(self) -> int:
        """Number of distinct values."""
        return int(self.values.nunique())

    @property
    def whole(self) -> bool:
        """Whether it is a column of whole numbers."""
        return self.type == "int64" or (self.type == "float64" and bool((self.values.dropna() % 1 == 0).all()))

    def counts(self) -> pd.Series[int]:
        """Return the rows of each value, most common first."""
        return self.values.value_counts()


def profile_column(name: str, values: pd.Series[Any], textual: bool) -> ColumnProfile | None:
    """Guess a column's type; None when it is empty, or contains what no suite's type can hold."""
    if values.dropna().empty:
        return None
    kind = pd.api.types.infer_dtype(values, skipna=True)
    if kind == "string":
        return _profile_text(name, values, textual)
    if kind == "boolean":
        if values.isna().any():
            return None
        return ColumnProfile(name, "bool", values.astype("bool"), why="true or false")
    if kind in ("integer", "floating", "mixed-integer-float", "decimal"):
        return _profile_numbers(name, values, whole=kind == "integer" and not values.isna().any())
    if kind in ("datetime64", "datetime", "date"):
        dates = pd.to_datetime(values, utc=True).dt.tz_localize(None).astype(DATE)
        return ColumnProfile(name, DATE, dates, why="dates")
    return None


def _profile_numbers(name: str, values: pd.Series[Any], whole: bool) -> ColumnProfile | None:
    try:
        numbers = values.astype("int64" if whole else "float64")
    except OverflowError:
        return None
    odd = numbers.abs() == float("inf")
    if not whole and values.dtype == object:
        odd |= values.map(_is_inexact)
    if odd.sum() > (1 - MOSTLY) * len(values):
        return None
    fit = numbers.mask(odd) if odd.any() else numbers
    profile = ColumnProfile(name, "int64" if whole else "float64", fit, misfits=int(odd.sum()))
    return _with_misfits(profile, values.astype("str"), "finite number that a float holds exactly")


def _profile_text(name: str, values: pd.Series[Any], textual: bool) -> ColumnProfile:
    """Guess what texts mean. In a text file "12" is a number; in JSON and Parquet, which have numbers, it is text."""
    stripped = values.str.strip()
    stripped = stripped.where(stripped != "")
    guesses: list[Callable[..., ColumnProfile | None]] = [_iso_dates, _decimal_commas, _numbers_with_unit, _dates]
    if textual:
        guesses = [_booleans, _iso_dates, _decimal_commas, _numbers, _numbers_with_unit, _dates]
    for guess in guesses:
        if guessed := guess(name, stripped):
            return guessed
    padded = bool((values.dropna() != values.dropna().str.strip()).any())
    texts = stripped if padded else values
    profile = ColumnProfile(name, "str", texts.astype("str"), casts=("strip",) if padded else ())
    profile.values = profile.values.where(texts.notna())
    if _looks_like_numbers(stripped):
        example = stripped.dropna().iloc[0]
        profile.number_like = True
        profile.notes.append(
            f"values such as {example[:30]!r} look like numbers or dates and were not understood: text."
        )
    return profile


def _looks_like_numbers(stripped: pd.Series[Any]) -> bool:
    """Tell whether texts that are no words fell through all guesses; codes of digits alone (postcodes) did not."""
    texts = pd.Series(stripped.dropna().unique()[:1000])
    like = texts.str.fullmatch(NUMBER_LIKE) & ~texts.str.fullmatch(r"\d+")
    return len(texts) >= MIN_NUMBERS_WITH_UNIT and bool(like.mean() > MOSTLY)


def _booleans(name: str, stripped: pd.Series[Any]) -> ColumnProfile | None:
    words = {"true", "false"}
    if stripped.isna().any() or not set(stripped.head(1000).str.lower()) <= words:  # which most columns end at
        return None
    if not set(stripped.str.lower()) <= words:
        return None
    return ColumnProfile(name, "bool", stripped.str.lower() == "true", why="true or false")


def _iso_dates(name: str, stripped: pd.Series[Any]) -> ColumnProfile | None:
    present = stripped.dropna()
    if not present.head(1000).str.match(r"\d{4}-\d\d-\d\d").mean() > MOSTLY:
        return None
    return _parse_dates(name, stripped, Column(name=name, type=DATE).convert, None)


def _dates(name: str, stripped: pd.Series[Any]) -> ColumnProfile | None:
    """Find a pattern that matches all dates; where day and month are ambiguous, the day comes first."""
    present = stripped.dropna()
    if not present.head(200).str.contains(r"^\d{1,4}[/.\- ]|^[A-Z][a-z]{2} \d|^\d{8}$").all() or len(present) < 2:
        return None
    sample = list(dict.fromkeys(present.head(20_000)))
    # Most patterns fail on the first values; only those that pass are worth the whole sample.
    matching = [pattern for pattern in ALL_PATTERNS if all(_matches(text, pattern) for text in sample[:50])]
    matching = [pattern for pattern in matching if all(_matches(text, pattern) for text in sample)]
    if not matching:
        return None
    profile = _parse_dates(name, stripped, lambda text: datetime.strptime(text, matching[0]), matching[0])
    if profile and len(matching) > 1:
        profile.notes.append(f"dates match {matching[0]} and {matching[1]}; the first was chosen.")
    return profile


def _parse_dates(
    name: str, stripped: pd.Series[Any], parse: Callable[[str], Any], pattern: str | None
) -> ColumnProfile | None:
    parsed = {text: _try_parse(parse, text) for text in stripped.dropna().unique()}
    values = pd.to_datetime(stripped.map(parsed), errors="coerce").astype(DATE)
    misfits = int((values.isna() & stripped.notna()).sum())
    if misfits > (1 - MOSTLY) * stripped.notna().sum():
        return None
    why = f"dates {pattern or 'in ISO 8601'}"
    profile = ColumnProfile(name, DATE, values, why=why, dates=pattern, misfits=misfits)
    return _with_misfits(profile, stripped, "date")


def _numbers(name: str, stripped: pd.Series[Any]) -> ColumnProfile | None:
    present = stripped.dropna()
    values = pd.to_numeric(stripped, errors="coerce")
    if (infinite := values.abs() == float("inf")).any():
        values = values.mask(infinite)
    misfits = present[values[present.index].isna() & (present.str.lower() != "nan")]
    if (
        len(misfits) > (1 - MOSTLY) * len(present)
        or present.str.match(r"[-+]?0\d").any()  # postcodes, phone numbers
        or present.str.fullmatch("0[xX].*").any()
    ):
        return None
    numbers = present[~present.index.isin(misfits.index)]
    whole = bool(numbers.str.fullmatch(r"-?\d+").all())
    exact = whole and values.dtype == "int64"
    if not exact and (values.abs() >= 2**53).any():
        large = numbers[numbers.str.fullmatch(r"[-+]?\d{16,}")]
        inexact = large[large.map(_is_inexact).astype(bool)]
        if whole or len(inexact) > (1 - MOSTLY) * len(present):
            return None  # float64 cannot hold them: rather text
        misfits = pd.concat([misfits, inexact])
        values = values.mask(values.index.isin(inexact.index))
    if len(misfits) and (profile := _thousands_commas(name, stripped, misfits)):
        return profile
    type_: Type = "int64" if exact else "float64"
    profile = ColumnProfile(name, type_, values.astype(type_), misfits=len(misfits))
    if whole and not exact:
        profile.why = "whole numbers; float64 because some are missing" if not len(misfits) else "numbers"
    return _with_misfits(profile, stripped, "number")


def _decimal_commas(name: str, stripped: pd.Series[Any]) -> ColumnProfile | None:
    """Find numbers with a decimal comma: not always three digits after it, or a zero before it."""
    present = stripped.dropna()
    with_comma = present[present.str.contains(",", regex=False)]
    decimal = with_comma.str.match(r"[-+]?0,") | ~with_comma.str.contains(r",\d{3}(?:[,.]|$)")
    if not decimal.mean() > DECIMAL_COMMAS:
        return None
    values = stripped.map(lambda text: _try_parse(decimal_comma, text), na_action="ignore").astype("float64")
    if values.notna().sum() < MOSTLY * len(present):
        return None
    profile = ColumnProfile(name, "float64", values, why="numbers with a decimal comma", casts=("decimal_comma",))
    profile.misfits = int((values.isna() & stripped.notna()).sum())
    return _with_misfits(profile, stripped, "number")


def _thousands_commas(name: str, stripped: pd.Series[Any], misfits: pd.Series[Any]) -> ColumnProfile | None:
    """Parse plain numbers and those with thousands commas alike; misfits with a unit stay misfits."""
    without_unit = {
        text for text in misfits.unique() if (match := UNIT.fullmatch(text)) is not None and not any(match.groups())
    }
    if not any(_try_parse(number_from_text, text) is not None for text in without_unit):
        return None
    with_unit = set(misfits.unique()) - without_unit
    values = stripped.mask(stripped.isin(with_unit)).astype("object")
    values = values.map(lambda text: _try_parse(number_from_text, text), na_action="ignore")
    type_: Type = "int64" if all(isinstance(number, int) for number in values) else "float64"
    profile = ColumnProfile(name, type_, values.astype(type_), why="numbers, some with commas")
    profile.casts = ("number_from_text",)
    profile.misfits = int((profile.values.isna() & stripped.notna()).sum())
    return _with_misfits(profile, stripped, "number")


def _numbers_with_unit(name: str, stripped: pd.Series[Any]) -> ColumnProfile | None:
    """Find numbers with a unit, a currency sign or thousands commas."""
    present = stripped.dropna()
    if present.str.match(r"0\d|\d{16,}$").any():  # codes such as postcodes, and ids
        return None
    texts = present.unique()
    units = {text: (match[1] or match[2]).lower() for text in texts if (match := UNIT.fullmatch(text)) is not None}
    numbers = {text: number for text in units if (number := _try_parse(number_from_text, text)) is not None}
    values = stripped.map(numbers)
    kinds = pd.Series(units, dtype="object")[list(numbers)].value_counts() if numbers else pd.Series(dtype="int64")
    if (
        values.notna().sum() < MOSTLY_WITH_UNIT * len(present)
        or len(set(numbers.values())) < MIN_NUMBERS_WITH_UNIT
        or len(kinds) > MAX_UNITS
    ):
        return None
    whole = not values.isna().any() and all(isinstance(number, int) for number in numbers.values())
    type_: Type = "int64" if whole else "float64"
    named = kinds[kinds.index != ""]
    profile = ColumnProfile(name, type_, values.astype(type_), casts=("number_from_text",))
    profile.why = f"numbers written with {', '.join(named.index) or 'commas or apostrophes'}"
    profile.misfits = int((values.isna() & stripped.notna()).sum())
    if len(named) > 1 or (len(named) and kinds.get("", 0) > MIXED_UNITS * kinds.sum()):
        shares = ", ".join(f"{unit or 'none'} ({count:,})" for unit, count in kinds.items())
        profile.notes.append(f"units differ, and `number_from_text` does not convert them: {shares} distinct values.")
    return _with_misfits(profile, stripped, "number")


def _with_misfits(profile: ColumnProfile, stripped: pd.Series[Any], kind: str) -> ColumnProfile:
    """Add a note about values that do not fit the type: their rows will be quarantined."""
    if profile.misfits:
        counts = stripped[profile.values.isna() & stripped.notna()].value_counts()
        examples = ", ".join(repr(text[:30]) for text in counts.index[:4])
        profile.notes.append(f"no {kind} in {profile.misfits:,} rows ({examples}): they are quarantined.")
    return profile


def _is_inexact(value: object) -> bool:
    """Tell whether a whole number changes when it becomes a float."""
    if isinstance(value, str):
        value = int(value) if len(value) < MAX_DIGITS else 10**MAX_DIGITS
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    try:
        return int(float(value)) != value
    except OverflowError:
        return True


def _matches(text: str, pattern: str) -> bool:
    return _try_parse(lambda text: datetime.strptime(text, pattern), text) is not None


def _try_parse(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        return None
