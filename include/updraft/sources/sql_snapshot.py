"""One read-only transaction of a database, in which all that is read is of the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

MYSQL = (
    "SET SESSION net_write_timeout = 600",  # seconds that the server waits for a slow reader
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
STATEMENTS = {"mysql": MYSQL, "mariadb": MYSQL, "sqlite": ("PRAGMA query_only = ON", "BEGIN")}


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that cannot write and ends without a commit; results are streamed.

    PostgreSQL, MySQL, MariaDB and SQLite refuse to write in it; with other databases it is only rolled back.
    """
    backend = engine.dialect.name
    options: dict[str, Any] = {"stream_results": True}
    if backend == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    connection = engine.connect().execution_options(**options)
    try:
        for statement in STATEMENTS.get(backend, ()):
            connection.exec_driver_sql(statement)
        if backend == "postgresql":
            _read_odd_dates_as_text(connection)
        yield connection
    finally:
        if not connection.invalidated:
            _abandon(connection)
            connection.invalidate()
        connection.close()


def _abandon(connection: Connection) -> None:
    """Let PyMySQL forget a result that was not read to its end: it would read all of it before it closes."""
    unread: Any = getattr(connection.connection.driver_connection, "_result", None)
    if getattr(unread, "unbuffered_active", False):
        unread.unbuffered_active = False


def _read_odd_dates_as_text(connection: Connection) -> None:
    """Give dates that Python does not have (infinity, 44 BC) as text: they are those of a row that does not fit."""
    from psycopg import DataError
    from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

    adapters = connection.connection.driver_connection.adapters  # type: ignore[union-attr]
    for name, loader in (("date", DateLoader), ("timestamp", TimestampLoader), ("timestamptz", TimestamptzLoader)):

        class Lenient(loader):  # type: ignore[misc, valid-type]
            def load(self, data: Any) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode()

        adapters.register_loader(name, Lenient)
