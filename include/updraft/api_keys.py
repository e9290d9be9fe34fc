"""Parse and validate the service's API keys, and its token; no message repeats one."""

from __future__ import annotations

import re
from collections.abc import Mapping

MIN_LENGTH = 16  # characters of a key or a token
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
KEY = re.compile(r"[!-~]+")  # printable ASCII: what an HTTP header carries unencoded


def parse_keys(text: str) -> dict[str, str]:
    """Parse lines `name:key`, ignoring blank lines and comments (#). ValueError names a line, never a key."""
    keys: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, key = (part.strip() for part in line.partition(":"))
        if error := _line_error(name, key, keys):
            raise ValueError(f"line {number}: {error}")
        keys[name] = key
    if not keys:
        raise ValueError("there is none, expected lines 'name:key'")
    return keys


def key_error(key: str) -> str | None:
    """Return what is wrong with a key or a token, as the predicate of a sentence; None if it is valid."""
    if len(key) < MIN_LENGTH:
        return f"has {len(key)} characters, expected {MIN_LENGTH} or more"
    return None if KEY.fullmatch(key) else "contains a space or a character that is not ASCII"


def _line_error(name: str, key: str, keys: Mapping[str, str]) -> str | None:
    if not NAME.fullmatch(name) or not key:
        return "expected 'name:key', the name of letters, digits, '.', '_' and '-', 64 at most"
    if error := key_error(key):
        return f"the key {error}"
    if name in keys:
        return f"duplicate name {name!r}"
    return "the key is already another name's" if key in keys.values() else None
