"""What every kind of file gives: its columns' names, and its rows in parts; and a file itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from updraft.sources.source import Reject

ANY = "anything"  # where a column may be of each type: text, or nothing but nulls
Enough = Callable[[list[str]], bool]


@dataclass(frozen=True)
class LocalFile:
    """A file on this machine, or the local copy of one that lies elsewhere: messages call it by its `name`.

    Its `ending`, which may be a whole file name, tells its format and whether it is packed.
    """

    path: Path
    name: str
    ending: str

    @classmethod
    def at(cls, path: Path) -> LocalFile:
        """Take a file by its path, which is its name, too."""
        return cls(path, str(path), path.name)

    def __str__(self) -> str:
        return f"file {self.name!r}"

    def is_empty(self) -> bool:
        """Whether there is no byte in it, unpacked; what cannot be unpacked is not empty."""
        try:
            with self.open() as file:
                return not file.read(1)
        except (OSError, pa.ArrowException):
            return False

    def open(self) -> pa.NativeFile:
        """Open the file's bytes, unpacked."""
        return pa.input_stream(str(self.path), compression="gzip" if self.ending.lower().endswith(".gz") else None)


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

    @property
    def types(self) -> Mapping[str, str] | None:
        """What each column holds, in a word; None where rows may leave columns out."""
        ...

    def names(self, enough: Enough) -> list[str]:
        """List the columns' names in the file, at least up to where they are enough."""
        ...

    def chunks(self, names: list[str]) -> Iterator[Chunk]:
        """Yield the file's rows in its order, columns by their names in the file."""
        ...
