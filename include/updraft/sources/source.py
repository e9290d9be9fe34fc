"""What every kind of source gives: batches of rows that fit, and the rows that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from updraft.errors import UserError
from updraft.model.columns import Column

Progress = Callable[[int, int | None], None]


KEY, CONTENT = "_key", "_sha256"  # beside each row that an ETL loaded: its key where the store has none, its hash


class BadSource(UserError):
    """The source cannot give rows, and trying again would not help: empty, missing, refused, unreadable."""


@dataclass(frozen=True)
class Reject:
    """A row that does not fit: where it lies (`_id` or row), what was found, why it was refused."""

    place: str
    row: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows that fit, as a table of the suite's columns, the rows set aside, and how many NaN were read as null.

    `units` are those of the numbers read from text, by column, in this batch and earlier ones. `slow` are the columns
    that had to be read value by value. `rows` are the numbers of the table's rows in their file, which `file` names
    where there are several.
    """

    table: pa.Table
    rejects: list[Reject] = field(default_factory=list)
    nans: int = 0
    units: dict[str, set[str]] = field(default_factory=dict)
    slow: tuple[str, ...] = ()
    rows: Sequence[int] = ()
    file: str = ""


@dataclass(frozen=True)
class Extent:
    """How much of a source to read: at most `limit` rows, of those after `position`, a former read's.

    A source that always gives all of its rows does not look at the position.
    """

    limit: int | None = None
    position: Mapping[str, Any] | None = None


EVERYTHING = Extent()


class Source(Protocol):
    """A place that rows come from.

    `columns` are those of the suite that it has at all, `absent` the others; `others` are its own that no suite names.
    In a log (`is_log`), a row takes the place of an earlier one with the same id.
    """

    is_log: bool
    columns: list[Column]
    absent: list[str]
    others: list[str]
    total: int | None

    def batches(self) -> Iterator[Batch]: ...
    def __str__(self) -> str: ...

    def provenance(self) -> dict[str, Any]:
        """Say where the rows came from, for the dataset's manifest: JSON, no secrets, known after the last batch."""
        ...

    def position(self) -> dict[str, Any] | None:
        """Say where the next read begins, known after the last batch; None where each read takes all rows."""
        ...
