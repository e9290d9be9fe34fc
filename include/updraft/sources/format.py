"""What every kind of file gives: its columns' names, and its rows in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from updraft.sources.source import Reject

Enough = Callable[[list[str]], bool]


@dataclass(frozen=True)
class Chunk:
    """A chunk of a file: rows with their numbers, as a table in the file's own types, and those that are no rows."""

    rows: pa.Table | list[dict[str, Any]]
    numbers: Sequence[int]
    broken: list[Reject] = field(default_factory=list)
    torn: bool = True  # its texts may hold U+FFFD


class Format(Protocol):
    """A reader of one file format."""

    textual: bool
    total: int | None

    def names(self, enough: Enough) -> list[str]:
        """List the columns' names in the file, at least up to where they are enough."""
        ...

    def chunks(self, names: list[str]) -> Iterator[Chunk]:
        """Yield the file's rows in its order, columns by their names in the file."""
        ...
