"""Load rows into a table of an SQL database, each once: its primary key is the row's key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from updraft.addresses import Address, Connections
from updraft.destinations.keyed_rows import Cleaned, KeyedRow
from updraft.destinations.sql_fit import require_fit
from updraft.destinations.sql_upserts import UPSERTS, key_is_one_of
from updraft.model.columns import Column
from updraft.sources.source import CONTENT, KEY
from updraft.sql_engine import BadDatabase, address_of, place_of, sql_engine, translated
from updraft.usecase.load_blocks import SQLStore

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table
    from sqlalchemy.types import TypeEngine

LONGEST_KEY = 255  # characters of a text that identifies a row
LONGEST_NAME = 63  # bytes in PostgreSQL, which cuts a longer one
STRICT = "STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"
TRIES = 5  # of a batch

T = TypeVar("T")


@contextmanager
def open_sql(settings: SQLStore, connections: Connections, cleaned: Cleaned) -> Iterator[SQLTable]:
    """Open a table; it is created when it is absent."""
    with sql_engine(_strict(address_of(settings.connection, connections)), is_pooled=True) as engine:
        name = f"SQL table {settings.table!r} of {place_of(engine)}"
        with translated(name), engine.connect():
            pass  # from now on the dialect knows whether MySQL is MariaDB
        table = _table(settings.table, cleaned, engine)
        with translated(name):
            _create(table, engine, name)
        with translated(name), engine.connect() as connection:
            require_fit(connection, table, cleaned, name)
        yield SQLTable(engine, table, name, cleaned.id or KEY)


class SQLTable:
    """A table that holds each row once; `key` is the name of its primary key."""

    size = 5_000

    def __init__(self, engine: Engine, table: Table, name: str, key: str) -> None:
        self._engine, self._table, self._key, self.name = engine, table, key, name

    def there(self, rows: Sequence[KeyedRow]) -> dict[int | str, str | None]:
        import sqlalchemy as sa

        key, keys = self._table.c[self._key], [row.key for row in rows]

        def read(connection: Connection) -> dict[int | str, str | None]:
            found = sa.select(key, self._table.c[CONTENT]).where(key_is_one_of(connection, key, keys))
            return {row[0]: row[1] for row in connection.execute(found)}

        return self._retried(read)

    def write(self, new: Sequence[KeyedRow], changed: Sequence[KeyedRow]) -> None:
        """Write rows in the order of their keys, so that two loads wait for each other rather than block each other."""
        ordered = sorted([*new, *changed], key=lambda row: row.key)
        values = [{**row.values, self._key: row.key, CONTENT: row.sha256} for row in ordered]
        upsert = UPSERTS[self._engine.dialect.name]
        self._retried(lambda connection: upsert(connection, self._table, self._key, values))

    def _retried(self, work: Callable[[Connection], T]) -> T:
        """Do something in a transaction, again where another load's stands against it or the connection is lost."""
        for number in range(1, TRIES):
            try:
                return self._once(work)
            except ConnectionError:
                time.sleep(0.05 * 2**number)
        return self._once(work)

    def _once(self, work: Callable[[Connection], T]) -> T:
        with translated(self.name), self._engine.begin() as connection:
            return work(connection)


def _strict(address: Address) -> Address:
    """Let MySQL refuse what it would cut otherwise, whatever its own sql_mode is; an id of 0 is 0."""
    is_mysql = address.url.startswith(("mysql", "mariadb"))
    return replace(address, options={**address.options, "sql_mode": STRICT}) if is_mysql else address


def _table(name: str, cleaned: Cleaned, engine: Engine) -> Table:
    """Describe the table that the rows need; BadDatabase for a database that knows no upsert of ours."""
    import sqlalchemy as sa

    if engine.dialect.name not in UPSERTS:
        raise BadDatabase(f"{place_of(engine)}: expected one of {', '.join(UPSERTS)}")
    schema, _, table = name.rpartition(".")
    text = _texts(engine)
    key = [] if cleaned.id else [sa.Column(KEY, text(LONGEST_KEY), primary_key=True)]
    ours = [(column, column.name == cleaned.id) for column in cleaned.columns]
    columns = [
        sa.Column(column.name, _type(column, text, is_key), primary_key=is_key, autoincrement=False)
        for column, is_key in ours
    ]
    for each in (table, *(column.name for column in columns)):
        if engine.dialect.name == "postgresql" and len(each.encode()) > LONGEST_NAME:
            raise BadDatabase(f"{place_of(engine)}: the name {each!r} has more than {LONGEST_NAME} bytes")
    return sa.Table(table, sa.MetaData(), *key, *columns, sa.Column(CONTENT, text(64)), schema=schema or None)


def _texts(engine: Engine) -> Callable[[int | None], TypeEngine[Any]]:
    """Return what makes the type of texts of a length; in MySQL one that tells a from A, á and a with a space after it.

    Keys have to.
    """
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql

    if engine.dialect.name in ("mysql", "mariadb"):
        collation = "utf8mb4_nopad_bin" if getattr(engine.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
        binary = {"charset": "utf8mb4", "collation": collation}
        return lambda length: mysql.VARCHAR(length, **binary) if length else mysql.LONGTEXT(**binary)
    return lambda length: sa.Text()


def _type(column: Column, text: Callable[[int | None], TypeEngine[Any]], is_key: bool) -> TypeEngine[Any]:
    import sqlalchemy as sa
    from sqlalchemy.dialects import mysql

    if column.type == "str":
        return text(LONGEST_KEY if is_key else None)
    types: dict[str, TypeEngine[Any]] = {
        "int64": sa.BigInteger(),
        "float64": sa.Double(),
        "bool": sa.Boolean(),
        "datetime64[us]": sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"),
    }
    return types[column.type]


def _create(table: Table, engine: Engine, name: str) -> None:
    """Create the table when it is absent, else check that it has the columns and the key that the rows need."""
    import sqlalchemy as sa

    def exists() -> bool:
        return sa.inspect(engine).has_table(table.name, schema=table.schema)

    if not exists():
        try:
            with translated(name):
                table.create(engine)
        except BadDatabase:
            if not exists():  # else another load has created it at the same time
                raise
    with engine.connect() as connection:  # SQLAlchemy's inspection garbles a name with a backtick in MySQL
        columns = set(connection.execute(sa.select(sa.text("*")).select_from(table).limit(0)).keys())
    if missing := [column.name for column in table.columns if column.name not in columns]:
        raise BadDatabase(f"{name}: has no column {', '.join(map(repr, missing))}: it was not made for these rows")
    key = sa.inspect(engine).get_pk_constraint(table.name, schema=table.schema)["constrained_columns"]
    expected = [column.name for column in table.primary_key.columns]
    if key != expected:
        found = ", ".join(key) or "missing"
        raise BadDatabase(f"{name}: its primary key is {found}; expected {', '.join(expected)}")
