"""Addresses of SQL databases → SQLAlchemy engines, and the errors of their drivers in one line each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from updraft.addresses import Address, Connections, variable_of
from updraft.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy.exc import DBAPIError

DEFAULT = "sql_default"
EXPECTED = (
    "expected a URL such as postgresql://user:password@host/database or mysql://…, with / : @ in user and password "
    "as %2F %3A %40"
)
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
CONNECT_SECONDS = 10
# PostgreSQL's SQLSTATE or MySQL's number. PostgreSQL's refusals at login have a text alone.
LOGIN_REFUSED = {"28P01", "28000", 1045, 1698}
NO_DATABASE = {"3D000", 1044, 1049}
NOT_NOW = {"57P01", "57P02", "57P03", "53300", "40001", "40P01", "55P03", 1040, 1203, 1205, 1213}
AT_LOGIN = re.compile(r"FATAL: +(?:(?P<login>.*authentication failed|no pg_hba|role )|(?P<database>database ))")


class BadDatabase(UserError):
    """A database cannot be used, and trying again would not help: its address, login, name, or what was asked of it."""


def address_of(connection: str, connections: Connections) -> Address:
    """Look up a database; the default connection's environment variable is SQL_URL."""
    return connections(connection, "SQL_URL" if connection == DEFAULT else variable_of(connection))


@contextmanager
def sql_engine(address: Address, *, reads_only: bool = False, is_pooled: bool = False) -> Iterator[Engine]:
    """Make an engine for an address, for a while; nothing is contacted yet. Raises BadDatabase.

    A file of SQLite is created where it is absent, but not by what `reads_only`. One that `is_pooled` keeps a
    connection for the next transaction.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool, QueuePool

    url = _read_only(_url(address)) if reads_only else _url(address)
    options = dict(address.options)
    if url.get_backend_name() in ("postgresql", "mysql", "mariadb"):
        options.setdefault("connect_timeout", CONNECT_SECONDS)
    try:
        pool = QueuePool if is_pooled else NullPool
        engine = create_engine(url, poolclass=pool, connect_args=options, hide_parameters=True)
    except (NoSuchModuleError, ImportError):
        raise BadDatabase(f"{address.origin}: no driver for {url.drivername}:// is installed") from None
    except (ArgumentError, TypeError):
        raise BadDatabase(f"{address.origin}: {EXPECTED}") from None
    try:
        yield engine
    finally:
        engine.dispose()


def place_of(engine: Engine) -> str:
    """Name a database without its login."""
    url = engine.url
    host = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    database = url.database or ""
    database = unquote(database.removeprefix("file:")) if url.query.get("uri") else database
    return f"{url.get_backend_name()}://{host}/{database}"


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn the errors of drivers into one line: BadDatabase where trying again is no use, else ConnectionError."""
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        yield
    except DBAPIError as error:
        raise _sentence(place, error) from None
    except SQLAlchemyError as error:
        raise BadDatabase(f"{place}: {' '.join(str(error).split())}") from None


def _sentence(place: str, error: DBAPIError) -> Exception:
    from sqlalchemy.exc import OperationalError

    cause = error.orig
    text, code = _text(cause), _code(cause)
    at_login = AT_LOGIN.search(str(cause)) if code is None else None
    if code in LOGIN_REFUSED or (at_login and at_login["login"]):
        return BadDatabase(f"{place}: the login is refused: {text}")
    if code in NO_DATABASE or (at_login and at_login["database"]):
        return BadDatabase(f"{place}: no such database for this login: {text}")
    if code is None:
        is_transient = isinstance(error, OperationalError) or error.connection_invalidated
    else:
        is_transient = code in NOT_NOW or str(code).startswith("08") or (code if isinstance(code, int) else 0) >= 2000
    if "sqlite" in type(cause).__module__:
        is_transient = "locked" in text
    return ConnectionError(f"{place}: no connection: {text}") if is_transient else BadDatabase(f"{place}: {text}")


def _code(cause: BaseException | None) -> str | int | None:
    first = next(iter(getattr(cause, "args", ())), None)
    return first if isinstance(first, int) else getattr(cause, "sqlstate", None)


def _text(cause: BaseException | None) -> str:
    """Return what a server says, without what its driver adds."""
    said = getattr(getattr(cause, "diag", None), "message_primary", None)
    details = [each for each in getattr(cause, "args", ()) if isinstance(each, str)]
    lines = str(said or (details[-1] if details else cause)).strip().splitlines()
    return lines[0].rpartition(" failed: ")[2] if lines else type(cause).__name__


def _read_only(url: URL) -> URL:
    """Let SQLite open a file for reading alone; in other databases, a transaction does that."""
    path = url.database or ":memory:"
    if url.get_backend_name() != "sqlite" or path == ":memory:" or path.startswith("file:"):
        return url
    return url.set(database=f"file:{quote(str(Path(path).absolute()))}").update_query_dict({
        "mode": "ro",
        "uri": "true",
    })


def _url(address: Address) -> URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, _, rest = address.url.partition("://")
    try:
        url = make_url(f"{DRIVERS.get(scheme, scheme)}://{rest}")
    except (ArgumentError, ValueError):
        url = None
    # A second @ is the end of a password with an unquoted @ or /, which must not pass for a host or a database.
    unquoted = scheme != "sqlite" and rest.partition("?")[0].count("@") > 1
    if url is None or not rest or not scheme or unquoted or not 0 < (url.port or 1) < 1 << 16:
        raise BadDatabase(f"{address.origin}: {EXPECTED}")
    return url
