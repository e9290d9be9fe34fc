"""Rows of PostgreSQL, MariaDB and SQLite, on real servers: types by rule, nothing written, errors told apart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connections import source_address
from tests.support.mariadb import ABSENT, PASSWORD, is_installed, mariadb_server
from tests.support.postgres import postgres_server
from tests.support.small_cases import date as date_column
from tests.support.small_cases import integer, real, small_case, text
from updraft.addresses import Address, from_environment
from updraft.local_stack.servers import free_port
from updraft.model.columns import Column
from updraft.sources import open_source
from updraft.sources.count import count_rows
from updraft.sources.source import BadSource, Batch
from updraft.sql_engine import BadDatabase, sql_engine
from updraft.usecase import UseCase

COLUMNS = [integer("id"), real("price"), text("name"), Column(name="ok", type="bool"), date_column("at"), text("more")]
DAY = datetime(2026, 1, 31)


@pytest.fixture(scope="module")
def postgresql(starts_servers: None) -> Iterator[str]:
    with postgres_server("p@ss/word") as server:
        yield server.url()


@pytest.fixture(scope="module")
def mariadb(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not is_installed():
        pytest.skip(ABSENT)
    with mariadb_server(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def url(request: pytest.FixtureRequest, starts_servers: None, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'rows.db'}"
        return
    found: str = request.getfixturevalue(request.param)
    yield found
    with sql_engine(Address("x", found)) as engine, engine.begin() as connection:
        metadata = sa.MetaData()
        metadata.reflect(connection)
        metadata.drop_all(connection)


def execute(url: str, *statements: str, **parameters: Any) -> None:
    with sql_engine(Address("x", url)) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement), parameters)


def fill(url: str, count: int = 3) -> None:
    insert = "INSERT INTO customers VALUES ({n}, {n}.50, 'ä{n}', {odd}, '2026-01-0{day}', NULL)"
    kind = "TIMESTAMP" if "mysql" not in url else "DATETIME(6)"
    execute(
        url,
        f"CREATE TABLE customers (id BIGINT, price NUMERIC(10, 2), name VARCHAR(40), ok BOOLEAN, at {kind}, more INT)",
        *(insert.format(n=n, odd=n % 2 == 1, day=n % 9 + 1) for n in range(1, count + 1)),
    )


def case_of(columns: list[Column] | None = None, **settings: Any) -> UseCase:
    return small_case(columns or COLUMNS, source={"sql": settings or {"table": "customers"}}, id="id")


def batches_of(
    url: str, case: UseCase, limit: int | None = None, position: dict[str, Any] | None = None
) -> tuple[list[Batch], dict[str, Any] | None]:
    with open_source(case, from_environment({"SQL_URL": url}), limit, position) as source:
        return list(source.batches()), source.position()  # type: ignore[return-value]


def ids(url: str, case: UseCase, **more: Any) -> list[int]:
    return [number for batch in batches_of(url, case, **more)[0] for number in batch.table["id"].to_pylist()]


def refusal(url: str, case: UseCase, kind: type[Exception] | tuple[type[Exception], ...] = BadDatabase) -> str:
    with pytest.raises(kind) as refused:
        batches_of(url, case)
    assert "\n" not in str(refused.value) and not {"p@ss", "p%40ss"} & set(str(refused.value).split(":"))
    return str(refused.value)


def test_a_tables_rows_are_read_in_the_suites_types(url: str) -> None:
    fill(url)
    columns = [column for column in COLUMNS if column.name != "more"]
    if url.startswith("sqlite"):
        columns = [column for column in columns if column.name != "price"]  # SQLite has no Decimal of its own
    (batch,), position = batches_of(url, case_of(columns))
    row = {"id": 1, "price": 1.5, "name": "ä1", "ok": True, "at": datetime(2026, 1, 2)}
    assert batch.table.to_pylist()[0] == {column.name: row[column.name] for column in columns}
    assert batch.table["ok"].to_pylist() == [True, False, True] and position is None


def test_what_a_manifest_says_holds_no_login(url: str) -> None:
    fill(url)
    with open_source(case_of(), from_environment({"SQL_URL": url})) as source:
        list(source.batches())
        described = source.provenance()
    assert described["table"] == "customers" and "updraft:" not in described["database"]
    assert "@" not in described["database"]


def test_a_row_that_does_not_fit_is_named_by_its_id(url: str) -> None:
    fill(url)
    case = case_of([integer("id"), integer("name")])
    (batch,), _ = batches_of(url, case)
    assert [reject.place for reject in batch.rejects] == ["id 1", "id 2", "id 3"]


def test_a_query_keeps_its_order_its_colons_and_its_comment(url: str) -> None:
    fill(url, 12)
    query = "SELECT id, ':x 100% 12:30' AS name FROM customers WHERE name LIKE 'ä%' ORDER BY id DESC -- done"
    case = case_of([integer("id"), text("name")], query=query)
    (batch,), _ = batches_of(url, case)
    assert batch.table["id"].to_pylist() == list(range(12, 0, -1))
    assert set(batch.table["name"].to_pylist()) == {":x 100% 12:30"}
    assert ids(url, case, limit=5) == [12, 11, 10, 9, 8]


ENDS = [";", " ;; ", "; -- done", ";\n-- a 'quote\n/* and; */ ;", "-- a; b", "/* ; */"]


@pytest.mark.parametrize("end", ENDS)
def test_a_query_may_end_in_a_semicolon_and_comments(url: str, end: str) -> None:
    fill(url)
    odd = "name <> ' ;-- x' AND name <> " + "'" * 3 + "; -- y'"
    case = case_of([integer("id")], query=f"SELECT id FROM customers WHERE {odd} ORDER BY id{end}")
    assert ids(url, case) == [1, 2, 3]
    assert count_rows(case, from_environment({"SQL_URL": url})) == 3


def test_two_queries_are_none(url: str) -> None:
    fill(url)
    assert "SELECT 1" in refusal(url, case_of([integer("id")], query="SELECT 1 AS id; SELECT 2 AS id -- x"))


def test_a_file_of_sqlite_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "no such #1%.db"
    message = refusal(f"sqlite:///{tmp_path}/no such %231%25.db", case_of())
    assert not list(tmp_path.iterdir()) and "unable to open database file" in message
    execute(f"sqlite:///{path}", "CREATE TABLE customers (id BIGINT)", "INSERT INTO customers VALUES (7)")
    assert ids(f"sqlite:///{path}", case_of([integer("id")], table="customers")) == [7]
    with open_source(case_of([integer("id")]), from_environment({"SQL_URL": f"sqlite:///{path}"})) as source:
        assert source.provenance()["database"] == f"sqlite:///{path}"


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM customers",
        "INSERT INTO customers (id) VALUES (9)",
        "UPDATE customers SET id = 7",
        "DROP TABLE customers",
        "SELECT id FROM customers; DELETE FROM customers",
        "SELECT id FROM customers) AS x; COMMIT; DELETE FROM customers; SELECT * FROM (SELECT 1 AS id",
        "WITH gone AS (DELETE FROM customers RETURNING id) SELECT id FROM gone",
    ],
)
def test_a_query_that_writes_is_refused_in_one_line(url: str, query: str) -> None:
    fill(url)
    assert refusal(url, case_of([integer("id")], query=query)).startswith("SQL query '")
    assert ids(url, case_of([integer("id")])) == [1, 2, 3]


def test_nothing_can_be_written_in_the_transaction_of_a_read(url: str) -> None:
    from updraft.sources.sql_snapshot import snapshot

    fill(url)
    with sql_engine(Address("x", url)) as engine, snapshot(engine) as connection:
        with pytest.raises(sa.exc.DBAPIError, match=r"(?i)read.?only"):
            connection.execution_options(stream_results=False).exec_driver_sql("DELETE FROM customers")


def test_all_rows_are_of_one_moment(url: str) -> None:
    if url.startswith("sqlite"):
        pytest.skip("SQLite's writers wait for its readers")
    fill(url)
    with open_source(case_of([integer("id")]), from_environment({"SQL_URL": url})) as source:
        execute(url, "INSERT INTO customers (id) VALUES (4)")
        assert [batch.table["id"].to_pylist() for batch in source.batches()] == [[1, 2, 3]]


def test_what_is_wrong_is_told_apart(url: str) -> None:
    execute(url, "CREATE TABLE others (id BIGINT)")  # so that a file of SQLite is there
    missing = refusal(url, case_of())
    assert missing.startswith("SQL table 'customers': ") and "customers" in missing.removeprefix(
        "SQL table 'customers'"
    )
    execute(url, "CREATE TABLE customers (id BIGINT)")
    assert refusal(url, case_of(), BadSource) == "SQL table 'customers': the table is empty"
    assert "no column of the suite in it; found 'id'" in refusal(url, case_of([integer("x")]), BadSource)
    assert "no column 'at'; there are: id" in refusal(
        url, case_of(table="customers", watermark={"column": "at"}), BadSource
    )
    assert refusal(url, case_of(query="SELEC id FROM customers")).startswith("SQL query 'SELEC")
    if url.startswith("sqlite"):
        assert "unable to open" in refusal("sqlite:////absent/rows.db", case_of())
        return
    host = url.rpartition("@")[2]
    scheme, user = url.partition("://")[0], url.partition("://")[2].partition(":")[0]
    assert "the login is refused: " in refusal(f"{scheme}://{user}:wrong@{host}", case_of())
    assert "the login is refused: " in refusal(f"{scheme}://nobody:wrong@{host}", case_of())
    nowhere = f"{scheme}://{user}:p%40ss%2Fword@127.0.0.1:{free_port()}/rows"
    assert ": no connection: " in refusal(nowhere, case_of(), ConnectionError)
    assert "no such database for this login: " in refusal(f"{url.rpartition('/')[0]}/absent", case_of())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "SQL_URL: expected a URL such as postgresql://"),
        ("localhost/rows", "SQL_URL: expected a URL such as postgresql://"),
        ("postgresql://me:p@ss/word@host/rows", "SQL_URL: expected a URL such as postgresql://"),
        ("postgresql://me:p@ssw0rd@host/rows", "SQL_URL: expected a URL such as postgresql://"),
        ("mysql://me:se/cr@et@host/rows", "SQL_URL: expected a URL such as postgresql://"),
        ("oracle://host/rows", "SQL_URL: no driver for oracle:// is installed"),
        ("nothing://host/rows", "SQL_URL: no driver for nothing:// is installed"),
    ],
)
def test_a_wrong_address_is_one_line(url: str, message: str) -> None:
    refused = refusal(url, case_of())
    assert refused.startswith(message) and not any(part in refused for part in ("ssw0rd", "et@"))


def test_rows_are_counted_and_a_missing_table_is_named(url: str) -> None:
    fill(url, 5)
    connections = from_environment({"SQL_URL": url})
    assert count_rows(case_of(table="customers"), connections) == 5
    assert count_rows(case_of(query="SELECT id FROM customers WHERE id > 2; "), connections) == 3
    with pytest.raises(BadDatabase, match="absent"):
        count_rows(case_of(table="absent"), connections)


def test_a_query_whose_columns_share_a_name_is_refused(url: str) -> None:
    fill(url, 3)
    query = "SELECT a.id, a.price, b.price FROM customers a JOIN customers b ON a.id = b.id"
    with pytest.raises((BadSource, BadDatabase), match=r"more than once|Duplicate column name 'price'"):
        batches_of(url, case_of([integer("id"), real("price")], query=query))


def test_a_date_in_the_future_does_not_keep_later_rows_out(url: str) -> None:
    fill(url, 3)
    execute(url, "UPDATE customers SET at = '2999-01-01' WHERE id = 1")
    case = case_of([integer("id")], table="customers", watermark={"column": "at"})
    _, position = batches_of(url, case)
    assert position is not None
    assert str(position["watermark"]) < "2999"


def test_a_watermark_gives_what_is_new_and_what_is_late_and_what_has_none(url: str) -> None:
    fill(url, 5)
    text_dates = url.startswith("sqlite")
    mark = {"column": "id"} if text_dates else {"column": "at", "late": "2d"}
    case = case_of([integer("id")], table="customers", watermark=mark)
    _, position = batches_of(url, case)
    assert position == {"watermark": 5 if text_dates else "2026-01-06T00:00:00"}
    execute(url, "INSERT INTO customers (id, at) VALUES (6, '2026-01-06'), (7, NULL)")
    expected = [5, 6, 7] if text_dates else [3, 4, 5, 6, 7]  # from 4 January on, and without a date
    found, later = batches_of(url, case, position=position)
    assert sorted(n for batch in found for n in batch.table["id"].to_pylist()) == expected
    assert later == ({"watermark": 7} if text_dates else position)
    query = case_of([integer("id")], query="SELECT * FROM customers -- all", watermark=mark)
    assert sorted(ids(url, query, position=position)) == expected


def test_a_read_without_new_rows_keeps_its_position_and_a_limited_one_does_not_move_it(url: str) -> None:
    fill(url, 5)
    case = case_of([integer("id")], table="customers", watermark={"column": "id"})
    assert batches_of(url, case, limit=2)[1] is None
    assert batches_of(url, case, limit=1, position={"watermark": 2})[1] == {"watermark": 2}
    assert batches_of(url, case, position={"watermark": 9}) == ([], {"watermark": 9})
    for limit in (1, 4, None):
        assert len(ids(url, case, limit=limit, position={"watermark": 2})) == min(limit or 4, 4)


def test_a_watermark_that_makes_no_sense_is_refused(url: str) -> None:
    fill(url)

    def said(position: dict[str, Any] | None = None, **mark: Any) -> str:
        case = case_of([integer("id")], table="customers", watermark=mark)
        with pytest.raises(BadSource) as refused:
            batches_of(url, case, position=position)
        return str(refused.value)

    assert "watermark 'id': late is for dates, the column holds int" in said(column="id", late="2d")
    assert "the last read ended at 'x', which is none of the column's int values" in said(
        {"watermark": "x"}, column="id"
    )


def test_dates_that_python_does_not_have_are_those_of_rows_that_do_not_fit(postgresql: str) -> None:
    execute(postgresql, "DROP TABLE IF EXISTS customers", "CREATE TABLE customers (id INT, at TIMESTAMPTZ, d DATE)")
    execute(
        postgresql,
        "INSERT INTO customers VALUES (1, 'infinity', NULL), (2, '0044-03-15 BC', NULL), (3, NULL, '-infinity'),"
        "(4, '2026-01-31T02:00:00+02', '2026-01-31')",
    )
    (batch,), _ = batches_of(postgresql, case_of([integer("id"), date_column("at"), date_column("d")]))
    assert batch.table.to_pylist() == [{"id": 4, "at": DAY, "d": DAY}]
    assert [reject.place for reject in batch.rejects] == ["id 1", "id 2", "id 3"]


def test_a_watermark_with_a_time_zone_goes_on_at_the_same_moment(postgresql: str) -> None:
    execute(postgresql, "DROP TABLE IF EXISTS customers", "CREATE TABLE customers (id INT, at TIMESTAMPTZ, d DATE)")
    execute(
        postgresql, "INSERT INTO customers VALUES (1, '2026-01-30Z', '2026-01-30'), (2, '2026-01-31Z', '2026-01-31')"
    )
    case = case_of([integer("id")], table="customers", watermark={"column": "at", "late": "1h"})
    _, position = batches_of(postgresql, case)
    assert position and datetime.fromisoformat(position["watermark"]) == DAY.replace(tzinfo=UTC)
    assert ids(postgresql, case, position=position) == [2]
    days = case_of([integer("id")], table="customers", watermark={"column": "d", "late": "1h"})
    assert batches_of(postgresql, days)[1] == {"watermark": date(2026, 1, 31).isoformat()}
    assert ids(postgresql, days, position={"watermark": "2026-01-31"}) == [1, 2]  # a part of a day is a day


def test_values_of_other_types_are_text_by_rule(postgresql: str) -> None:
    execute(
        postgresql,
        "DROP TABLE IF EXISTS customers",
        "CREATE TABLE customers (id NUMERIC, u UUID, j JSONB, t TIME, n NUMERIC)",
        "INSERT INTO customers VALUES"
        " (12345678901234567, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\"\\:[1]}', '12:30', 'NaN')",
    )
    columns = [integer("id"), text("u"), text("j"), text("t"), real("n")]
    (batch,), _ = batches_of(postgresql, case_of(columns))
    assert batch.rejects == [] and batch.nans == 1
    assert batch.table.to_pylist() == [
        {
            "id": 12345678901234567,
            "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "j": '{"a": [1]}',
            "t": "12:30:00",
            "n": None,
        }
    ]


def test_a_table_of_another_schema_and_odd_names(postgresql: str) -> None:
    execute(postgresql, 'CREATE SCHEMA IF NOT EXISTS "Sales"', 'DROP TABLE IF EXISTS "Sales"."Küñden x"')
    execute(
        postgresql, 'CREATE TABLE "Sales"."Küñden x" ("Order Id %" INT)', 'INSERT INTO "Sales"."Küñden x" VALUES (1)'
    )
    case = small_case(
        [integer("id")], source={"sql": {"table": "Sales.Küñden x"}}, read={"rename": {"Order Id %": "id"}}
    )
    assert ids(postgresql, case) == [1]


def test_mysqls_bits_times_and_zero_dates(mariadb: str) -> None:
    execute(
        mariadb, "DROP TABLE IF EXISTS customers", "CREATE TABLE customers (id INT, ok BIT(1), t TIME, at DATETIME)"
    )
    execute(
        mariadb,
        "SET SESSION sql_mode = ''",
        "INSERT INTO customers VALUES (1, b'1', '12:30', '2026-01-31'), (2, b'0', NULL, '0000-00-00')",
    )
    columns = [integer("id"), Column(name="ok", type="bool"), text("t"), date_column("at")]
    (batch,), _ = batches_of(mariadb, case_of(columns))
    assert batch.table.to_pylist() == [{"id": 1, "ok": True, "t": "12:30:00", "at": DAY}]
    assert [reject.place for reject in batch.rejects] == ["id 2"]


def test_a_read_that_ends_early_does_not_read_the_rest(mariadb: str) -> None:
    execute(mariadb, "DROP TABLE IF EXISTS customers")
    before = bytes_sent(mariadb)
    numbers = "SELECT seq AS id, REPEAT('x', 200) AS name FROM seq_1_to_20000000"
    assert ids(mariadb, case_of([integer("id")], query=numbers), limit=3) == [1, 2, 3]
    assert bytes_sent(mariadb) - before < 100e6  # of 4 GB: what the buffers between the two hold


def bytes_sent(url: str) -> int:
    with sql_engine(Address("x", url)) as engine, engine.connect() as connection:
        return int(connection.execute(sa.text("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")).one()[1])


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
def test_an_airflow_connection_leads_there(
    server: str, starts_servers: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.log import redact

    url: str = request.getfixturevalue(server)
    execute(
        url, "DROP TABLE IF EXISTS customers", "CREATE TABLE customers (id INT)", "INSERT INTO customers VALUES (1)"
    )
    uri = url.replace("postgresql://", "postgres://") + ("?sslmode=prefer&cursor=x" if server == "postgresql" else "")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", uri)
    case = case_of([integer("id")], table="customers", connection="warehouse")
    with open_source(case, source_address) as source:
        assert [batch.table["id"].to_pylist() for batch in source.batches()] == [[1]]
    monkeypatch.setenv("SQL_URL", url)
    with open_source(case_of([integer("id")]), source_address) as source:
        assert [batch.table["id"].to_pylist() for batch in source.batches()] == [[1]]
    assert PASSWORD not in str(redact(f"login with {PASSWORD}"))


def test_either_a_table_or_a_query_is_named() -> None:
    for settings in ({"connection": "x"}, {"table": "x", "query": "SELECT 1"}):
        with pytest.raises(ValueError, match="expected either table or query"):
            case_of(**settings)
