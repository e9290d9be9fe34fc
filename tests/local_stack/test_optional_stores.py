"""`make up WITH=postgres,kafka`: two more stores beside the others, and none of them where nobody asks."""

from __future__ import annotations

import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from tests.support.local_stack import free_environment, listening, marked, updraft
from tests.support.small_cases import integer, small_case
from updraft.addresses import from_environment
from updraft.defaults import ROOT
from updraft.local_stack import supervision
from updraft.local_stack.environment import StackError, load, record, settle
from updraft.local_stack.programs import program_names, programs
from updraft.local_stack.servers import free_ports
from updraft.local_stack.stack import Stack
from updraft.local_stack.stores import check_stores
from updraft.sources import open_source

BOTH = ("postgres", "kafka")
ROWS = {"sql": {"table": "shop_rows"}}


@pytest.fixture
def home(starts_stack: None) -> Iterator[Path]:
    """The home of a stack, in a folder that everyone may pass, as `/tmp` is: root's PostgreSQL runs as nobody."""
    with tempfile.TemporaryDirectory(prefix="updraft stack ") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "home"
        supervision.stop(Path(folder) / "home")


def asking(words: str = "postgres, kafka", **more: str) -> dict[str, str]:
    ports = {name: str(port) for name, port in zip(("POSTGRES_PORT", "KAFKA_PORT"), free_ports(2), strict=True)}
    return free_environment(**ports, UPDRAFT_WITH=words, **more)


def numbers(source: Mapping[str, object], settings: Mapping[str, str]) -> list[int]:
    case = small_case([integer("a")], source=source, id="a")
    with open_source(case, from_environment(settings)) as opened:
        return [number for batch in opened.batches() for number in batch.table["a"].to_pylist()]


def test_both_answer_and_what_postgres_holds_stays(home: Path) -> None:
    stack = Stack(home, asking())
    stack.up(only=BOTH)
    settings = stack.settings()
    with psycopg.connect(settings["SQL_URL"], autocommit=True) as connection:
        connection.execute("create table shop_rows (a integer)")
        connection.execute("insert into shop_rows values (7), (8)")
    producer = Producer({"bootstrap.servers": settings["KAFKA_URL"].removeprefix("kafka://")})
    producer.produce("clicks", b'{"a": 5}')
    assert producer.flush(30) == 0
    assert numbers(ROWS, settings) == [7, 8]
    assert numbers({"kafka": {"topic": "clicks"}}, settings) == [5]
    assert set(listening(home)) == {"127.0.0.1"}

    again = Stack(home, free_environment() | {name: stack.environ[name] for name in ("POSTGRES_PORT", "KAFKA_PORT")})
    with pytest.raises(StackError, match=r"another .*UPDRAFT_WITH; `make down` first"):
        Stack(home, stack.environ | {"UPDRAFT_WITH": "kafka"}).up(only=BOTH)
    with psycopg.connect(settings["SQL_URL"]):  # a client that stays
        stack.down()
    assert marked(home) == []
    assert "shutting down" in (home / "logs" / "postgres.log").read_text().rpartition("fast shutdown")[2]

    again.up(only=BOTH)
    assert again.settings()["SQL_URL"] == settings["SQL_URL"]
    assert numbers(ROWS, again.settings()) == [7, 8]


def test_postgres_comes_back_after_kill_9_and_keeps_its_secret(home: Path) -> None:
    stack = Stack(home, asking("postgres"))
    stack.up(only=BOTH)
    url = stack.settings()["SQL_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table shop_rows as select 7 as a")
    for process in marked(home):
        process.kill()
    (home / "postgres" / "data.new").mkdir()  # as a killed initdb leaves it
    stack.up(only=BOTH)
    assert numbers(ROWS, stack.settings()) == [7]

    password = (home / "secrets" / "postgres_password").read_text()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url.replace(password, "another"))
    output, error = updraft(home, stack.environ, "login").communicate(timeout=300)
    assert error == "" and f"127.0.0.1:{stack.environ['POSTGRES_PORT']}/updraft" in output
    shown = output + "".join(" ".join(process.cmdline()) for process in marked(home))
    shown += "".join(path.read_text() for path in [*(home / "logs").glob("*.log"), *(home / "run").glob("*.conf")])
    assert password not in shown
    assert not home.stat().st_mode & stat.S_IRWXO and not list((home / "postgres").glob("password*"))

    stack.down()
    (home / "secrets" / "postgres_password").unlink()
    with pytest.raises(StackError, match="has another password than secrets/postgres_password"):
        Stack(home, stack.environ).up(only=BOTH)
    stack.clean()
    assert not home.exists()


