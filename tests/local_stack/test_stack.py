"""The local stack, on free ports and in its own folders: here its two stores, in test_end_to_end.py all of it."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from pymongo import MongoClient

from tests.support.local_stack import free, free_environment, marked, updraft
from updraft.local_stack import supervision
from updraft.local_stack.credentials import credentials
from updraft.local_stack.environment import PORTS, StackError, load, recorded, settle
from updraft.local_stack.programs import child_environment, programs
from updraft.local_stack.servers import FILER_KEYS, free_ports
from updraft.local_stack.service import api_key
from updraft.local_stack.stack import Stack

STORES = ("mongod", "s3")


@pytest.fixture
def home(starts_stack: None, tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a stack"
    yield folder
    supervision.stop(folder)


@pytest.fixture
def stack(home: Path) -> Stack:
    stack = Stack(home, free_environment())
    stack.up(only=STORES)
    return stack


@pytest.fixture(scope="module")
def shared(starts_stack: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for tests that leave it running and unchanged."""
    stack = Stack(tmp_path_factory.mktemp("shared") / "a stack", free_environment())
    stack.up(only=STORES)
    yield stack
    stack.down()


def answers(stack: Stack) -> bool:
    settings = stack.settings()
    with MongoClient[Any](settings["MONGODB_URL"], serverSelectionTimeoutMS=30000) as client:
        client.get_default_database()["some"].insert_one({"a": 1})
    names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    login = {name: settings[variable] for name, variable in names.items()}
    client = boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL_S3"], region_name="us-east-1", **login)
    return [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["updraft-models"]


def test_up_answers_down_ends_it_and_data_stays(stack: Stack, home: Path) -> None:
    assert answers(stack)
    assert len(marked(home)) == 3

    assert stack.down() == 3
    assert marked(home) == [] and free(stack.environ)
    assert stack.down() == 0

    again = Stack(home, free_environment() | dict.fromkeys(PORTS, ""))
    again.up(only=STORES)
    assert {name: again.settings()[name] for name in PORTS} == {name: stack.environ[name] for name in PORTS}
    with MongoClient[Any](again.settings()["MONGODB_URL"]) as client:
        assert client.get_default_database()["some"].count_documents({}) == 1


def test_mongod_and_s3_refuse_strangers(shared: Stack) -> None:
    settings = shared.settings()
    with (
        MongoClient[Any]("127.0.0.1", int(settings["MONGODB_PORT"]), serverSelectionTimeoutMS=30000) as client,
        pytest.raises(Exception, match="requires authentication"),
    ):
        client["updraft"]["some"].find_one()
    login = {"aws_access_key_id": "somebody", "aws_secret_access_key": "something"}
    s3 = boto3.client("s3", endpoint_url=settings["AWS_ENDPOINT_URL_S3"], region_name="us-east-1", **login)
    with pytest.raises(Exception, match=r"InvalidAccessKeyId|Forbidden|AccessDenied"):
        s3.list_buckets()
    config = (shared.home / "run" / "supervisord.conf").read_text()
    filer = f"http://127.0.0.1:{config.partition('-filer.port=')[2].split()[0]}/buckets/updraft-models/evil"
    for method in ("GET", "POST", "PUT", "DELETE"):
        request = urllib.request.Request(filer, data=None if method == "GET" else b"x", method=method)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=30)


def test_nothing_of_the_s3_server_is_left_in_tmp_when_it_is_killed(stack: Stack, home: Path) -> None:
    weed = psutil.Process(stack.processes()["s3"]["pid"])
    sockets = {Path(each.laddr) for each in weed.net_connections(kind="unix") if str(each.laddr).startswith("/")}
    outside = {path for path in sockets if not path.is_relative_to(home)}
    assert outside and all(path.exists() for path in outside)
    assert not list(Path(tempfile.gettempdir()).glob(f"weed.*.{weed.pid}"))  # its logs are in the stack's home
    assert (home / "logs" / "s3.log").stat().st_size
    for process in marked(home):
        process.kill()
    stack.down()
    assert not [path for path in outside if path.exists()]


def test_secrets_are_in_private_files_and_nowhere_else(shared: Stack) -> None:
    files = [path for path in (shared.home / "secrets").iterdir() if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in [*files, shared.home / "env"]} == {0o600}
    assert stat.S_IMODE(shared.home.stat().st_mode) == 0o700
    values = [path.read_text().strip() for path in files if path.suffix == ""]
    assert len(values) == 11 and all(len(value) >= 16 for value in values)
    visible = "\n".join(" ".join(process.cmdline()) for process in marked(shared.home))
    visible += "\n".join(
        path.read_text(errors="replace")
        for path in [*(shared.home / "logs").glob("*.log"), *(shared.home / "run").glob("*.conf")]
    )
    assert [value for value in values if value in visible] == []


