"""deploy/airflow/exporter.py and alive.py as processes, over a real PostgreSQL with Airflow's own tables."""

from __future__ import annotations

import math
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.postgres import Postgres, postgres_server
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_port, wait_for_port

SCRIPTS = ROOT / "deploy" / "airflow"
PASSWORD = "p@ss/word+" + secrets.token_hex(6)
FAULT = "connection failed: connection to server at"
HERE = os.uname().nodename
JOBS = ("SchedulerJob", "DagProcessorJob", "TriggererJob")
Rows = list[dict[str, Any]]


class Database:
    """Airflow's tables, emptied."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute("truncate dag_bundle, dag, dag_run, task_instance, job, import_error cascade")
        self.add("dag_bundle", name="b")

    def close(self) -> None:
        self._connection.close()

    def add(self, table: str, **values: Any) -> None:
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        self._connection.execute(f"insert into {table} ({names}) values ({places})", list(values.values()))

    def dag(self, name: str, paused: bool = False, stale: bool = False) -> None:
        more = {"timetable_type": "t", "partition_mapper_info": "{}", "has_task_concurrency_limits": False}
        more |= {"max_active_tasks": 1, "max_consecutive_failed_dag_runs": 0}
        self.add("dag", dag_id=name, is_paused=paused, is_stale=stale, bundle_name="b", **more)

    def run(self, name: str, state: str, began: float | None, ended: float | None) -> str:
        """Add a run; its times are so many seconds ago."""
        run_id = secrets.token_hex(4)
        more = {"run_type": "manual", "run_after": ago(0), "start_date": ago(began), "end_date": ago(ended)}
        self.add("dag_run", dag_id=name, run_id=run_id, state=state, **more)
        return run_id

    def task(self, name: str, run_id: str, task_id: str, state: str | None) -> None:
        more = {"task_id": task_id, "state": state, "pool": "p", "pool_slots": 1, "try_number": 0}
        self.add("task_instance", id=secrets.token_hex(16), dag_id=name, run_id=run_id, **more)

    def beat(self, kind: str, age: float, hostname: str = HERE, state: str = "running") -> None:
        self.add("job", job_type=kind, state=state, hostname=hostname, latest_heartbeat=ago(age))


class Api(HTTPServer):
    """Stand for the API server: `status` and `body` are what it answers for its health."""

    status, body = 200, b'{"metadatabase": {"status": "healthy"}}'


class Health(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        known = self.path == "/api/v2/monitor/health"
        self.send_response(self.server.status if known else 404)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def ago(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.fixture(scope="module")
def postgres(starts_servers: None, starts_airflow: None) -> Iterator[Postgres]:
    with postgres_server(PASSWORD) as postgres:
        environ = os.environ | settings(postgres)
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], env=environ, check=True)
        yield postgres


@pytest.fixture
def database(postgres: Postgres) -> Iterator[Database]:
    database = Database(postgres.url())
    yield database
    database.close()


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def exporter(postgres: Postgres, api: Api, tmp_path: Path) -> Iterator[Exporter]:
    exporter = Exporter(settings(postgres, api), tmp_path / "log")
    yield exporter
    exporter.process.terminate()
    exporter.process.wait(60)


def settings(postgres: Postgres, api: Api | None = None) -> dict[str, str]:
    url = postgres.url().replace("postgresql", "postgresql+psycopg")
    port = str(api.server_port if api else free_port())
    return {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__PORT": port,
    }


class Exporter:
    def __init__(self, environ: dict[str, str], log: Path) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, str(SCRIPTS / "exporter.py"), str(self.port)]
        with log.open("wb") as sink:
            self.process = subprocess.Popen(command, env=os.environ | environ, stdout=sink, stderr=sink)
        wait_for_port(self.port, self.process)

    def ask(self) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=60)

    def figures(self, name: str) -> dict[tuple[str, ...], float]:
        """Give a figure's samples by the values of their labels."""
        answer = self.ask()
        assert answer.status_code == 200, answer.text
        families = {each.name: each.samples for each in text_string_to_metric_families(answer.text)}
        return {tuple(each.labels.values()): each.value for each in families[name]}


