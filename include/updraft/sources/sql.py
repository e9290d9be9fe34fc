"""Rows of a table or a query of an SQL database, streamed out of one read-only transaction."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from updraft.addresses import Connections
from updraft.sources.batch_reader import BatchReader
from updraft.sources.by_column import as_column
from updraft.sources.format import Chunk
from updraft.sources.rows import RowConverter
from updraft.sources.source import BadSource, Batch, Extent
from updraft.sources.sql_snapshot import snapshot
from updraft.sources.sql_values import plain_values
from updraft.sources.watermark import Greatest
from updraft.sql_engine import address_of, place_of, sql_engine, translated
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.source_blocks import SQLSource

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, CursorResult, Executable

ROWS = 10_000
# Texts and names in quotes, comments, and whatever else a query consists of.
TOKENS = re.compile(r"""'(?:[^'\\]|\\.|'')*'|"[^"]*"|`[^`]*`|--[^\n]*|/\*.*?\*/|#[^\n]*|\s+|.""", re.DOTALL)
SHOWN = 60  # characters of a query


@contextmanager
def open_sql(settings: SQLSource, case: RowsDefinition, connections: Connections, extent: Extent) -> Iterator[SQLRows]:
    """Open a table or a query as a source of rows."""
    with sql_engine(address_of(settings.connection, connections), reads_only=True) as engine:
        place = place_of(engine)
        with translated(place), snapshot(engine) as connection:
            yield SQLRows(connection, settings, case, extent)


def count_rows(settings: SQLSource, connections: Connections) -> int:
    """Count the rows of a table or of a query's result."""
    import sqlalchemy as sa

    count = sa.select(sa.func.count()).select_from(_from(settings))
    address = address_of(settings.connection, connections)
    with sql_engine(address, reads_only=True) as engine, translated(place_of(engine)), snapshot(engine) as connection:
        return int(connection.execute(count).scalar_one())


def _from(settings: SQLSource) -> Any:
    import sqlalchemy as sa

    if settings.table:
        schema, _, table = settings.table.rpartition(".")
        return sa.table(table, schema=schema or None)
    return sa.text(f"({_query(settings)}\n) AS rows_of_query")  # a comment may stand at its end


def _query(settings: SQLSource) -> str:
    """Return the query without a semicolon at its end, which may have comments after it."""
    query, end = str(settings.query).strip(), None
    for token in TOKENS.finditer(query):
        if end is None and token[0] == ";":
            end = token.start()
        elif not (token[0].isspace() or token[0].startswith((";", "--", "/*", "#"))):
            end = None
    return query[:end].replace(":", r"\:")


