"""`load` into SQL databases, S3 and DynamoDB: each row once, the types that come back, and refusals in one line."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tests.sources.test_sql import execute, mariadb, postgresql, url
from tests.support.etl_cases import cleaned, write_etl, write_rows
from tests.support.servers import server
from tests.support.stall import Stall
from updraft.addresses import Address, from_environment
from updraft.destinations.keyed_rows import Counts
from updraft.errors import UserError
from updraft.etl.load import load
from updraft.etl.schema import Etl
from updraft.local_stack.servers import free_port
from updraft.sources.source import CONTENT, KEY
from updraft.sql_engine import sql_engine

__all__ = ["mariadb", "postgresql", "url"]  # fixtures

TYPES = {"name": "str", "day": "datetime64[us]", "price": "float64", "many": "int64", "old": "bool"}
YAML = """\
title: Things
source: {file: {path: data/visits.csv}}
id: name
load: [LOAD]
"""
HEADER = ",".join(TYPES)
SPACE = '"a ",,,0,true'
ROWS = ["a,2026-01-31T08:00:00.123456,0.1,9007199254740993,true", "A,,,2,false", "á 🚗,,1e300,-3,true"]
AWS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y-secret", "AWS_DEFAULT_REGION": "eu-central-1"}


class Loads:
    """Loads of things into one store."""

    def __init__(self, root: Path, block: str, environ: dict[str, str], *edits: tuple[str, str]) -> None:
        write_etl(root, ("LOAD", block), *edits, yaml=YAML, types=TYPES)
        self.root, self.connections = root, from_environment(environ)
        suite = root / "expectations/etl_visits.json"
        text = json.loads(suite.read_text())
        for name in ("name", "old"):
            text["expectations"].append({
                "type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}, "severity": "critical",
            })  # fmt: skip
        suite.write_text(json.dumps(text))

    def etl_and_rows(self, *lines: str) -> tuple[Etl, Path]:
        write_rows(self.root, *lines, header=HEADER)
        return cleaned(self.root)

    def __call__(self, *lines: str) -> Counts:
        etl, dataset = self.etl_and_rows(*lines)
        return load(etl, dataset, self.connections, self.root / "load")

    def twice_at_once(self, *lines: str) -> None:
        etl, dataset = self.etl_and_rows(*lines)
        with ThreadPoolExecutor(2) as pool:
            outs = self.root / "one", self.root / "other"
            list(pool.map(lambda out: load(etl, dataset, self.connections, out), outs))


def table(url: str, name: str = "things") -> list[dict[str, Any]]:
    with sql_engine(Address("x", url)) as engine, engine.connect() as connection:
        found = sa.Table(name, sa.MetaData(), autoload_with=connection)
        return [dict(row._mapping) for row in connection.execute(sa.select(found))]


def test_a_table_is_created_and_holds_each_row_once(url: str, tmp_path: Path) -> None:
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url})
    assert loads(*ROWS) == Counts(new=3)
    assert loads(*ROWS) == Counts(unchanged=3)
    assert loads(ROWS[0], "A,,,3,false", SPACE) == Counts(new=1, changed=1, unchanged=1)
    rows = {row["name"]: row for row in table(url)}
    assert set(rows) == {"a", "A", "á 🚗", "a "}
    first = rows["a"] | {"old": bool(rows["a"]["old"]), "price": float(rows["a"]["price"])}  # MariaDB's is a Decimal
    day = datetime(2026, 1, 31, 8, 0, 0, 123456)
    assert first.items() >= {"day": day, "price": 0.1, "many": 9007199254740993, "old": True}.items()
    assert (rows["A"]["many"], rows["A"]["day"], rows["A"]["price"], rows["á 🚗"]["price"]) == (3, None, None, 1e300)


def test_without_an_id_equal_rows_are_as_many_as_they_come(url: str, tmp_path: Path) -> None:
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url}, ("id: name\n", ""))
    assert loads(*ROWS, ROWS[0]) == Counts(new=4)
    assert loads(ROWS[0], *ROWS) == Counts(unchanged=4)
    assert len({row[KEY] for row in table(url)}) == len(table(url)) == 4


ODD = {"id": "int64", "an odd name (%)": "str", ":x": "float64", "grün`\"'": "str", "$a.b": "int64", "select": "str"}


def test_columns_may_have_any_name(url: str, mongodb_url: str, tmp_path: Path) -> None:
    yaml = YAML.replace("id: name", "id: id").replace("LOAD", "{sql: {table: things}}, {mongodb: {collection: things}}")
    write_etl(tmp_path, yaml=yaml, types=ODD)
    header = 'id,an odd name (%),:x,"grün`""\'",$a.b,select'
    write_rows(tmp_path, "1,100 %,0.5,%s,7,:y", '2,"a ""b""",,,8,', header=header)
    etl, dataset = cleaned(tmp_path)
    connections = from_environment({"SQL_URL": url, "MONGODB_URL": mongodb_url})
    assert load(etl, dataset, connections, tmp_path / "load") == Counts(new=4)
    assert load(etl, dataset, connections, tmp_path / "load") == Counts(unchanged=4)
    with sql_engine(Address("x", url)) as engine, engine.connect() as connection:
        found = connection.execute(sa.text("SELECT * FROM things ORDER BY id"))
        first, second = [dict(row._mapping) for row in found]
    assert [first[name] for name in ODD] == [1, "100 %", 0.5, "%s", 7, ":y"]
    assert [second[name] for name in ODD] == [2, 'a "b"', None, None, 8, None]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_name_that_the_database_would_cut_is_refused_before_a_table_is_made(
    kind: str, request: pytest.FixtureRequest, starts_servers: None, tmp_path: Path
) -> None:
    name = "ä" * 40 if kind == "postgresql" else "n" * 70
    write_etl(tmp_path, ("LOAD", "{sql: {table: things}}"), yaml=YAML, types={"name": "int64", name: "str"})
    write_rows(tmp_path, "1,b", header=f"name,{name}")
    address = request.getfixturevalue(kind)
    etl, rows = cleaned(tmp_path)
    with pytest.raises(UserError, match=rf"name '{name}' (has more than 63 bytes|is too long)"):
        load(etl, rows, from_environment({"SQL_URL": address}), tmp_path / "load")
    with sql_engine(Address("x", address)) as engine:
        assert not sa.inspect(engine).has_table("things")