def alive(environ: dict[str, str], *words: str) -> tuple[int, str]:
    """Run alive.py; give its exit code and all that it printed."""
    command = [sys.executable, str(SCRIPTS / "alive.py"), *words]
    done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, done.stdout + done.stderr


# --- exporter.py ------------------------------------------------------------------------------------------------------


def test_the_last_run_that_ended_counts(exporter: Exporter, database: Database) -> None:
    for name in ("good", "bad", "fresh"):
        database.dag(name)
    database.run("good", "failed", 500, 400)
    database.run("good", "success", 300, 200)
    database.run("good", "running", 100, None)
    database.run("bad", "success", 500, 400)
    database.run("bad", "failed", 300, 180)
    assert exporter.figures("airflow_last_run_failed") == {("good",): 0, ("bad",): 1}
    assert exporter.figures("airflow_last_run_duration_seconds") == pytest.approx({("good",): 100, ("bad",): 120})
    ended = exporter.figures("airflow_last_run_end_seconds")
    assert time.time() - ended["bad",] == pytest.approx(180, abs=5)
    assert exporter.figures("airflow_dag_runs")["good", "failed"] == 1


def test_a_run_that_was_marked_failed_before_it_began_has_no_duration(exporter: Exporter, database: Database) -> None:
    database.dag("d")
    database.run("d", "success", 300, 200)
    database.run("d", "failed", None, 100)
    database.run("d", "success", None, None)  # what never ended is not the last one
    assert exporter.figures("airflow_last_run_failed") == {("d",): 1}
    assert exporter.figures("airflow_last_run_duration_seconds") == {}


def test_a_dag_that_is_removed_is_told_no_more(exporter: Exporter, database: Database) -> None:
    database.dag("removed", stale=True)
    database.dag("here", paused=True)
    for name in ("removed", "here"):
        database.run(name, "failed", 300, 200)
    assert exporter.figures("airflow_last_run_failed") == {("here",): 1}
    assert exporter.figures("airflow_dag_paused") == {("here",): 1}


def test_a_dag_that_is_paused_is_told_from_one_that_is_not(exporter: Exporter, database: Database) -> None:
    database.dag("paused", paused=True)
    database.dag("on")
    assert exporter.figures("airflow_dag_paused") == {("paused",): 1, ("on",): 0}


def test_tasks_are_counted_by_state_and_a_state_without_any_is_zero(exporter: Exporter, database: Database) -> None:
    database.dag("d")
    run = database.run("d", "running", 10, None)
    for at, state in enumerate(("queued", "queued", "running", "success", None)):
        database.task("d", run, f"t{at}", state)
    expected = {("scheduled",): 0, ("queued",): 2, ("running",): 1, ("up_for_retry",): 0}
    assert exporter.figures("airflow_tasks") == expected


def test_the_youngest_heartbeat_of_each_part_counts_and_a_missing_one_is_infinite(
    exporter: Exporter, database: Database
) -> None:
    database.beat("SchedulerJob", 500, state="success")
    database.beat("SchedulerJob", 7)
    database.beat("TriggererJob", 200)
    found = exporter.figures("airflow_heartbeat_age_seconds")
    assert found.pop(("DagProcessorJob",)) == math.inf
    assert found == pytest.approx({("SchedulerJob",): 7, ("TriggererJob",): 200}, abs=5)


def test_no_label_is_one_that_prometheus_sets(exporter: Exporter, database: Database) -> None:
    database.dag("d")
    message = exporter.ask().text
    assert 'part="SchedulerJob"' in message and not re.search(r'[{,](job|instance)="', message)


def test_files_that_cannot_be_read_are_counted(exporter: Exporter, database: Database) -> None:
    assert exporter.figures("airflow_import_errors") == {(): 0}
    database.add("import_error", filename="f.py")
    assert exporter.figures("airflow_import_errors") == {(): 1}


