"""Read the service's API keys, and say what is wrong with them, or with its token, without ever telling one."""

from __future__ import annotations

import re
from collections.abc import Mapping

SHORTEST = 16  # characters of a key or a token
NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
KEY = re.compile(r"[!-~]+")  # what a header carries as it is


def parse_keys(text: str) -> dict[str, str]:
    """Read lines `name:key`; blank ones and comments (#) are passed over. ValueError names a line, never a key."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, key = (part.strip() for part in line.partition(":"))
        fault = _line_fault(name, key, found)
        if fault:
            raise ValueError(f"line {number}: {fault}")
        found[name] = key
    if not found:
        raise ValueError("there is none, expected lines 'name:key'")
    return found


def key_error(key: str) -> str | None:
    """Say what is wrong with a key or a token, as the rest of a sentence; None when nothing is."""
    if len(key) < SHORTEST:
        return f"has {len(key)} characters, expected {SHORTEST} or more"
    return None if KEY.fullmatch(key) else "holds a space or what is not ASCII"


def _line_fault(name: str, key: str, found: Mapping[str, str]) -> str | None:
    if not NAME.fullmatch(name) or not key:
        return "expected 'name:key', the name of letters, digits, '.', '_' and '-', 64 at most"
    if fault := key_error(key):
        return f"the key {fault}"
    if name in found:
        return f"{name!r} is named twice"
    return "the key is another's" if key in found.values() else None