def test_two_loads_at_the_same_time(url: str, tmp_path: Path) -> None:
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url})
    lines = [f"thing {number},,{number},1,true" for number in range(2000)]
    loads.twice_at_once(*lines)
    assert sorted(row["price"] for row in table(url)) == [*range(2000)]
    assert loads(*lines) == Counts(unchanged=2000)


def test_a_table_of_something_else_is_left_alone(url: str, tmp_path: Path) -> None:
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url})
    execute(url, "CREATE TABLE things (name VARCHAR(20), price FLOAT)")
    with pytest.raises(UserError, match=r"SQL table 'things' of .*: has no column 'day', 'many', 'old', '_sha256'"):
        loads(*ROWS)
    execute(url, "DROP TABLE things")
    columns = "day VARCHAR(40), price FLOAT, many BIGINT, old BOOLEAN, _sha256 VARCHAR(64)"
    execute(url, f"CREATE TABLE things (name VARCHAR(20), {columns})")
    with pytest.raises(UserError, match="its primary key is missing; expected name"):
        loads(*ROWS)
    assert table(url) == []


NARROW = ["price INTEGER", "price NUMERIC(6, 2)", "price NUMERIC(4, 2)", "many SMALLINT", "day DATE"]
NARROW += ["many DOUBLE PRECISION"]
WIDE = ["abc,2026-01-31,2,-32768,true", "abcd,2026-01-31T08:00:00,100.125,9007199254740993,true"]
OTHER_KIND = ["price REAL", "price VARCHAR(20)", "many VARCHAR(20)", "old VARCHAR(5)", "_sha256 VARCHAR(20)"]
OURS = {"day": "DATETIME(6)", "price": "DOUBLE PRECISION", "many": "BIGINT", "old": "BOOLEAN", "_sha256": "VARCHAR(64)"}


