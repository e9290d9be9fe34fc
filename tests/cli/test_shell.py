"""The `updraft` command as a person meets it: version, help, completion, what follows, how a failure looks."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import FileIO
from pathlib import Path

import pandas as pd
import pytest
import typer.main

from tests.local_stack.test_stack import free_environment
from tests.support.shell import Shell
from updraft.cli.main import app
from updraft.defaults import ROOT
from updraft.local_stack.environment import record, settle
from updraft.usecase import etl_dags, paths

NAME = "vehicle_insurance"
Run = Callable[..., subprocess.CompletedProcess[str]]
TOP = typer.main.get_command(app).commands
GROUPS = [name for name, command in TOP.items() if hasattr(command, "commands")]
COMMANDS = {name: command for name, command in TOP.items() if name not in GROUPS}
COMMANDS |= {f"{group} {name}": command for group in GROUPS for name, command in TOP[group].commands.items()}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """What a shell has where no stack was started."""
    folders = {"UPDRAFT_HOME": str(tmp_path / "home"), "UPDRAFT_ARTIFACTS": str(tmp_path / "artifacts")}
    return free_environment(PYTHONPATH=os.pathsep.join(sys.path), COLUMNS="200", **folders)


@pytest.fixture
def updraft(updraft_shell: Shell) -> Run:
    return updraft_shell.run


def test_version_names_the_commit(updraft: Run, environ: dict[str, str]) -> None:
    done = updraft(environ | {"UPDRAFT_COMMIT": "0123456789abcdef"}, "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"updraft \d+\.\d+\.\d+, commit 0123456789ab\n", done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_that_its_parser_takes(name: str) -> None:
    example = COMMANDS[name].epilog or ""
    words = re.fullmatch(rf"Example: (?:[A-Z_]+=\S+ )?updraft {name}((?: (?:\".*?\"|\S+))*)", example)
    assert words, example
    arguments = [word.strip('"') for word in re.findall(r"\".*?\"|\S+", words[1])]
    COMMANDS[name].make_context(name, arguments)  # raises for what it does not take


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("updraft run ve", ["vehicle_insurance", "vehicle_price"]),
        ("updraft check sms_spam cal", ["california_housing"]),
        ("updraft registry show sm", ["sms_spam"]),
        ("updraft demo --use-case net", ["network_security"]),
        ("updraft registry ver", ["verify"]),
    ],
)
def test_the_shell_completes(updraft: Run, line: str, expected: list[str], environ: dict[str, str]) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_UPDRAFT_COMPLETE": "complete_bash"}
    done = updraft(environ | words)
    assert (done.returncode, done.stderr, done.stdout.split()) == (0, "", expected)


def test_completion_imports_nothing_heavy(environ: dict[str, str]) -> None:
    """It runs at each press of Tab."""
    names = "updraft.cli.parameters.use_case_names('')"
    script = f"import sys, updraft.cli.main; print(*{names}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    names, loaded = (line.split() for line in done.stdout.splitlines())
    assert names == sorted(path.stem for path in paths())
    assert not {"boto3", "pandas", "pymongo", "requests", "sklearn", "updraft.usecase"} & set(loaded)


def test_check_names_the_next_command_and_json_is_all_of_stdout(updraft: Run, environ: dict[str, str]) -> None:
    done = updraft(environ, "check", NAME)
    first, following, _ = done.stdout.splitlines()
    assert (first, following) == (f"{NAME}: nothing wrong", f"Next: make demo USE_CASE={NAME} DATA=rows.csv")
    assert json.loads(updraft(environ, "check", NAME, "--json").stdout) == {
        "ok": True, "use_cases": [NAME], "faults": [],
    }  # fmt: skip


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a copy of those folders of the repository that a use case needs."""
    for folder in ("include", "expectations"):
        shutil.copytree(ROOT / folder, tmp_path / "copy" / folder)
    return tmp_path / "copy"