class SQLRows:
    """The rows of a table or a query, in the database's order; memory does not grow with them.

    Raises BadSource when there are none, or no column of the suite, BadDatabase when it cannot be read, ConnectionError
    when no server answers.
    """

    is_log = False

    def __init__(self, connection: Connection, settings: SQLSource, case: RowsDefinition, extent: Extent) -> None:
        self._connection, self._settings, self._extent = connection, settings, extent
        self._place = place_of(connection.engine)
        self._greatest = Greatest(settings.watermark, extent.position) if settings.watermark else None
        self._ended = True
        self._result: CursorResult[Any] | None = None
        there = self._names()
        self._reader = BatchReader(self, there, case, textual=False)
        self.columns, self.absent, self.others = self._reader.columns, self._reader.absent, self._reader.others
        converter = RowConverter(case.columns, case.read)
        self._id = next((converter.match_columns(there)[c.name] for c in self.columns if c.name == case.id), None)
        self.total: int | None = extent.limit

    def __str__(self) -> str:
        if self._settings.table:
            return f"SQL table {self._settings.table!r}"
        query = " ".join(str(self._settings.query).split())
        return f"SQL query {query[:SHOWN] + '…' if len(query) > SHOWN else query!r}"

    def provenance(self) -> dict[str, Any]:
        what = {"table": self._settings.table} if self._settings.table else {"query": self._settings.query}
        return {"kind": "sql", "database": self._place, **what}

    def position(self) -> dict[str, Any] | None:
        """Return the watermark; a former read's where a limit may have left out rows below it."""
        if self._greatest is None:
            return None
        return self._greatest.position() if self._ended else dict(self._extent.position or {}) or None

    def batches(self) -> Iterator[Batch]:
        """Yield batches; a row's place is its id, or its number in this read."""
        read, limit = 0, self._extent.limit
        with translated(str(self)):
            result = self._result = self._select()  # is held until the snapshot ends, which knows how to abandon it
            names = list(result.keys())
            if twice := [name for name in self._reader.names if names.count(name) > 1]:
                raise BadSource(f"{self}: column {twice[0]!r} comes more than once; name each by `AS`")
            for rows in result.partitions(ROWS):
                kept = rows if limit is None else rows[: limit - read]
                yield self._batch(names, kept, read)
                read += len(kept)
                if read == limit:
                    break
            self._ended = read != limit
        if not read and not self._extent.position:
            raise BadSource(f"{self}: the {'table' if self._settings.table else 'result'} is empty")

    def _batch(self, names: list[str], rows: Sequence[Any], before: int) -> Batch:
        values = dict(zip(names, zip(*rows, strict=True), strict=True))
        if self._greatest and self._settings.watermark:
            self._greatest.add(values[self._settings.watermark.column], str(self))
        types = {name: column.type for name, column in zip(self._reader.names, self.columns, strict=True)}
        columns = {name: plain_values(values[name], types[name]) for name in types}
        numbers = range(before + 1, before + len(rows) + 1)
        ids = values.get(self._id or "")

        def place(number: int) -> str:
            return f"{self._id} {ids[number - before - 1]}" if ids else f"row {number}"

        return self._reader.read(Chunk(_as_rows(columns), numbers), place=place)

    def _names(self) -> list[str]:
        """List the columns; raise BadSource when the watermark's is none of them."""
        import sqlalchemy as sa

        with translated(str(self)):
            result = self._connection.execute(sa.select(sa.text("*")).select_from(_from(self._settings)).limit(0))
            names = list(result.keys())
            result.close()
        mark = self._settings.watermark
        if mark and mark.column not in names:
            raise BadSource(f"{self}: watermark: no column {mark.column!r}; there are: {', '.join(names)}")
        return names

    def _select(self) -> CursorResult[Any]:
        import sqlalchemy as sa

        wanted = dict.fromkeys(self._reader.names)
        if mark := self._settings.watermark:
            wanted[mark.column] = None
        select: Any = sa.select(*(sa.column(name) for name in wanted)).select_from(_from(self._settings))
        if mark and self._greatest:
            column: ColumnElement[Any] = sa.column(mark.column)
            example = self._first(
                sa.select(column).select_from(_from(self._settings)).where(column.is_not(None)).limit(1)
            )
            start = self._greatest.start(example, str(self))
            if start is not None:  # a row without a value may be new: it is read each time
                select = select.where(sa.or_(column >= start, column.is_(None)))
                return self._execute(select)
        return self._execute(select if self._settings.table else sa.text(_query(self._settings)))  # in its own order

    def _execute(self, statement: Executable) -> CursorResult[Any]:
        return self._connection.execute(statement, execution_options={"yield_per": ROWS})

    def _first(self, select: Executable) -> Any:
        result = self._connection.execute(select)
        value = result.scalar()
        result.close()
        return value


def _as_rows(columns: dict[str, list[Any]]) -> pa.Table | list[dict[str, Any]]:
    """Make a table of the columns; rows where one of them has values of several types."""
    arrays = [as_column(values) for values in columns.values()]
    if all(isinstance(array, pa.ChunkedArray) for array in arrays):
        return pa.table(arrays, names=list(columns))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