def make_narrow(url: str, column: str, key: str = "VARCHAR(20)") -> None:
    """Create the table of things with a column in a type of its own."""
    name, _, type_ = column.partition(" ")
    clock = {} if "mysql" in url else {"day": "TIMESTAMP"}
    columns = ", ".join(f"{each} {type_}" for each, type_ in {**OURS, **clock, name: type_}.items())
    collation = " COLLATE utf8mb4_bin" if "mysql" in url else ""
    execute(url, "DROP TABLE IF EXISTS things", f"CREATE TABLE things (name {key}{collation} PRIMARY KEY, {columns})")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_table_whose_types_would_round_or_cut_takes_nothing(
    kind: str, request: pytest.FixtureRequest, starts_servers: None, tmp_path: Path
) -> None:
    address = request.getfixturevalue(kind)
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": address})
    assert loads(*WIDE) == Counts(new=2)
    etl, rows = loads.etl_and_rows(*WIDE)
    for column in [*NARROW, "price DOUBLE PRECISION"]:
        make_narrow(address, column, key="VARCHAR(3)" if column == "price DOUBLE PRECISION" else "VARCHAR(20)")
        name = "name" if column == "price DOUBLE PRECISION" else column.partition(" ")[0]
        with pytest.raises(UserError, match=rf"SQL table 'things' .*: column '{name}' is of type .*does not hold"):
            load(etl, rows, loads.connections, tmp_path / "load")
        assert table(address) == []
    for column in OTHER_KIND:
        make_narrow(address, "price FLOAT" if (column, kind) == ("price REAL", "mariadb") else column)
        with pytest.raises(UserError, match=rf"column '{column.partition(' ')[0]}' is of type .*; the rows need "):
            load(etl, rows, loads.connections, tmp_path / "load")
        assert table(address) == []
    etl, rows = loads.etl_and_rows(WIDE[0])
    for column in NARROW:
        make_narrow(address, column)
        for counts in (Counts(new=1), Counts(unchanged=1)):
            assert load(etl, rows, loads.connections, tmp_path / "load") == counts
    execute(address, "DROP TABLE things")


def test_a_text_key_that_takes_a_for_another_is_refused(mariadb: str, tmp_path: Path) -> None:
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": mariadb})
    make_narrow(mariadb, "many BIGINT")
    with pytest.raises(UserError, match=r"column 'name' .*does not hold 'a '"):  # utf8mb4_bin takes it for a
        loads(*ROWS, SPACE)
    execute(mariadb, "ALTER TABLE things MODIFY name VARCHAR(20) COLLATE utf8mb4_general_ci")
    with pytest.raises(UserError, match="the key 'name' has the collation utf8mb4_general_ci, by which a is A"):
        loads(*ROWS)
    execute(mariadb, "DROP TABLE things")


@pytest.mark.parametrize("mode", ["", "ANSI", "NO_BACKSLASH_ESCAPES", "TRADITIONAL"])
def test_mysql_keeps_rows_as_they_are_in_each_mode(mode: str, mariadb: str, tmp_path: Path) -> None:
    former = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION"
    execute(mariadb, f"SET GLOBAL sql_mode = '{mode}'")
    try:
        loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": mariadb})
        assert loads(*ROWS, '"\\n""\'",,,7,true') == Counts(new=4)
        assert loads(*ROWS, '"\\n""\'",,,7,true') == Counts(unchanged=4)
        names = {row["name"] for row in table(mariadb)}
        assert names == {"a", "A", "á 🚗", "\\n\"'"}
        execute(mariadb, "UPDATE things SET price = 0", "ALTER TABLE things MODIFY price DOUBLE NOT NULL")
        with pytest.raises(UserError, match="price"):  # which a server that is not strict would take for 0
            loads(*ROWS, "b,,,1,true")
        assert {row["name"] for row in table(mariadb)} == names
    finally:
        execute(mariadb, f"SET GLOBAL sql_mode = '{former}'", "DROP TABLE IF EXISTS things")


def test_sqlite_takes_no_text_for_a_number(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'rows.db'}"
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url})
    make_narrow(url, "many TEXT")
    with pytest.raises(UserError, match="column 'many' is of type TEXT; the rows need BIGINT"):
        loads(*ROWS)
    make_narrow(url, "many BIGINT", key="INTEGER")
    with pytest.raises(UserError, match="column 'name' is of type INTEGER; the rows need TEXT"):
        loads(*ROWS)


