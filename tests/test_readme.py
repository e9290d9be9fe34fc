"""The README's "Add your own", run as it stands there, in a copy of the repository."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.churn_rows import base
from tests.support.local_stack import free_environment
from updraft.defaults import ROOT
from updraft.local_stack import supervision

SECTION = re.search(r"^## Add your own\n(.*?)^## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.S | re.M)
COMMANDS = re.findall(r"^    (\S.*)$", SECTION[1], re.M) if SECTION else []
PARTS = (
    "include",
    "expectations",
    "dags",
    "plugins",
    "serving",
    "deploy",
    "Makefile",
    "pyproject.toml",
    "requirements-dev.txt",
)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    """Give a copy of the repository with a `.venv` of its own name, and the reader's file in it."""
    root = tmp_path / "copy"
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, root / part)  # with bytecode: it is compiled once
        else:
            root.mkdir(exist_ok=True)
            shutil.copy2(ROOT / part, root / part)
    command = root / ".venv/bin/updraft"
    command.parent.mkdir(parents=True)
    script = "from updraft.cli.main import main; main()"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(script)} "$@"\n')
    command.chmod(0o755)
    (root / ".venv/.made-from-lock").touch()  # so that `make` takes it for made
    base(600).to_csv(root / "customers.csv", index=False)
    yield root
    supervision.stop(root / ".updraft")


def run(repository: Path, command: str, environ: dict[str, str]) -> str:
    environ = environ | {"PYTHONPATH": f"{repository / 'include'}{os.pathsep}{repository}", "COLUMNS": "200"}
    done = subprocess.run(
        shlex.split(command), cwd=repository, env=environ, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.usefixtures("takes_long")
def test_new_and_check_do_what_the_readme_says(repository: Path) -> None:
    assert [shlex.split(command)[:2] for command in COMMANDS] == [
        [".venv/bin/updraft", "new"],
        [".venv/bin/updraft", "check"],
        ["make", "demo"],
    ]
    told = run(repository, COMMANDS[0], dict(os.environ))
    assert "customer_churn learns churned (binary) from 600 rows" in told
    for path in ("include/usecases/customer_churn.yaml", "expectations/customer_churn.json"):
        assert path in told and (repository / path).is_file()
    assert f"Next: {COMMANDS[2]}" in told.replace("'", "")
    assert run(repository, COMMANDS[1], dict(os.environ)).splitlines()[0] == "customer_churn: nothing wrong"


@pytest.mark.usefixtures("starts_stack", "starts_airflow")
@pytest.mark.timeout(900)
def test_the_demo_serves_what_new_wrote(repository: Path) -> None:
    environ = free_environment()
    told = [run(repository, command, environ) for command in COMMANDS]
    assert "decision: promote, because there is no champion yet" in told[-1]
    models = requests.get(f"http://127.0.0.1:{environ['SERVING_PORT']}/models", timeout=60).json()["models"]
    assert [(model["use_case"], model["version"]) for model in models] == [("customer_churn", 1)]