def test_nothing_changes_where_nobody_asks(tmp_path: Path) -> None:
    settings = settle(tmp_path, free_environment())
    assert not {"UPDRAFT_WITH", "SQL_URL", "KAFKA_URL", "POSTGRES_PORT", "KAFKA_PORT"} & settings.keys()
    assert set(BOTH).isdisjoint(program_names(settings))
    assert set(BOTH).isdisjoint(program.name for program in programs(tmp_path, settings))


def test_what_was_asked_for_is_kept_until_it_is_dropped(tmp_path: Path) -> None:
    first = settle(tmp_path, asking())
    record(tmp_path, first)
    assert first["UPDRAFT_WITH"] == "postgres kafka" and set(BOTH) < set(program_names(first))
    assert settle(tmp_path, free_environment())["SQL_URL"] == first["SQL_URL"]
    sourced = free_environment(**{name: first[name] for name in ("UPDRAFT_WITH", "SQL_URL", "KAFKA_URL")})
    assert settle(tmp_path, sourced)["SQL_URL"] == first["SQL_URL"]
    assert settle(tmp_path, sourced | {"POSTGRES_PORT": "4321"})["SQL_URL"].endswith("@127.0.0.1:4321/updraft")
    fewer = settle(tmp_path, free_environment(UPDRAFT_WITH="kafka"))
    assert fewer["KAFKA_URL"] == first["KAFKA_URL"] and "SQL_URL" not in fewer
    assert not {"UPDRAFT_WITH", "SQL_URL", "KAFKA_URL"} & settle(tmp_path, free_environment(UPDRAFT_WITH="")).keys()


def test_a_users_own_address_stays(tmp_path: Path) -> None:
    theirs = {"SQL_URL": "mysql://me:secret@db.example.net/shop"}
    settings = settle(tmp_path, asking(**theirs))
    assert "SQL_URL" not in settings and settings["KAFKA_URL"] and "postgres" in program_names(settings)
    record(tmp_path, settings)
    check_stores(theirs, tmp_path, "postgres")
    check_stores({}, tmp_path, "postgres")


def test_a_store_that_is_down_is_named(tmp_path: Path) -> None:
    record(tmp_path, settle(tmp_path, asking()))
    environ: dict[str, str] = {}
    load(environ, tmp_path)
    for store, variable in (("postgres", "SQL_URL"), ("kafka", "KAFKA_URL")):
        with pytest.raises(StackError, match=rf"is not running \(`make up` starts it\); {variable} in "):
            check_stores(environ, tmp_path, store)


def test_only_airflow_gets_their_addresses(tmp_path: Path) -> None:
    blanks = {program.name: program.environment for program in programs(tmp_path, settle(tmp_path, asking()))}
    blanked = {name for name, variables in blanks.items() if {"SQL_URL", "KAFKA_URL"} <= variables.keys()}
    assert blanked == {"mongod", "s3", "serving", "shipper", *BOTH}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"UPDRAFT_WITH": "kafka,Müsli"}, "WITH: 'Müsli' is no store that can be added; expected postgres, "),
        ({"UPDRAFT_WITH": "kafka", "KAFKA_PORT": "x"}, "KAFKA_PORT: 'x' is not a port; "),
        ({"UPDRAFT_WITH": "kafka", "KAFKA_PORT": "5000"}, "KAFKA_PORT and SERVING_PORT: both are 5000; expected 5 "),
    ],
)
def test_wrong_words_and_ports_are_named(tmp_path: Path, given: dict[str, str], message: str) -> None:
    with pytest.raises(StackError) as caught:
        settle(tmp_path, given)
    assert str(caught.value).startswith(message)
    settle(tmp_path, given | {"UPDRAFT_WITH": ""})  # where nobody asks for them their ports are no matter


@pytest.mark.parametrize(("words", "shown"), [((), False), (("WITH=",), True), (("WITH=postgres,kafka",), True)])
def test_make_hands_on_what_is_asked_for(words: tuple[str, ...], shown: bool) -> None:
    for target, command in (("up", "up"), ("demo", "demo")):
        done = subprocess.run(["make", "-n", target, *words], cwd=ROOT, capture_output=True, text=True, check=True)
        (line,) = [line for line in done.stdout.splitlines() if f"updraft {command}" in line]
        assert ("UPDRAFT_WITH=" in line) == shown
        assert not shown or f"UPDRAFT_WITH='{words[0].removeprefix('WITH=')}' " in line