def test_the_api_server_is_up_while_it_answers_well(exporter: Exporter, api: Api, database: Database) -> None:
    assert exporter.figures("airflow_api_up") == {(): 1}
    api.status = 500
    assert exporter.figures("airflow_api_up") == {(): 0}
    api.shutdown()
    api.server_close()
    assert exporter.figures("airflow_api_up") == {(): 0}


def test_an_api_server_that_never_answers_holds_up_no_scrape(exporter: Exporter, api: Api, database: Database) -> None:
    api.shutdown()  # its port still takes connections
    began = time.monotonic()
    assert exporter.figures("airflow_api_up") == {(): 0}
    assert time.monotonic() - began < 5


def test_without_a_database_it_answers_with_an_error_and_goes_on(exporter: Exporter, postgres: Postgres) -> None:
    postgres.stop()
    try:
        answers = [exporter.ask() for _ in range(2)]
    finally:
        postgres.start()
    assert {answer.status_code for answer in answers} == {503}
    assert exporter.figures("airflow_import_errors")
    assert exporter.log.read_text().splitlines() == ["Airflow's database does not answer: OperationalError"] * 2


# --- alive.py ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", JOBS)
def test_a_part_lives_while_its_own_heart_beats(kind: str, postgres: Postgres, database: Database) -> None:
    environ = settings(postgres)
    assert alive(environ, kind) == (1, "no heartbeat yet\n")
    database.beat(kind, 0, hostname="another")
    database.beat(kind, 0, state="success")
    database.beat(next(each for each in JOBS if each != kind), 0)
    assert alive(environ, kind) == (1, "no heartbeat yet\n")
    database.beat(kind, 90)
    code, message = alive(environ, kind)
    assert (code, message[:18]) == (1, "no heartbeat for 9")
    database.beat(kind, 5)
    assert alive(environ, kind) == (0, "")


def test_what_beat_before_the_container_began_is_dead(postgres: Postgres, database: Database) -> None:
    environ = settings(postgres)
    database.beat("SchedulerJob", 9)
    assert alive(environ, "SchedulerJob") == (0, "")
    with subprocess.Popen(["sleep", "60"]) as container:
        try:
            assert alive(environ, "SchedulerJob", str(container.pid))[0] == 1
            database.beat("SchedulerJob", 0)
            assert alive(environ, "SchedulerJob", str(container.pid)) == (0, "")
        finally:
            container.kill()


def test_without_a_database_no_part_lives_and_no_password_is_told(postgres: Postgres, database: Database) -> None:
    database.beat("SchedulerJob", 0)
    postgres.stop()
    try:
        code, message = alive(settings(postgres), "SchedulerJob")
    finally:
        postgres.start()
    assert code == 1
    assert message.startswith(FAULT) and "refused" in message and message.count("\n") == 1
    assert PASSWORD[-12:] not in message  # however it is quoted


@pytest.mark.parametrize("password", ["wrong-secret", "100%secret", "sec[ret"])
def test_a_wrong_or_unreadable_login_is_not_printed(password: str, postgres: Postgres) -> None:
    url = f"postgresql+psycopg://airflow:{password}@127.0.0.1:{postgres.port}/airflow"
    code, message = alive({"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url}, "SchedulerJob")
    assert code == 1 and message.count("\n") == 1
    assert "secret" not in message and "ret@" not in message


def test_missing_tables_are_reported(postgres: Postgres) -> None:
    environ = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url("postgres")}
    assert alive(environ, "SchedulerJob") == (1, "UndefinedTable\n")


def test_the_api_server_is_healthy_while_its_database_is(api: Api, postgres: Postgres) -> None:
    environ = settings(postgres, api)
    assert alive(environ, "api") == (0, "")
    api.body = b'{"metadatabase": {"status": "unhealthy"}}'
    assert alive(environ, "api") == (1, "its database is unhealthy\n")
    api.status = 503
    assert alive(environ, "api") == (1, "expected status 200, found 503\n")
    api.shutdown()
    api.server_close()
    assert alive(environ, "api") == (1, "ConnectionRefusedError\n")
