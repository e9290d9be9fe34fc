"""`updraft etl` in a copy of the repository."""

from __future__ import annotations

import os
import sqlite3
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


def test_a_name_that_leads_out_of_the_runs_is_none(updraft_shell: Shell, root: Path, tmp_path: Path) -> None:
    done = updraft_shell.run(environ(root, tmp_path / "none.db"), "etl", "../../etc", cwd=root)
    assert done.returncode == 1 and done.stderr.startswith("updraft: '../../etc' is not a name of an ETL: ")
    assert not (root / "runs").exists()
