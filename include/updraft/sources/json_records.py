"""Records of JSON: one line of a file, one message of a topic, one element of a page."""

from __future__ import annotations

import json
from typing import Any

from updraft.model.columns import quoted
from updraft.sources.source import Reject


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its fields, for `json.loads`; raise ValueError for a name that comes twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{quoted(twice)} comes twice in an object")
    return found


def parse_record(place: str, text: str | bytes) -> dict[str, Any] | Reject:
    """Parse an object; a Reject says why a text is none. Bytes that are not UTF-8 become U+FFFD, which no value has."""
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    decoded = decoded.removeprefix("\ufeff")
    try:
        return check_record(place, json.loads(decoded, object_pairs_hook=unique), decoded)
    except (ValueError, RecursionError) as error:
        return Reject(place, {"text": decoded.rstrip("\n")}, f"not JSON: {error}")


def check_record(place: str, value: Any, text: str | None = None) -> dict[str, Any] | Reject:
    """Return a value that is an object, else a Reject with its text."""
    if isinstance(value, dict):
        return value
    shown = json.dumps(value, ensure_ascii=False) if text is None else text.rstrip("\n")
    return Reject(place, {"text": shown}, "not a JSON object")
