"""`updraft etl network_security` on the real files, into a real MongoDB. It skips where the data is absent."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support.local_stack import free_environment
from tests.support.repository import copy_repository
from tests.support.shell import Shell
from tests.support.small_cases import SHARED_DATA

pytestmark = pytest.mark.usefixtures("shared_data")

CLEAN = SHARED_DATA / "network_security" / "phisingData.csv"
FIVE_TIMES = SHARED_DATA / "network_security" / "dirty_phishing_duplicated_ingest.csv.gz"


class Command:
    """`updraft etl network_security` in a copy of the repository."""

    def __init__(self, shell: Shell, root: Path, url: str) -> None:
        self.shell, self.root, self.url = shell, root, url
        path = os.pathsep.join([str(root / "include"), *sys.path])
        folders = {"UPDRAFT_HOME": str(root / "home"), "UPDRAFT_ARTIFACTS": str(root / "runs")}
        self.environ = free_environment(PYTHONPATH=path, COLUMNS="300", MONGODB_URL=url, **folders)

    def __call__(self, file: Path, *words: str) -> tuple[int, str, str]:
        done = self.shell.run(self.environ, "etl", "network_security", "--data", str(file), *words, cwd=self.root)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def counts(self, file: Path) -> tuple[int, int, int]:
        code, output, error = self(file, "--json")
        assert code == 0, error
        found = json.loads(output)
        return found["new"], found["changed"], found["unchanged"]

    def rows(self) -> list[tuple[Any, ...]]:
        with MongoClient[dict[str, Any]](self.url) as client:
            documents = client.get_default_database()["network_security"].find({}, {"_id": 0})
            return sorted(tuple(sorted(document.items())) for document in documents)

    def drop(self) -> None:
        with MongoClient[dict[str, Any]](self.url) as client:
            client.get_default_database()["network_security"].drop()


@pytest.fixture
def etl(updraft_shell: Shell, tmp_path: Path, mongodb_url: str) -> Command:
    return Command(updraft_shell, copy_repository(tmp_path / "repository"), mongodb_url)


def test_the_file_loaded_five_times_leaves_its_rows_once(etl: Command) -> None:
    assert [etl.counts(CLEAN) for _ in range(5)] == [(11_055, 0, 0)] + [(0, 0, 11_055)] * 4
    assert len(etl.rows()) == 11_055


def test_with_duplicates_dropped_both_files_give_the_same_rows(etl: Command) -> None:
    yaml = etl.root / "include/etl/network_security.yaml"
    yaml.write_text(yaml.read_text().replace("duplicates: keep", "duplicates: drop"))
    assert etl.counts(CLEAN) == (5_849, 0, 0)
    rows = etl.rows()
    assert etl.counts(FIVE_TIMES) == (0, 0, 5_849)
    etl.drop()
    assert etl.counts(FIVE_TIMES) == (5_849, 0, 0) and etl.rows() == rows


def test_a_file_that_holds_its_rows_five_times_is_seen_for_what_it_is(etl: Command) -> None:
    code, output, error = etl(FIVE_TIMES)
    assert code == 0, error
    assert "each of 11,055 rows is there 5 times" in " ".join(error.split())
    assert "55,275 new, 0 changed, 0 unchanged" in output and "Next: updraft run network_security" in output


def test_a_file_that_lacks_a_column_is_refused(etl: Command, tmp_path: Path) -> None:
    lines = CLEAN.read_text().splitlines()
    (tmp_path / "thirty.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    code, output, error = etl(tmp_path / "thirty.csv")
    assert (code, output) == (1, "") and error.splitlines()[-1].endswith("'Result' is missing")
    shutil.copy(CLEAN, tmp_path / "phishing.xlsx")
    assert etl(tmp_path / "phishing.xlsx")[0] == 1 and etl.rows() == []
