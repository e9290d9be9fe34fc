"""What `make up` recorded leads to servers that may be down: a command that needs them says so before any work."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.local_stack.test_stack import free_environment
from updraft.local_stack.environment import StackError, load, record, settle
from updraft.local_stack.stores import check_stores

ELSEWHERE = {"MONGODB_URL": "mongodb://127.0.0.1:1/theirs", "UPDRAFT_REGISTRY": "s3://our-models"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a stack that was started once and is down."""
    home = tmp_path / "home"
    record(home, settle(home, free_environment()))
    return home


def environ(home: Path, **given: str) -> dict[str, str]:
    """Return what a command has in its environment: the user's variables, completed by the recorded ones."""
    variables = dict(given)
    load(variables, home)
    return variables


def test_a_store_that_is_down_is_named(home: Path) -> None:
    for store, variable in (("mongod", "MONGODB_URL"), ("s3", "AWS_ENDPOINT_URL_S3")):
        with pytest.raises(StackError) as caught:
            check_stores(environ(home), home, store)
        start = f"the stack in {home} is not running (`make up` starts it)"
        assert str(caught.value) == f"{start}; {variable} in {home / 'env'} points at it"


def test_a_store_that_listens_is_taken_for_running(home: Path) -> None:
    variables = environ(home)
    with socket.create_server(("127.0.0.1", int(variables["MONGODB_PORT"]))):
        check_stores(variables, home, "mongod")


def test_a_store_elsewhere_is_not_checked(home: Path, tmp_path: Path) -> None:
    check_stores(environ(home, **ELSEWHERE), home, "mongod", "s3")
    check_stores(environ(home, UPDRAFT_REGISTRY=""), home, "s3")
    check_stores({}, tmp_path / "no stack", "mongod", "s3")
    theirs = tmp_path / "theirs"
    record(theirs, settle(theirs, free_environment(**ELSEWHERE)))
    check_stores(environ(theirs), theirs, "mongod", "s3")