def test_a_home_of_an_earlier_version_gets_the_missing_users(tmp_path: Path) -> None:
    """Its file of Airflow's passwords has the admin only, whose password may have been changed."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "airflow_admin_password").write_text("the first one")
    logins = folder / "airflow_passwords.json"
    logins.write_text('{"admin": "a changed one", "carol": "another"}')
    made = credentials(folder)
    assert made["airflow_admin_password"] == "the first one"
    known = {"admin": "a changed one", "carol": "another", "service": made["airflow_service_password"]}
    assert json.loads(logins.read_text()) == known
    assert stat.S_IMODE(logins.stat().st_mode) == 0o600

    before = logins.stat()
    assert credentials(folder) == made
    assert (logins.stat().st_ino, logins.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    logins.write_text("")  # as a full disk leaves it
    credentials(folder)
    assert json.loads(logins.read_text()).keys() == {"admin", "service"}


def test_each_program_gets_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    stack = Stack(tmp_path, free_environment())
    blanks = {program.name: program.environment for program in programs(stack.home, settle(stack.home, stack.environ))}
    training = {"AIRFLOW_PASSWORD", "SERVING_TRAIN_TOKEN"}
    assert {name for name, blanked in blanks.items() if not training & blanked.keys()} == {"serving"}
    for where_versions_move in ("UPDRAFT_SIGNING_KEY", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI"):
        assert {name for name, blanked in blanks.items() if where_versions_move not in blanked} == {
            "scheduler",
            "api-server",
        }
    assert blanks["scheduler"] == dict.fromkeys(training | {"SERVING_API_KEYS", *FILER_KEYS}, "")


def test_login_prints_how_to_train_without_the_token(shared: Stack) -> None:
    output, error = updraft(shared.home, shared.environ, "login").communicate(timeout=300)
    token = (shared.home / "secrets" / "train_token").read_text()
    assert error == "" and token not in output
    (line,) = [line for line in output.splitlines() if line.startswith("Train ")]
    command = line.removeprefix("Train ").strip().replace("curl ", "echo ", 1)
    printed = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True).stdout
    url = shared.settings()["SERVING_URL"]
    assert printed == f"-X POST --oauth2-bearer {token} {url}/train/vehicle_insurance\n"


def test_a_users_own_token_reaches_the_service_and_ours_does_not(tmp_path: Path) -> None:
    ours = settle(tmp_path, free_environment())["SERVING_TRAIN_TOKEN"]
    for environ in ({"SERVING_TRAIN_TOKEN": "a-token-of-theirs"}, {"SERVING_TRAIN_TOKEN_FILE": "/their/file"}):
        stack = Stack(tmp_path, free_environment(**environ))
        settings = settle(stack.home, stack.environ)
        child = child_environment(stack.environ, settings)
        assert "SERVING_TRAIN_TOKEN" not in settings  # and so in no file of ours
        assert {name: child[name] for name in child if name.startswith("SERVING_TRAIN")} == environ
    for environ in ({}, {"SERVING_TRAIN_TOKEN": "", "SERVING_TRAIN_TOKEN_FILE": ""}, {"SERVING_TRAIN_TOKEN": ours}):
        stack = Stack(tmp_path, free_environment(**environ))
        assert child_environment(stack.environ, settle(stack.home, stack.environ))["SERVING_TRAIN_TOKEN"] == ours


def test_another_airflows_password_is_left_out(tmp_path: Path) -> None:
    """The service uses the stack's own Airflow, and must find one password for it."""
    stack = Stack(tmp_path, free_environment(AIRFLOW_PASSWORD="theirs", AIRFLOW_PASSWORD_FILE="/their/file"))
    settings = settle(stack.home, stack.environ)
    child = child_environment(stack.environ, settings)
    assert "AIRFLOW_PASSWORD_FILE" not in child
    assert child["AIRFLOW_PASSWORD"] == (tmp_path / "secrets" / "airflow_service_password").read_text()


@pytest.mark.parametrize("in_file", [False, True])
def test_the_demo_sends_the_first_api_key(in_file: bool, tmp_path: Path) -> None:
    text = "# who may ask\n\n ann : anns-key:with=more \nbob:bobs-key"
    (tmp_path / "keys").write_text(text)
    name = {"SERVING_API_KEYS_FILE": str(tmp_path / "keys")} if in_file else {"SERVING_API_KEYS": text}
    assert api_key(name) == "anns-key:with=more"
    assert (
        api_key({}) == api_key({"SERVING_API_KEYS": "# none"}) == api_key({"SERVING_API_KEYS_FILE": "/nowhere"}) == ""
    )


