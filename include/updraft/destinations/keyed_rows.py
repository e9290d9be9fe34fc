"""Rows with a key: what destinations take that hold each row once, however often it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from updraft.model.columns import Column


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

    def write(self, rows: Sequence[KeyedRow]) -> None:
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


def keyed(row: dict[str, Any], id_column: str | None, occurrence: int) -> KeyedRow:
    """Give a row its key: its id or, without one, the hash of its content and how often that came before."""
    sha256 = content_hash(row)
    return KeyedRow(f"{sha256}-{occurrence}" if id_column is None else row[id_column], sha256, row)


def content_hash(row: dict[str, Any]) -> str:
    """Hash a row's content: canonical JSON, in which a whole float and the integer are the same number."""
    plain = {name: _canonical(value) for name, value in row.items()}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
