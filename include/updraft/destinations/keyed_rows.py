"""Rows with a key: what destinations take that hold each row once, however often it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from updraft.model.columns import Column

LINES = json.JSONEncoder(sort_keys=True, separators=(",\n", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class KeyedRow:
    """A row, what identifies it, and the hash of its content."""

    key: int | str
    sha256: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Counts:
    """How many of the loaded rows were new, there with another content, and there as they are."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.new + other.new, self.changed + other.changed, self.unchanged + other.unchanged)


@dataclass(frozen=True)
class Cleaned:
    """What is loaded: the cleaned rows' columns, their files, and the column that identifies a row, if any."""

    columns: Sequence[Column]
    parquet: Path
    json_lines: Path
    id: str | None


class Store(Protocol):
    """An opened destination. `size` is the number of rows that one call takes.

    Its methods raise UserError where a person must mend something, ConnectionError where a second try may help.
    """

    name: str
    size: int

    def there(self, rows: Sequence[KeyedRow]) -> Mapping[int | str, str | None]:
        """Return the content hashes of those of the rows that are there, by key."""
        ...

    def write(self, new: Sequence[KeyedRow], changed: Sequence[KeyedRow]) -> None:
        """Write rows, each once, in place of those with the same key; another load may write them at the same time."""
        ...


@runtime_checkable
class WholeStore(Protocol):
    """An opened destination that holds all rows of a load as one, or none: `exists` says whether it has them."""

    name: str
    exists: bool

    def write_all(self) -> None:
        """Write all rows; another load may write them at the same time."""
        ...


# (settings, connections, cleaned) → a context manager of a store.
OpenStore = Callable[..., AbstractContextManager[Store | WholeStore]]


def keyed(rows: Sequence[dict[str, Any]], id_column: str | None, occurrences: Iterable[int]) -> list[KeyedRow]:
    """Give rows their keys: their ids or, without any, the hash of a row's content and how often that came before."""
    hashed = zip(rows, content_hashes(rows), occurrences, strict=False)
    return [
        KeyedRow(f"{sha256}-{occurrence}" if id_column is None else row[id_column], sha256, row)
        for row, sha256, occurrence in hashed
    ]


def content_hashes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Hash the contents of rows with the same columns: canonical JSON, in which a whole float is an integer.

    One text of all rows takes half as long as one for each. No value has a line end in JSON: it separates them here.
    """
    width = len(rows[0]) if rows else 1
    plain = [{name: _canonical(value) for name, value in row.items()} for row in rows]
    values = LINES.encode(plain)[1:-1].split(",\n") if rows else []
    texts = (",".join(values[start : start + width]) for start in range(0, len(values), width))
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def _canonical(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