def test_a_row_of_others_with_the_key_of_ours_stays(url: str, tmp_path: Path) -> None:
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url})
    assert loads(ROWS[0]) == Counts(new=1)
    execute(url, "INSERT INTO things (name, many) VALUES ('A', 77)")
    with pytest.raises(UserError, match="'A' is the key of something that no ETL has loaded"):
        loads(*ROWS)
    assert {row["name"]: row["many"] for row in table(url)} == {"a": 9007199254740993, "A": 77}


def test_a_database_that_does_not_answer_is_tried_again_and_a_refused_login_is_not(
    postgresql: str, tmp_path: Path
) -> None:
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
        Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": "postgresql://a:hunter22@127.0.0.1:1/x"})(*ROWS)
    wrong = postgresql.replace("airflow:", "airflow:hunter22")
    with pytest.raises(UserError, match="login is refused") as caught:
        Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": wrong})(*ROWS)
    assert "hunter22" not in str(caught.value)


def bucket(s3: dict[str, str]) -> Any:
    """Return a client of the server that has the tests' bucket."""
    client: Any = boto3.client("s3", endpoint_url=s3["AWS_ENDPOINT_URL_S3"], region_name="us-east-1", **{
        name.lower(): s3[name.upper()] for name in ("aws_access_key_id", "aws_secret_access_key")
    })  # fmt: skip
    if "updraft-tests" not in [each["Name"] for each in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket="updraft-tests")
    return client


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_object_on_s3_is_named_by_its_rows(kind: str, s3: dict[str, str], tmp_path: Path) -> None:
    prefix = f"updraft-tests/{secrets.token_hex(6)}/things"
    loads = Loads(tmp_path, f"{{s3: {{uri: s3://{prefix}, format: {kind}}}}}", s3)
    client = bucket(s3)
    assert loads(*ROWS) == Counts(new=3)
    assert loads(*ROWS) == Counts(unchanged=3)
    loads.twice_at_once(*ROWS[:2])
    assert loads(*ROWS[:2]) == Counts(unchanged=2)
    listed = client.list_objects_v2(Bucket="updraft-tests", Prefix=prefix.partition("/")[2])["Contents"]
    assert len(listed) == 2 and all(each["Key"].endswith(f".{kind}") for each in listed)
    bodies = [client.get_object(Bucket="updraft-tests", Key=each["Key"])["Body"].read() for each in listed]
    largest = max(bodies, key=len)
    if kind == "jsonl":
        names = [json.loads(line)["name"] for line in largest.decode().splitlines()]
    else:
        (tmp_path / "object.parquet").write_bytes(largest)
        names = pq.read_table(tmp_path / "object.parquet")["name"].to_pylist()
    assert names == ["a", "A", "á 🚗"]


@pytest.fixture(scope="module")
def dynamodb(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the environment variables that reach a DynamoDB of moto's."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with server(command, port, tmp_path_factory.mktemp("dynamodb") / "log"):
        yield {**AWS, "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{port}"}


def make_table(environ: dict[str, str], *key: tuple[str, str]) -> Any:
    resource: Any = boto3.resource(
        "dynamodb",
        endpoint_url=environ["AWS_ENDPOINT_URL_DYNAMODB"],
        region_name="eu-central-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",
    )
    name = f"things-{secrets.token_hex(4)}"
    kinds = ("HASH", "RANGE")
    return resource.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": each, "KeyType": kind} for (each, _), kind in zip(key, kinds, strict=False)],
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": type_} for each, type_ in key],
        BillingMode="PAY_PER_REQUEST",
    )


def test_a_dynamodb_table_holds_each_row_once(dynamodb: dict[str, str], tmp_path: Path) -> None:
    made = make_table(dynamodb, ("name", "S"))
    loads = Loads(tmp_path, f"{{dynamodb: {{table: {made.name}}}}}", dynamodb)
    assert loads(ROWS[0], ROWS[1]) == Counts(new=2)
    assert loads(ROWS[0], ROWS[1]) == Counts(unchanged=2)
    assert loads(ROWS[0], "A,,,3,false", "b,,,1,true") == Counts(new=1, changed=1, unchanged=1)
    items = {item["name"]: item for item in made.scan()["Items"]}
    assert set(items) == {"a", "A", "b"}
    assert (float(items["a"]["price"]), int(items["a"]["many"]), items["a"]["old"]) == (0.1, 9007199254740993, True)
    assert items["a"]["day"] == "2026-01-31T08:00:00.123456" and items["A"]["day"] is None
    with pytest.raises(UserError, match=r"price: 1e[+]300 is beyond the numbers that DynamoDB holds"):
        loads(*ROWS)


