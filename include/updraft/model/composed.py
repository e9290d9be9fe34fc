"""Unicode's NFC, in which each way to write an accent is the same text, in time that grows as the text does."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

LONG = 32  # marks in a row: what people write has at most 30 (UAX #15, Stream-Safe Text Format)
MARKS = range(0x300, 0x20000)  # within which all marks are


def is_composed(text: str) -> bool:
    """Whether a text is in NFC."""
    return unicodedata.is_normalized("NFC", text)


def composed(text: str) -> str:
    """Return a text in NFC.

    Python sorts the marks behind a letter by insertion, without letting another thread run: a body of 250 kB would hold
    everything up for half a minute. Those of a long run are sorted before.
    """
    if is_composed(text):
        return text
    return unicodedata.normalize("NFC", _long_run().sub(_sorted, text) if len(text) > LONG else text)


def _sorted(run: re.Match[str]) -> str:
    parts = (run[0][start : start + LONG] for start in range(0, len(run[0]), LONG))
    return "".join(sorted("".join(unicodedata.normalize("NFD", part) for part in parts), key=unicodedata.combining))


@cache
def _long_run() -> re.Pattern[str]:
    marks = "".join(char for char in map(chr, MARKS) if _is_mark(char))
    return re.compile(f"[{marks}]{{{LONG},}}")


def _is_mark(char: str) -> bool:
    """Whether a character is sorted, or consists of some that are."""
    if unicodedata.combining(char):
        return True
    parts = unicodedata.decomposition(char)
    return bool(parts) and unicodedata.combining(unicodedata.normalize("NFD", char)[0]) > 0
