"""Casts by rule: how a source's texts become what the suite speaks of. A YAML names them under `read.casts`.

A cast takes text and leaves every other value alone, so that a row which was cast before, and lies in MongoDB in the
suite's types, comes through it unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

from updraft.model.columns import quoted

Cast = Literal["strip", "lower", "number_from_text", "decimal_comma", "boolean_from_text"]

Result = int | float | str | bool | datetime | None


def strip(text: str) -> str | None:
    """Take the spaces around a text away; a text of nothing but spaces is null."""
    return text.strip() or None


def lower(text: str) -> str:
    """Make a text lower case."""
    return text.lower()


def number_from_text(text: str) -> int | float | None:
    """Read the one number in a text, passing over its unit, currency sign and thousands separators; blank is null.

    "23.4 kmpl" is 23.4, "£8,000" is 8000, "14'386.08" (as the Swiss write it) is 14386.08, "5 %" is 5. Two numbers, a
    decimal comma, a multiplier such as "5k" and a negative in brackets are refused.
    """
    if not text.strip():
        return None
    if _PLAIN.fullmatch(text.strip()):
        return float(text)
    found = list(_DIGITS.finditer(text))
    if len(found) != 1:
        raise ValueError(f"{quoted(text)} holds {f'{len(found)} numbers' if found else 'no number'}, expected one")
    digits, before, after = found[0].group().rstrip(".,'\u2019"), text[: found[0].start()], text[found[0].end() :]
    if not _NUMBER.fullmatch(digits) or _ACCOUNTED.fullmatch(text.strip()):
        raise ValueError(f"{quoted(text)} is not plainly a number: expected digits such as 1,234.5")
    if multiplier := _MULTIPLIER.match(after):
        raise ValueError(f"{quoted(text)} counts in {multiplier.group().strip()!r}, expected the number written out")
    if "-" in before and not _SIGNED.fullmatch(before):
        raise ValueError(f"{quoted(text)} may be negative or not")
    number = re.sub("[,'\u2019]", "", digits)
    sign = -1 if "-" in before else 1
    return sign * (float(number) if "." in number else int(number))


def decimal_comma(text: str) -> int | float | None:
    """Read a number whose decimals stand after a comma: "1.234,5" is 1234.5; blank is null."""
    bare = text.strip()
    if bare and not _COMMA.fullmatch(bare):
        raise ValueError(f"{quoted(text)} is no number with a decimal comma, such as 1.234,5")
    number = bare.replace(".", "").replace(",", ".")
    return None if not bare else float(number) if "." in number else int(number)


def unit(text: str) -> str:
    """Return what stands around the number in a text, in lower case."""
    return " ".join(_DIGITS.sub(" ", text).replace("-", " ").lower().split())


def boolean_from_text(text: str) -> bool | None:
    """Read yes, true, y, t, on and 1 as true, and no, false, n, f, off and 0 as false, in any case; blank is null."""
    word = text.strip().lower()
    if word and word not in _WORDS:
        raise ValueError(f"{quoted(text)} is neither yes nor no, expected one of {', '.join(_WORDS)}")
    return _WORDS.get(word)


CASTS: dict[Cast, Callable[[str], Result]] = {
    "strip": strip,
    "lower": lower,
    "number_from_text": number_from_text,
    "decimal_comma": decimal_comma,
    "boolean_from_text": boolean_from_text,
}


def apply(rules: Iterable[Cast], value: object) -> object:
    """Cast a value by rules, in their order, as long as it is text; raise ValueError when one cannot."""
    for rule in rules:
        if isinstance(value, str):
            value = CASTS[rule](value)
    return value


def dated(pattern: str, value: object, *, or_iso: bool = False) -> object:
    """Read a text as a date by a pattern of `strptime`; blank is null. Raises ValueError when it does not match.

    With `or_iso` a date in ISO 8601 is left for the column to read, unless it might be a slip in a pattern that looks
    alike (2026-31-01).
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        iso = _ISO.match(text) if or_iso else None
        if iso and (not pattern.startswith("%Y-") or (iso[1] and "T" not in pattern)):
            return text
        raise ValueError(f"{quoted(value)} is not a date like {pattern}") from None


_ISO = re.compile(r"\d{4}-\d\d-\d\d(T)?", re.ASCII)
_PLAIN = re.compile(r"[-+]?\d+(\.\d+)?[eE][-+]?\d+", re.ASCII)
_DIGITS = re.compile(r"\.?\d[\d.,'\u2019]*")
_NUMBER = re.compile(r"\d*\.\d+|\d+|[1-9]\d{0,2}((,\d{3})+|('\d{3})+|(\u2019\d{3})+)(\.\d+)?", re.ASCII)
_COMMA = re.compile(r"[-+]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?", re.ASCII)
_ACCOUNTED = re.compile(r"\(.*\)")
_SIGNED = re.compile(r"\s*-\W*|\W*-\s*")
_MULTIPLIER = re.compile(r"\s*(k|K|M|mn|mio|bn|lakhs?|lacs?|crores?|cr|thousand|million|billion)\b")
_WORDS = dict.fromkeys(("yes", "true", "y", "t", "on", "1"), True)
_WORDS |= dict.fromkeys(("no", "false", "n", "f", "off", "0"), False)