def test_more_rows_than_a_request_takes_and_two_loads_at_once(dynamodb: dict[str, str], tmp_path: Path) -> None:
    made = make_table(dynamodb, (KEY, "S"))
    loads = Loads(tmp_path, f"{{dynamodb: {{table: {made.name}}}}}", dynamodb, ("id: name\n", ""))
    lines = [f"thing {number},,{number},1,true" for number in range(230)]
    loads.twice_at_once(*lines, lines[0])
    assert loads(*lines, lines[0]) == Counts(unchanged=231)
    assert len(made.scan()["Items"]) == 231 and CONTENT in made.scan()["Items"][0]


def test_what_dynamodb_refuses_is_one_line(dynamodb: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="DynamoDB table 'nothing': no such table"):
        Loads(tmp_path, "{dynamodb: {table: nothing}}", dynamodb)(*ROWS)
    two = make_table(dynamodb, ("name", "S"), ("many", "N"))
    with pytest.raises(UserError, match="its key is name, many; expected a partition key alone"):
        Loads(tmp_path, f"{{dynamodb: {{table: {two.name}}}}}", dynamodb)(*ROWS)
    number = make_table(dynamodb, ("many", "N"))
    with pytest.raises(UserError, match="its key 'many' is of type N, and the rows' key is a text"):
        Loads(tmp_path, f"{{dynamodb: {{table: {number.name}}}}}", dynamodb)(*ROWS)
    nowhere = dynamodb | {"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:1"}
    with pytest.raises(ConnectionError, match="DynamoDB does not answer"):
        Loads(tmp_path, "{dynamodb: {table: nothing}}", nowhere)(*ROWS)
    for odd in ("dynamodb://key:hunter22@x", "https://key:hunter22@x:abc", "https://key:hunter22@x:999999"):
        with pytest.raises(UserError, match="THINGS_URL: expected https://KEY:SECRET@dynamodb") as caught:
            Loads(tmp_path, "{dynamodb: {table: nothing, connection: things}}", {"THINGS_URL": odd})(*ROWS)
        assert "hunter22" not in str(caught.value)


LOAD = """
import json, sys
from pathlib import Path
from updraft.addresses import from_environment
from updraft.etl.definitions import load as load_etl
from updraft.etl.load import load
root, environ = Path(sys.argv[1]), json.loads(sys.argv[2])
load(load_etl("visits", root), root / "run/clean/dataset.parquet", from_environment(environ), root / "load")
"""


def kill_half_way(root: Path, environ: dict[str, str], half_way: Callable[[], bool]) -> None:
    """Load in a process of its own, and kill it when it is half-way."""
    words = [sys.executable, "-c", LOAD, str(root), json.dumps(environ)]
    process = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    until = time.monotonic() + 120
    while not half_way():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL


@contextmanager
def half_loaded(url: str) -> Iterator[tuple[str, Callable[[], bool]]]:
    """Yield a URL by which no load comes to its end, and what tells that it is half-way."""
    if url.startswith("sqlite"):
        many = ", ".join(f"things AS t{number}" for number in range(9))
        body = f"SELECT count(*) FROM {many};"  # for ever
        execute(url, f"CREATE TRIGGER stall BEFORE INSERT ON things WHEN NEW.price = 12000 BEGIN {body} END")
        yield url, lambda: count(url) > 1
        execute(url, "DROP TRIGGER stall")
        return
    found = sa.make_url(url)
    assert found.port
    with Stall(found.port, after=2_000_000) as stall:
        yield found.set(port=stall.port).render_as_string(hide_password=False), stall.reached.is_set


