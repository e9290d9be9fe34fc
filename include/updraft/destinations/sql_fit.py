"""Whether the columns of a table that is there hold all values of the rows: what a database would round or cut.

An unknown type holds nothing. Where a type holds some values only, all rows are held against it before the first one
is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from updraft.destinations.keyed_rows import Cleaned
from updraft.destinations.sql_types import Fits, Found, always, holds
from updraft.model.columns import quoted
from updraft.sources.source import CONTENT, KEY
from updraft.sql_engine import BadDatabase

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

READ = 10_000  # rows
# Each gives the name, the type and the collation of a table's columns.
QUERIES = {
    "postgresql": "SELECT attname, format_type(atttypid, atttypmod), collname FROM pg_attribute LEFT JOIN pg_collation "
    "ON pg_collation.oid = attcollation WHERE attrelid = to_regclass(:quoted) AND attnum > 0 AND NOT attisdropped",
    "mysql": "SELECT column_name, column_type, collation_name FROM information_schema.columns "
    "WHERE table_schema = coalesce(:schema, database()) AND table_name = :name",
    "sqlite": "SELECT name, type, NULL FROM pragma_table_info(:name, coalesce(:schema, 'main'))",
}
QUERIES["mariadb"] = QUERIES["mysql"]


def require_fit(connection: Connection, table: Table, cleaned: Cleaned, place: str) -> None:
    """Raise BadDatabase, which names column, type and value, where a column does not hold what the rows have."""
    there = _columns(connection, table)
    checks: dict[str, Fits] = {}
    for column in table.columns:
        found = there[column.name]
        needed = str(column.type.compile(connection.dialect)).partition(" CHARACTER")[0]
        ours = {each.name: each.type for each in cleaned.columns} | {KEY: "key", CONTENT: "hash"}
        fits = holds(found, ours[column.name])
        if fits is None:
            raise BadDatabase(f"{place}: column {column.name!r} is of type {found.type}; the rows need {needed}")
        if column.primary_key and ours[column.name] == "str":
            fits = _and(fits, _tells_apart(column.name, found, place))
        if fits is not always:
            checks[column.name] = fits
    for name, value in _misfits(cleaned, checks):
        raise BadDatabase(
            f"{place}: column {name!r} is of type {there[name].type}, which does not hold {quoted(value)}"
        )


def _columns(connection: Connection, table: Table) -> dict[str, Found]:
    import sqlalchemy as sa

    dialect = connection.dialect
    quoted_name = dialect.identifier_preparer.format_table(table)
    names = {"quoted": quoted_name, "schema": table.schema, "name": table.name}
    query = QUERIES[dialect.name]
    rows = connection.execute(sa.text(query), {name: value for name, value in names.items() if f":{name}" in query})
    return {name: Found(type_, collation, dialect.name) for name, type_, collation in rows}


def _misfits(cleaned: Cleaned, checks: Mapping[str, Fits]) -> Iterator[tuple[str, Any]]:
    """Yield each value that its column does not hold, and the column's name."""
    names = [name for name in checks if name not in (KEY, CONTENT)]
    if not names:
        return
    with pq.ParquetFile(cleaned.parquet) as parquet:
        for batch in parquet.iter_batches(READ, columns=names):
            for name in names:
                values = batch[name].drop_null().to_pylist()
                yield from ((name, value) for value in values if not checks[name](value))


def _and(one: Fits, other: Fits) -> Fits:
    return one if other is always else lambda value: one(value) and other(value)


def _tells_apart(name: str, found: Found, place: str) -> Fits:
    """Return which keys MySQL tells apart; BadDatabase for a collation by which a is A."""
    if found.dialect not in ("mysql", "mariadb"):
        return always
    collation = found.collation or ""
    if not collation.endswith("bin"):
        raise BadDatabase(
            f"{place}: the key {name!r} has the collation {collation}, by which a is A; expected utf8mb4_bin"
        )
    pads = "nopad" not in collation and "0900" not in collation
    return (lambda value: value == value.rstrip(" ")) if pads else always
