"""Marks follow from fixtures, and what they promise is held: see `tests/support/marks.py`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.lanes import RUN_AIRFLOW
from tests.support.marks import MARKS
from tests.support.trained import Trained
from updraft.defaults import ROOT


@pytest.mark.parametrize(
    ("command", "fixture"),
    [
        (["mongod", "--port", "1"], "starts_servers"),
        (["/usr/bin/weed", "mini"], "starts_servers"),
        ([sys.executable, "-m", "airflow", "api-server"], "starts_airflow"),
        ([sys.executable, "-c", "from updraft.cli.main import main; main()", "up"], "starts_stack"),
        ([".venv/bin/updraft", "demo", "--rows", "9"], "starts_stack"),
        (["docker", "compose", "up"], "starts_compose"),
    ],
)
def test_a_test_without_the_mark_starts_no_server(command: list[str], fixture: str) -> None:
    with pytest.raises(AssertionError, match=f"no fixture of it requests `{fixture}`"):
        subprocess.Popen(command)


def test_other_programs_run_without_a_mark() -> None:
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0


def test_a_mark_follows_from_a_fixture_of_a_fixture(request: pytest.FixtureRequest, starts_stack: None) -> None:
    assert {mark.name for mark in request.node.iter_markers()} & set(MARKS.values()) == {"server", "stack"}


def test_what_requests_trained_models_is_slow(request: pytest.FixtureRequest, trained: Trained) -> None:
    assert {mark.name for mark in request.node.iter_markers()} & set(MARKS.values()) == {"slow"}


def test_quick_leaves_out_every_mark() -> None:
    (expression,) = re.findall(r"-m 'not \((.*)\)'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert set(expression.split(" or ")) == set(MARKS.values())


def test_modules_that_run_airflow_share_a_worker(request: pytest.FixtureRequest) -> None:
    assert all(any(ROOT.glob(f"{path}*")) for path in RUN_AIRFLOW)
    run = {
        item.path
        for item in request.session.items
        if {"airflow", "stack"} & {each.name for each in item.iter_markers()}
    }
    names = {path.relative_to(ROOT).as_posix() for path in run}
    apart = {name for name in names if not name.startswith(RUN_AIRFLOW)}
    whole_stacks = {"tests/local_stack/test_end_to_end.py", "tests/local_stack/test_demo_drift.py"}
    assert apart <= {*whole_stacks, "tests/test_marks.py"}