@pytest.mark.usefixtures("takes_long")
def test_a_load_that_is_killed_is_finished_by_the_next(url: str, tmp_path: Path) -> None:
    total = 20_000
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": url})
    assert loads(*things(1)) == Counts(new=1)
    etl, dataset = loads.etl_and_rows(*things(total))
    with half_loaded(url) as (address, half_way):
        kill_half_way(tmp_path, {"SQL_URL": address}, half_way)
    counts = load(etl, dataset, loads.connections, tmp_path / "load")
    assert 1 < counts.unchanged < total and counts == Counts(new=total - counts.unchanged, unchanged=counts.unchanged)
    assert sorted(row["price"] for row in table(url)) == [*range(total)]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_load_goes_on_after_its_connection_was_lost(
    kind: str, request: pytest.FixtureRequest, starts_servers: None, tmp_path: Path
) -> None:
    address = request.getfixturevalue(kind)
    loads = Loads(tmp_path, "{sql: {table: things}}", {"SQL_URL": address})
    etl, dataset = loads.etl_and_rows(*things(5_001))
    ends: list[int] = []

    def end_connections() -> None:
        with sql_engine(Address("x", address)) as engine, engine.connect() as connection:
            for number in connection.execute(sa.text(OTHERS[kind])).scalars().all():
                connection.execute(sa.text(END[kind]), {"number": number})
                ends.append(number)

    assert load(etl, dataset, loads.connections, tmp_path / "load", on_change=end_connections) == Counts(new=5_001)
    assert len(ends) == 2  # one for each batch
    assert load(etl, dataset, loads.connections, tmp_path / "load") == Counts(unchanged=5_001)
    execute(address, "DROP TABLE things")


OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()",
    "mariadb": "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'updraft'",
}
END = {"postgresql": "SELECT pg_terminate_backend(:number)", "mariadb": "KILL CONNECTION :number"}


@pytest.mark.usefixtures("takes_long")
def test_a_load_into_dynamodb_that_is_killed_is_finished_by_the_next(dynamodb: dict[str, str], tmp_path: Path) -> None:
    total = 3_000
    made = make_table(dynamodb, ("name", "S"))
    loads = Loads(tmp_path, f"{{dynamodb: {{table: {made.name}}}}}", dynamodb)
    etl, dataset = loads.etl_and_rows(*things(total))
    kill_half_way(tmp_path, dynamodb, lambda: bool(made.scan(Limit=1)["Items"]))
    counts = load(etl, dataset, loads.connections, tmp_path / "load")
    assert 0 < counts.unchanged < total and counts == Counts(new=total - counts.unchanged, unchanged=counts.unchanged)
    assert sorted(int(item["price"]) for item in items(made)) == [*range(total)]
    assert load(etl, dataset, loads.connections, tmp_path / "load") == Counts(unchanged=total)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_load_into_s3_that_is_killed_leaves_no_half_object(kind: str, s3: dict[str, str], tmp_path: Path) -> None:
    total, prefix = 20_000, secrets.token_hex(6)
    loads = Loads(tmp_path, f"{{s3: {{uri: s3://updraft-tests/{prefix}, format: {kind}}}}}", s3)
    etl, dataset = loads.etl_and_rows(*things(total))
    client = bucket(s3)
    port = int(s3["AWS_ENDPOINT_URL_S3"].rpartition(":")[2])
    with Stall(port, after=50_000) as stall:
        kill_half_way(tmp_path, s3 | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{stall.port}"}, stall.reached.is_set)
    assert "Contents" not in client.list_objects_v2(Bucket="updraft-tests", Prefix=prefix)
    assert load(etl, dataset, loads.connections, tmp_path / "load") == Counts(new=total)
    assert load(etl, dataset, loads.connections, tmp_path / "load") == Counts(unchanged=total)
    [each] = client.list_objects_v2(Bucket="updraft-tests", Prefix=prefix)["Contents"]
    body = client.get_object(Bucket="updraft-tests", Key=each["Key"])["Body"].read()
    assert body == (dataset if kind == "parquet" else dataset.with_name("dataset.jsonl")).read_bytes()


def things(total: int) -> list[str]:
    return [f"thing {number},,{number},{number * 7919 % 99_991},true" for number in range(total)]


def items(made: Any) -> list[dict[str, Any]]:
    page = made.scan()
    found = page["Items"]
    while "LastEvaluatedKey" in page:
        page = made.scan(ExclusiveStartKey=page["LastEvaluatedKey"])
        found += page["Items"]
    return list(found)


def count(url: str) -> int:
    with sql_engine(Address("x", url)) as engine, engine.connect() as connection:
        if not sa.inspect(connection).has_table("things"):
            return 0
        return int(connection.execute(sa.text("SELECT count(*) FROM things")).scalar() or 0)
