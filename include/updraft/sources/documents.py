"""Documents of MongoDB as rows: its own types as Python's, and fields of documents inside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

ABSENT = object()


def flat_document(document: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return a document's fields, and those that `paths` such as address.city lead to, each under its path.

    A Decimal128 becomes a Decimal (or a NaN), an ObjectId its 24 hexadecimal digits. A field whose own name has dots in
    it goes before the one that it would lead to.
    """
    flat = {name: _plain(value) for name, value in document.items()}
    for path in paths:
        if path not in flat and (value := follow(document, path)) is not ABSENT:
            flat[path] = _plain(value)
    return flat


def follow(value: Any, path: str) -> Any:
    """Return what a path such as address.city leads to; ABSENT where there is nothing."""
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return value


def _plain(value: Any) -> Any:
    from bson import Decimal128, ObjectId

    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return math.nan if number.is_nan() else number
    return str(value) if isinstance(value, ObjectId) else value