def test_a_second_up_changes_nothing_and_one_that_died_comes_back(shared: Stack) -> None:
    before = {name: process["pid"] for name, process in shared.processes().items()}
    shared.up(only=STORES)
    assert {name: process["pid"] for name, process in shared.processes().items()} == before

    with supervision.server(shared.home) as proxy:
        proxy.supervisor.stopProcess("stores:s3")
    shared.up(only=STORES)
    after = {name: process["pid"] for name, process in shared.processes().items()}
    assert after["mongod"] == before["mongod"] and after["s3"] not in (0, before["s3"])
    assert answers(shared)


def test_a_running_stack_refuses_another_port(shared: Stack) -> None:
    environ = shared.environ | {"S3_PORT": str(free_ports(1)[0])}
    with pytest.raises(StackError, match=r"another .*S3_PORT.*`make down` first"):
        Stack(shared.home, environ).up(only=STORES)
    assert answers(shared)


def test_down_ends_what_a_killed_supervisord_left(stack: Stack, home: Path) -> None:
    supervisord = next(each for each in marked(home) if "supervisor.supervisord" in " ".join(each.cmdline()))
    supervisord.kill()
    supervisord.wait(60)
    assert "mongod" in [each.name() for each in marked(home)]

    stack.down()
    assert marked(home) == [] and free(stack.environ)


def test_up_takes_over_from_a_killed_supervisord(stack: Stack, home: Path) -> None:
    next(each for each in marked(home) if "supervisor.supervisord" in " ".join(each.cmdline())).kill()
    stack.up(only=STORES)
    assert answers(stack) and len(marked(home)) == 3


def test_a_taken_port_is_one_line_and_nothing_is_started(home: Path) -> None:
    environ = free_environment()
    with socket.socket() as owner:
        owner.bind(("127.0.0.1", int(environ["MONGODB_PORT"])))
        owner.listen()
        process = updraft(home, environ, "up")
        _, error = process.communicate(timeout=300)
    port = environ["MONGODB_PORT"]
    assert process.returncode == 1
    assert error.splitlines() == [
        f"updraft: port {port} is taken; choose another for mongod: make up MONGODB_PORT={int(port) + 1}"
    ]
    assert marked(home) == []


def test_a_wrong_limit_is_one_line_and_nothing_is_started(home: Path) -> None:
    process = updraft(home, free_environment(STARTUP_SECONDS="a minute"), "up")
    output, error = process.communicate(timeout=300)
    assert (process.returncode, output) == (1, "")
    (line,) = error.splitlines()
    assert line.startswith("updraft: STARTUP_SECONDS: 'a minute' is not a number of seconds")
    assert marked(home) == [] and not home.exists()


def test_what_is_not_ready_in_time_stays_up_and_the_next_up_waits_on(home: Path) -> None:
    environ = free_environment()
    process = updraft(home, environ | {"STARTUP_SECONDS": "1"}, "up")
    _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    late, hint = error.splitlines()
    name = late.split()[1]
    assert "is not ready after" in late and str(home / "logs" / f"{name}.log") in late
    assert hint == "updraft: the stack stays up: `make up` waits on, `make down` ends it"

    stack = Stack(home, environ)
    before = {name: process["pid"] for name, process in stack.processes().items() if process["pid"]}
    assert before.keys() >= {"mongod", "s3"}
    stack.up(only=STORES)
    assert answers(stack)
    assert {name: stack.processes()[name]["pid"] for name in STORES} == {name: before[name] for name in STORES}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_nothing_running(home: Path, number: signal.Signals) -> None:
    environ = free_environment()
    process = updraft(home, environ, "up")
    assert process.stdout is not None
    assert "ready" in process.stdout.readline()
    process.send_signal(number)
    time.sleep(0.3)
    process.send_signal(number)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    assert error.split() == ["Interrupted:", "stopping", "the", "stack", "…"]
    assert marked(home) == [] and free(environ)


def test_a_store_that_does_not_start_is_named_with_the_end_of_its_log(home: Path) -> None:
    stack = Stack(home, free_environment())
    stack.up(only=STORES)
    stack.down()
    (home / "mongodb" / "WiredTiger.turtle").write_text("not what mongod wrote")
    with pytest.raises(StackError) as caught:
        stack.up(only=STORES)
    first, *log = str(caught.value).splitlines()
    assert first == f"mongod does not start; the end of {home / 'logs' / 'mongod.log'}:"
    assert len(log) == 10 and "WiredTiger" in "".join(log)
    assert marked(home) == [] and free(stack.environ)


