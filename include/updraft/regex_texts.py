"""Texts that hold a regular expression, out of Python's own parse of it; the same draws, the same texts."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip  # what `re` itself compiles from

from updraft.errors import UserError

ALPHABET = string.ascii_letters + string.digits + " -_.,:/"
MORE = 6  # repeats beyond the least, where there is no end to them
TRIES = 20  # for each text that is wanted: some may be alike, or be ruled out by a look ahead
CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda sign: sign.isalnum() or sign == "_",
}


def matching_texts(pattern: str, count: int, random: Random) -> list[str]:
    """Make up to `count` different texts that `pattern` is found in; UserError when none could be made."""
    compiled, parsed = re.compile(pattern), list(parser.parse(pattern))
    found: dict[str, None] = {}
    for _ in range(TRIES * count):
        text = _Writer(random).text(parsed)
        if compiled.search(text):
            found[text] = None
        if len(found) == count:
            break
    if not found:
        told = "name some under demo.columns"
        raise UserError(f"no text could be made up for the pattern {pattern!r}; {told}")
    return list(found)


class _Writer:
    """Writes one text; remembers what its groups became."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._groups: dict[int | None, str] = {}

    def text(self, parts: Iterable[Any]) -> str:
        return "".join(self._part(code.name, value) for code, value in parts)

    def _part(self, code: str, value: Any) -> str:
        match code:
            case "LITERAL":
                return chr(value)
            case "ANY":
                return self._random.choice(string.ascii_lowercase)
            case "NOT_LITERAL":
                return self._random.choice(ALPHABET.replace(chr(value), ""))
            case "IN":
                return self._random.choice(_signs([(item.name, told) for item, told in value]))
            case "BRANCH":
                return self.text(self._random.choice(value[1]))
            case "SUBPATTERN":
                self._groups[value[0]] = self.text(value[-1])
                return self._groups[value[0]]
            case "ATOMIC_GROUP":
                return self.text(value)
            case "GROUPREF":
                return self._groups.get(value, "")
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                least, most, repeated = value
                times = self._random.randint(least, min(int(most), least + MORE))
                return "".join(self.text(repeated) for _ in range(times))
        return ""  # anchors, and what looks ahead or back: `matching_texts` drops texts that they rule out


def _signs(items: list[tuple[str, Any]]) -> list[str]:
    """List the signs of a class such as [a-z_]: of the alphabet, or else the ones it names itself."""
    negated = items[0][0] == "NEGATE"
    found = [sign for sign in ALPHABET if any(_holds(code, value, sign) for code, value in items) != negated]
    own = [chr(value if code == "LITERAL" else value[0]) for code, value in items if code in ("LITERAL", "RANGE")]
    return found or own or [" "]


def _holds(code: str, value: Any, sign: str) -> bool:
    if code == "LITERAL":
        return ord(sign) == int(value)
    if code == "RANGE":
        return bool(value[0] <= ord(sign) <= value[1])
    if code == "CATEGORY":
        name = str(value.name)
        return CATEGORIES[name.replace("_NOT_", "_")](sign) != ("_NOT_" in name)
    return False