def test_the_command_lists_every_fault_and_exits_with_1(repository: Path, updraft_shell: Shell) -> None:
    def updraft(*words: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(repository / "include"), "UPDRAFT_HOME": str(repository / "home")}
        return updraft_shell.run(environ, *words, cwd=repository)

    done = updraft("check")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        *(f"{path.stem}: nothing wrong" for path in paths()),
        *(f"{dag_id}: nothing wrong" for dag_id in etl_dags()),
        f"Next: make demo USE_CASE={paths()[0].stem} DATA=rows.csv",
        "      Without DATA it trains on synthetic rows.",
    ]

    yaml = repository / "include/usecases/vehicle_insurance.yaml"
    yaml.write_text(yaml.read_text().replace("target: Response", "target: Respond\nsed: 1"))
    done = updraft("check")
    assert done.returncode == 1
    faulty = [line for line in done.stdout.splitlines() if not line.endswith(": nothing wrong")]
    assert ["target: no column 'Respond' in the suite" in faulty[0], "unknown key 'sed'" in faulty[1]] == [True, True]

    assert updraft("check", "vehicle_price").returncode == 0
    done = updraft("check", "vehicle_insurance", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["use_cases"]) == (1, False, ["vehicle_insurance"])
    assert [Path(fault["file"]).name for fault in found["faults"]] == ["vehicle_insurance.yaml"] * 2
    assert all(fault["line"] and fault["message"] for fault in found["faults"])

    done = updraft("check", "vehicle_insurence")
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean 'vehicle_insurance'?" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.usefixtures("takes_long")
def test_check_names_a_next_command_that_fits_the_source(repository: Path, updraft_shell: Shell) -> None:
    usecase, etl = repository / "include/usecases/sms_spam.yaml", repository / "include/etl/network_security.yaml"
    case_text, etl_text = usecase.read_text(), etl.read_text()
    environ = {**os.environ, "PYTHONPATH": str(repository / "include"), "UPDRAFT_HOME": str(repository / "home")}

    def following(name: str) -> list[str]:
        done = updraft_shell.run(environ, "check", name, cwd=repository)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[1:]

    assert following("etl_network_security") == ["Next: updraft etl network_security --data rows.csv"]
    for source in ("{file: {path: rows.csv}}", "{sql: {table: rows}}"):
        usecase.write_text(re.sub("(?m)^source: .*", f"source: {source}", case_text))
        assert following("sms_spam") == ["Next: updraft run sms_spam"]
    etl.write_text(re.sub("(?m)^source: .*", "source: {sql: {table: rows}}", etl_text))
    assert following("etl_network_security") == ["Next: updraft etl network_security"]


@pytest.mark.usefixtures("takes_long")
def test_a_run_prints_json_alone_and_its_log_holds_no_python(
    updraft: Run, frame: pd.DataFrame, environ: dict[str, str], tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    done = updraft(environ, "run", NAME, "--data", str(tmp_path / "rows.csv"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["use_case"] == NAME
    assert not re.search(r"[{}]|dict_|\[['\"]", done.stderr), done.stderr
    assert re.search(r"train [\d,]+ rows, [\d,]+ positive \(\d+\.\d%\) · test", " ".join(done.stderr.split()))


def read_all(screen: FileIO) -> bytes:
    shown = b""
    with suppress(OSError):  # raised at the end: the other side is closed
        while part := screen.read(4096):
            shown += part
    return shown


def test_a_failed_stage_does_not_keep_its_spinner(updraft: Run, environ: dict[str, str], tmp_path: Path) -> None:
    """On a terminal, as a person sees it: the last picture of each step."""
    (tmp_path / "rows.csv").write_text("id,Gender\n1,Male\n")
    ours, theirs = pty.openpty()
    with FileIO(ours) as screen, ThreadPoolExecutor(1) as reader:
        shown = reader.submit(read_all, screen)
        terminal = Path(os.ttyname(theirs))
        done = updraft(environ | {"TERM": "xterm"}, "run", NAME, "--data", str(tmp_path / "rows.csv"), stderr=terminal)
        os.close(theirs)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.result().decode())
    assert done.returncode == 1
    *_, ingest, validate, _ = text.splitlines()
    assert (ingest.split()[:2], validate.split()[:2]) == (["✓", "ingest"], ["✗", "validate"]), text[-2000:]
    assert text.splitlines()[-1].startswith("updraft: ")


def test_load_takes_the_former_name_of_its_flag(updraft: Run, environ: dict[str, str]) -> None:
    url = {"MONGODB_URL": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=100"}
    for flag in ("--synthetic", "--made-up"):
        done = updraft(environ | url, "load", NAME, flag, "10")
        assert done.returncode == 1 and "127.0.0.1:1" in done.stderr, done.stderr
    done = updraft(environ, "load", NAME)
    assert done.stderr == "updraft: load: expected a file, or --synthetic with the number of rows\n"
    assert "made" not in updraft(environ, "load", "--help").stdout


@pytest.mark.parametrize(
    ("words", "variable"),
    [
        (("run", "vehicle_insurance", "--data", "rows.csv"), "AWS_ENDPOINT_URL_S3"),  # for the registry
        (("run", "vehicle_insurance"), "AWS_ENDPOINT_URL_S3"),
        (("load", "vehicle_insurance", "rows.csv"), "MONGODB_URL"),
        (("registry", "list"), "AWS_ENDPOINT_URL_S3"),
    ],
)
def test_a_command_names_a_store_that_is_down_before_any_work(
    words: tuple[str, ...], variable: str, updraft: Run, environ: dict[str, str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    record(home, settle(home, free_environment()))  # a stack was started once and is down
    done = updraft(environ, *words)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"updraft: the stack in {home} is not running") and variable in line
    assert not (tmp_path / "artifacts").exists()
