"""Generate texts that match a regular expression, from Python's own parse of it; deterministic by seed."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from re import _parser as parser  # type: ignore[attr-defined]  # isort: skip  # what `re` itself compiles from

from updraft.errors import UserError

ALPHABET = string.ascii_letters + string.digits + " -_.,:/"
EXTRA_REPEATS = 6  # beyond the minimum of a quantifier such as + or {2,}
ATTEMPTS = 20  # for each text: some are duplicates, or ruled out by a lookaround
CATEGORIES: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda char: char.isalnum() or char == "_",
}


def matching_texts(pattern: str, count: int, random: Random) -> list[str]:
    """Generate up to `count` different texts in which `pattern` is found; UserError if none could be generated."""
    compiled, parsed = re.compile(pattern), list(parser.parse(pattern))
    texts: dict[str, None] = {}
    for _ in range(ATTEMPTS * count):
        text = _Generator(random).text(parsed)
        if compiled.search(text):
            texts[text] = None
        if len(texts) == count:
            break
    if not texts:
        raise UserError(f"no text could be generated for the pattern {pattern!r}; list some under demo.columns")
    return list(texts)


class _Generator:
    """Generates one text; remembers its groups for back references."""

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
                return self._random.choice(_characters([(item.name, argument) for item, argument in value]))
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
                times = self._random.randint(least, min(int(most), least + EXTRA_REPEATS))
                return "".join(self.text(repeated) for _ in range(times))
        return ""  # anchors and lookarounds: `matching_texts` drops texts that they rule out


def _characters(items: list[tuple[str, Any]]) -> list[str]:
    """List the characters of a class such as [a-z_]: those in ALPHABET, or else those that the class itself lists."""
    negated = items[0][0] == "NEGATE"
    matching = [char for char in ALPHABET if any(_matches(code, value, char) for code, value in items) != negated]
    listed = [chr(value if code == "LITERAL" else value[0]) for code, value in items if code in ("LITERAL", "RANGE")]
    return matching or listed or [" "]


def _matches(code: str, value: Any, char: str) -> bool:
    if code == "LITERAL":
        return ord(char) == int(value)
    if code == "RANGE":
        return bool(value[0] <= ord(char) <= value[1])
    if code == "CATEGORY":
        name = str(value.name)
        return CATEGORIES[name.replace("_NOT_", "_")](char) != ("_NOT_" in name)
    return False
