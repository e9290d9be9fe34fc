"""Which values a column of a database holds exactly, by its type as the database writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from updraft.model.columns import EXACT

Fits = Callable[[Any], bool]
BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "integer": 32, "bigint": 64}
TEXTS = {"tinytext": 255, "text": 65_535, "mediumtext": 2**24 - 1, "longtext": 2**32 - 1}  # bytes, in MySQL
DOUBLES, DECIMALS = ("double", "double precision"), ("numeric", "decimal")
MOST_PLACES = 400  # of a number without bounds
EXACT_DIGITS = 15  # of a float that PostgreSQL makes a numeric of
HASH, HASH_KEY = 64, 80  # characters
BRACKETS = re.compile(r" ?\(([^)]*)\)")


@dataclass(frozen=True)
class Found:
    """A column as the database describes it."""

    type: str
    collation: str | None
    dialect: str

    @property
    def name(self) -> str:
        """The type without its numbers."""
        return BRACKETS.sub("", self.type.lower()).strip()

    @property
    def numbers(self) -> list[int]:
        """What stands in brackets after a type's name: a length, digits, places."""
        match = BRACKETS.search(self.type)
        return [int(each) for each in match[1].split(",") if each.strip().lstrip("-").isdecimal()] if match else []


def holds(found: Found, ours: str) -> Fits | None:
    """Return what tells whether a column holds a value of ours: a type of the suite, "key" or "hash".

    `always` for a type that holds them all, None for one that holds none: of another kind, or unknown.
    """
    return (_in_sqlite if found.dialect == "sqlite" else _FITS[ours])(found, ours)


def always(value: Any) -> bool:
    """Hold every value."""
    return True


def _int(found: Found, _: str) -> Fits | None:
    if bounds := _range(found):
        low, high = bounds
        return always if (low, high) == (-(2**63), 2**63) else lambda value: low <= value < high
    if found.name in DECIMALS:
        whole, places = _digits(found)
        return None if places < 0 else lambda value: abs(value) < whole
    return (lambda value: abs(value) <= EXACT) if found.name in DOUBLES else None


def _float(found: Found, _: str) -> Fits | None:
    if found.name in DOUBLES and not found.numbers:
        return always
    if bounds := _range(found):
        low, high = bounds
        return lambda value: value.is_integer() and low <= value < high
    if found.name in DECIMALS:
        whole, places = _digits(found)
        return lambda value: abs(value) < whole and round(value, places) == value and _is_short(value)
    return None


def _range(found: Found) -> tuple[int, int] | None:
    """Return the least integer of a type, and the first that is too large; None for another type."""
    bits = BITS.get(found.name.removesuffix(" unsigned"))
    if bits is None:
        return None
    return (0, 2**bits) if found.name.endswith(" unsigned") else (-(2 ** (bits - 1)), 2 ** (bits - 1))


def _digits(found: Found) -> tuple[float, int]:
    """Return the first number that is too large for a decimal, and its places behind the point."""
    if not found.numbers:
        return math.inf, MOST_PLACES
    digits, places = [*found.numbers, 0][:2]
    return 10.0 ** (digits - places), places


def _is_short(value: float) -> bool:
    return float(f"{value:.{EXACT_DIGITS}g}") == value


def _text(found: Found, _: str) -> Fits | None:
    if found.name in ("varchar", "character varying"):
        longest = next(iter(found.numbers), None)
        return always if longest is None else lambda value: len(value) <= longest
    if found.dialect == "postgresql":
        return always if found.name == "text" else None
    size = TEXTS.get(found.name)
    return None if size is None else lambda value: len(value.encode()) <= size


def _hash(found: Found, what: str) -> Fits | None:
    fits = _text(found, what)
    return fits if fits and fits("0" * (HASH_KEY if what == "key" else HASH)) else None


def _bool(found: Found, _: str) -> Fits | None:
    return always if found.name == "boolean" or (found.dialect != "postgresql" and _range(found)) else None


def _date(found: Found, _: str) -> Fits | None:
    """Judge a type of dates; one that knows time zones would move them by the session's."""
    if found.name == "date":
        return lambda value: value == datetime(value.year, value.month, value.day)
    if found.name not in ("datetime", "timestamp without time zone"):
        return None
    digits = next(iter(found.numbers), 6 if found.dialect == "postgresql" else 0)
    return always if digits == 6 else lambda value: value.microsecond % 10 ** (6 - digits) == 0


_FITS: dict[str, Callable[[Found, str], Fits | None]] = {
    "int64": _int,
    "float64": _float,
    "str": _text,
    "bool": _bool,
    "datetime64[us]": _date,
    "key": _hash,
    "hash": _hash,
}


def _in_sqlite(found: Found, ours: str) -> Fits | None:
    """Judge by the affinity of a type, which is all that it means: SQLite turns texts into numbers and back."""
    declared = found.type.upper()
    if "INT" not in declared and any(part in declared for part in ("CHAR", "CLOB", "TEXT")):
        return always if ours in ("str", "key", "hash", "datetime64[us]") else None
    if not declared or "BLOB" in declared or ours in ("datetime64[us]", "bool"):
        return always
    if ours in ("str", "key", "hash"):
        return None
    is_real = "INT" not in declared and any(part in declared for part in ("REAL", "FLOA", "DOUB"))
    return (lambda value: abs(value) <= EXACT) if ours == "int64" and is_real else always
