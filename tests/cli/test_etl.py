"""`updraft etl` in a copy of the repository."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.etl_cases import write_etl
from tests.support.local_stack import free_environment
from tests.support.repository import copy_repository
from tests.support.shell import Shell


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_etl(
        copy_repository(tmp_path / "repository"),
        ("{file: {path: data/visits.csv}}", "{sql: {table: raw}}"),
        ("mongodb: {collection: visits}", "sql: {table: visits}"),
    )


def environ(root: Path, database: Path) -> dict[str, str]:
    folders = {"UPDRAFT_HOME": str(root / "home"), "UPDRAFT_ARTIFACTS": str(root / "runs")}
    path = os.pathsep.join([str(root / "include"), *sys.path])
    return free_environment(PYTHONPATH=path, COLUMNS="300", SQL_URL=f"sqlite:///{database}", **folders)


def test_rows_go_from_a_table_into_another_of_the_same_database(
    takes_long: None, updraft_shell: Shell, root: Path, tmp_path: Path
) -> None:
    database = tmp_path / "visits.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE raw (visit INTEGER, kind TEXT, price REAL, seconds REAL, bought TEXT)")
        rows = [(number, "direct", float(number), 60.0, "yes") for number in range(20)]
        connection.executemany("INSERT INTO raw VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    done = updraft_shell.run(environ(root, database), "etl", "visits", cwd=root)
    assert done.returncode == 0 and "20 new, 0 changed" in done.stdout, done.stderr
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM visits").fetchone() == (20,)
    connection.close()


def test_a_load_that_is_killed_before_it_starts_the_training_leaves_that_to_the_next(
    takes_long: None, updraft_shell: Shell, root: Path, tmp_path: Path
) -> None:
    database, yaml = tmp_path / "visits.db", root / "include" / "usecases" / "network_security.yaml"
    yaml.write_text(yaml.read_text().replace("after: [etl_network_security]", "after: [etl_visits]"))
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE raw (visit INTEGER, kind TEXT, price REAL, seconds REAL, bought TEXT)")
        connection.executemany("INSERT INTO raw VALUES (?, 'direct', 1.0, 60.0, 'yes')", [(n,) for n in range(20)])
    connection.close()
    airflow = socket.create_server(("127.0.0.1", 0))  # takes a request and never answers
    airflow.settimeout(120)
    port = airflow.getsockname()[1]
    there = {"AIRFLOW_URL": f"http://127.0.0.1:{port}", "AIRFLOW_USER": "a", "AIRFLOW_PASSWORD": "b"}
    command = [sys.executable, "-c", "from updraft.cli.main import main; main()", "etl", "visits"]
    with airflow, subprocess.Popen(command, env=environ(root, database) | there, cwd=root) as process:
        with airflow.accept()[0]:
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
    again, once_more = (updraft_shell.run(environ(root, database), "etl", "visits", cwd=root) for _ in range(2))
    assert "0 new, 0 changed, 20 unchanged" in again.stdout, again.stderr
    assert "was cut short before it started the training" in again.stdout
    assert "Next: updraft run network_security" in again.stdout
    assert "Nothing has changed, so no training is started." in once_more.stdout
    assert not list(root.glob("runs/etl_visits/.changed-by-*"))


def test_a_name_that_leads_out_of_the_runs_is_none(updraft_shell: Shell, root: Path, tmp_path: Path) -> None:
    done = updraft_shell.run(environ(root, tmp_path / "none.db"), "etl", "../../etc", cwd=root)
    assert done.returncode == 1 and done.stderr.startswith("updraft: '../../etc' is not a name of an ETL: ")
    assert not (root / "runs").exists()