def test_lost_secrets_are_reported_at_once(home: Path) -> None:
    stack = Stack(home, free_environment())
    stack.up(only=STORES)
    stack.down()
    (home / "secrets" / "mongodb_password").unlink()
    with pytest.raises(StackError, match="has another password than secrets/mongodb_password"):
        Stack(home, stack.environ).up(only=STORES)
    assert marked(home) == []


@pytest.mark.usefixtures("starts_stack")
def test_a_home_too_deep_for_a_unix_socket(tmp_path: Path) -> None:
    home = tmp_path / ("d" * 100)
    stack = Stack(home, free_environment())
    try:
        stack.up(only=STORES)
        assert answers(stack)
    finally:
        stack.down()
    assert marked(home) == []


def test_clean_removes_the_home_and_only_a_stacks_home(stack: Stack, home: Path) -> None:
    stack.clean()
    assert not home.exists() and free(stack.environ)
    stack.clean()

    home.mkdir()
    (home / "thesis.txt").write_text("mine")
    with pytest.raises(StackError, match="no stack created it; nothing was removed"):
        stack.clean()
    with pytest.raises(StackError, match=r"holds 'thesis\.txt'; expected an empty folder"):
        stack.up(only=STORES)
    assert [path.name for path in home.iterdir() if path.name != "run"] == ["thesis.txt"]


def test_a_shell_and_python_read_the_same_from_the_env_file(shared: Stack) -> None:
    script = 'set -a; . "$1"; env -0'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(shared.home / "env")], capture_output=True, text=True, check=True, env={}
    )
    shell = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    settings = recorded(shared.home)
    assert {name: shell.get(name) for name in settings} == settings


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AIRFLOW_PORT", "http", "AIRFLOW_PORT: 'http' is not a port; expected a number from 1 to 65535"),
        ("S3_PORT", "70000", "S3_PORT: '70000' is not a port; expected a number from 1 to 65535"),
        ("S3_PORT", "5000", "S3_PORT and SERVING_PORT: both are 5000; expected 4 different ports"),
        ("UPDRAFT_HOME", "/tmp/it's", 'UPDRAFT_HOME: "/tmp/it\'s" holds "\'"'),
    ],
)
def test_wrong_settings_are_named_with_their_value(tmp_path: Path, name: str, value: str, message: str) -> None:
    with pytest.raises(StackError) as caught:
        stack = Stack(None, {"UPDRAFT_HOME": str(tmp_path), name: value})
        settle(stack.home, stack.environ)
    assert str(caught.value).startswith(message)


def test_stores_elsewhere_are_used_and_not_started(tmp_path: Path) -> None:
    atlas = {"MONGODB_URL": "mongodb+srv://me:secret@cluster0.example.net/insurance"}
    aws = {"UPDRAFT_REGISTRY": "s3://our-models/updraft"}
    for environ, left_out, absent in (
        (atlas, {"mongod"}, set()),
        (aws, {"s3"}, {"AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID"}),
    ):
        stack = Stack(tmp_path / left_out.copy().pop(), free_environment(**environ))
        settings = settle(stack.home, stack.environ)
        assert environ.items() <= settings.items() and not absent & settings.keys()
        assert left_out.isdisjoint(program.name for program in programs(stack.home, settings))


def test_a_shells_aws_login_does_not_reach_the_embedded_server(tmp_path: Path) -> None:
    shell = free_environment(AWS_ACCESS_KEY_ID="theirs", AWS_SECRET_ACCESS_KEY="theirs", AWS_PROFILE="work")
    stack = Stack(tmp_path, shell)
    settings = settle(stack.home, stack.environ)
    assert settings["AWS_ACCESS_KEY_ID"] != "theirs"
    supervision_environment = child_environment(stack.environ, settings)
    assert "AWS_PROFILE" not in supervision_environment
    assert supervision_environment["AWS_ACCESS_KEY_ID"] == settings["AWS_ACCESS_KEY_ID"]


def test_load_completes_the_environment_of_a_shell(shared: Stack) -> None:
    settings = shared.settings()
    shell = {"AWS_ACCESS_KEY_ID": "theirs", "AWS_PROFILE": "work", "UPDRAFT_ARTIFACTS": "/elsewhere"}
    load(shell, shared.home)
    assert shell == settings | {"UPDRAFT_ARTIFACTS": "/elsewhere"}

    elsewhere = {"UPDRAFT_REGISTRY": "s3://our-models", "AWS_PROFILE": "work"}
    load(elsewhere, shared.home)
    assert elsewhere["UPDRAFT_REGISTRY"] == "s3://our-models" and elsewhere["AWS_PROFILE"] == "work"
    assert "AWS_ENDPOINT_URL_S3" not in elsewhere and "AWS_ACCESS_KEY_ID" not in elsewhere
