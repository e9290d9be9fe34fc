"""API keys and where secrets come from."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import pytest
from flask import Flask, g
from flask.testing import FlaskClient
from werkzeug.exceptions import NotFound

from serving.server.auth import ApiKeys, KeysFile, read_secret, require_api_key, require_host
from serving.server.problems import register_error_handlers
from serving.training.trigger import Trainer
from serving.training.views import blueprint
from tests.support.airflow_server import BEARER, TOKEN
from updraft.airflow_client import Airflow

ANN, BOB = "ann-has-a-long-key", "bob:has=another+key/=="
TEXT = f"# who may ask\n\nann:{ANN}\r\n  bob : {BOB} \n"
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client() -> FlaskClient:
    app = Flask(__name__, static_folder=None)
    register_error_handlers(app, lambda kind: None)
    require_api_key(app, ApiKeys.read(TEXT))
    app.register_blueprint(blueprint(Trainer(Airflow("http://127.0.0.1:1", "service", "password"), TOKEN)))
    for path in ("/", "/healthz", "/readyz", "/metrics"):
        app.add_url_rule(path, path, lambda: {"key": g.get("key_name")})
    app.add_url_rule("/missing", "missing", _missing)
    return app.test_client()


def _missing() -> str:
    raise NotFound("no such thing")


def basic(password: str, user: str = "") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({"X-API-Key": ANN}, "ann"),
        ({"X-API-Key": BOB}, "bob"),
        ({"Authorization": f"Bearer {ANN}"}, "ann"),
        ({"Authorization": f"bearer {BOB}"}, "bob"),
        (basic(ANN), "ann"),
        (basic(BOB, "whoever"), "bob"),
        ({"X-API-Key": ANN, "Authorization": f"Bearer {TOKEN}"}, "ann"),
        ({"X-API-Key": BOB, **basic(ANN)}, "bob"),
        ({"X-API-Key": "", **basic(ANN)}, "ann"),
    ],
)
def test_a_key_is_accepted_and_its_owner_recorded(headers: dict[str, str], name: str, client: FlaskClient) -> None:
    assert client.get("/", headers=headers).json == {"key": name}
    assert client.get("/missing", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ANN[:-1]},
        {"X-API-Key": ANN.upper()},
        {"X-API-Key": f"ann:{ANN}"},
        {"X-API-Key": f"{ANN},{ANN}"},
        {"X-API-Key": "é" * 20},
        {"X-API-Key": "wrong", "Authorization": f"Bearer {ANN}"},
        {"Authorization": ANN},
        {"Authorization": f"Bearer{ANN}"},
        {"Authorization": f"Digest {ANN}"},
        {"Authorization": "Basic ????"},
        {"Authorization": "Basic"},
        basic(""),
        basic("wrong", ANN),
    ],
)
@pytest.mark.parametrize("path", ["/", "/metrics", "/missing", "/nowhere", "/train/x", "/healthz/", "//healthz"])
def test_nobody_else_gets_in(headers: dict[str, str], path: str, client: FlaskClient) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS"):
        answer = client.open(path, method=method, headers=headers)
        assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
        assert answer.headers.getlist("WWW-Authenticate") == ['Bearer realm="updraft"']
        assert ANN not in answer.text and "ann" not in answer.text


def test_health_needs_no_key(client: FlaskClient) -> None:
    for path in ("/healthz", "/readyz"):
        assert client.get(path).json == {"key": None}


def test_a_browser_is_asked_for_the_key(client: FlaskClient) -> None:
    challenges = client.get("/", headers=HTML).headers.getlist("WWW-Authenticate")
    assert challenges == ['Bearer realm="updraft"', 'Basic realm="updraft"']
    for accept in ("*/*", "application/json", "application/json, text/html;q=0.5"):
        assert len(client.get("/", headers={"Accept": accept}).headers.getlist("WWW-Authenticate")) == 1


def test_a_key_alone_does_not_train_and_neither_does_the_token(client: FlaskClient) -> None:
    key = {"X-API-Key": ANN}
    realm = "WWW-Authenticate"
    answer = client.post("/train/x", headers=key)
    assert (answer.status_code, answer.headers[realm]) == (401, 'Bearer realm="updraft train"')
    assert client.post("/train/x", headers=key | {"Authorization": f"Bearer {ANN}"}).status_code == 403
    assert client.post("/train/x", headers={"Authorization": f"Bearer {ANN}"}).status_code == 403
    answer = client.post("/train/x", headers=BEARER)
    assert (answer.status_code, answer.headers[realm]) == (401, 'Bearer realm="updraft"')
    assert client.post("/train/x", headers=key | BEARER).status_code == 503  # let in, and there is no Airflow


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "there is none, expected lines"),
        ("# nobody\n\n", "there is none"),
        (f"ann:{ANN}\nno key here", "line 2: expected 'name:key'"),
        (f"{ANN}\n", "line 1: expected 'name:key'"),
        (f":{ANN}", "line 1: expected 'name:key'"),
        ("ann:", "line 1: expected 'name:key'"),
        (f"an n:{ANN}", "line 1: expected 'name:key'"),
        (f"{'n' * 65}:{ANN}", "line 1: expected 'name:key'"),
        ("\nann:0123456789abcde", "line 2: the key has 15 characters, expected 16 or more"),
        ("ann:a key with blanks in it", "line 1: the key contains a space"),
        ("ann:ein-schlüssel-mit-ü", "line 1: the key contains a space or a character that is not ASCII"),
        (f"ann:{ANN}\nann:{BOB}", "line 2: duplicate name 'ann'"),
        (f"ann:{ANN}\nbob:{ANN}", "line 2: the key is already another name's"),
    ],
)
def test_a_faulty_line_is_named_and_no_key(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        ApiKeys.read(text)
    for key in (ANN, BOB, "0123456789abcde", "blanks", "ssel"):
        assert key not in str(caught.value)


def test_keys_are_held_as_digests() -> None:
    keys = ApiKeys.read(TEXT)
    assert keys.owner(ANN) == "ann" and keys.owner("") is None and keys.owner("\ud800") is None
    assert ANN not in repr(vars(keys))


def test_a_secret_comes_from_its_variable_or_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  from the file\n\n")
    assert read_secret({}, "TOKEN") is None
    assert read_secret({"TOKEN": "", "TOKEN_FILE": ""}, "TOKEN") is None
    assert read_secret({"TOKEN": "given", "TOKEN_FILE": ""}, "TOKEN") == "given"
    assert read_secret({"TOKEN": "", "TOKEN_FILE": str(file)}, "TOKEN") == "from the file"


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, "TOKEN_FILE: cannot read the file: No such file or directory"),
        (lambda path: path.mkdir(), "TOKEN_FILE: cannot read the file: Is a directory"),
        (lambda path: path.write_text(" \n"), "TOKEN_FILE: the file is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "TOKEN_FILE: expected the path of a UTF-8 text file"),
    ],
    ids=["none", "folder", "empty", "bytes"],
)
def test_a_file_without_a_secret_is_reported_without_its_path(make, fault: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "secret-path")
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        read_secret({"TOKEN_FILE": str(tmp_path / "secret-path")}, "TOKEN")


def test_an_unreadable_file_and_a_secret_set_twice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^TOKEN and TOKEN_FILE: both are set, expected one of them$"):
        read_secret({"TOKEN": "given", "TOKEN_FILE": "/there"}, "TOKEN")
    with pytest.raises(ValueError, match=r"^TOKEN_FILE: expected the path"):
        read_secret({"TOKEN_FILE": "a\0b"}, "TOKEN")
    file = tmp_path / "token"
    file.write_text("secret")
    file.chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(ValueError, match=r"^TOKEN_FILE: cannot read the file: Permission denied$"):
            read_secret({"TOKEN_FILE": str(file)}, "TOKEN")


def test_a_problem_says_what_is_missing(client: FlaskClient) -> None:
    assert json.loads(client.get("/").data)["detail"] == "An API key is required."
    assert json.loads(client.get("/", headers={"X-API-Key": "x"}).data)["detail"] == "Unknown API key."


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "serving")
    file, third = tmp_path / "keys", "cem-has-a-long-key"
    file.write_text(TEXT)
    keys = KeysFile(file)
    assert (keys.owner(ANN), keys.owner(BOB), keys.owner(third)) == ("ann", "bob", None)
    file.write_text(f"bob:{BOB}\ncem:{third}\n")
    assert (keys.owner(ANN), keys.owner(BOB), keys.owner(third)) == (None, "bob", "cem")
    assert "2 keys now; gone: ann" in caplog.text
    for spoil in (lambda: file.write_text("cem:short\n"), file.unlink):
        caplog.clear()
        spoil()
        assert (keys.owner(ANN), keys.owner(third), keys.owner(third)) == (None, "cem", "cem")
        assert len(caplog.records) == 1 and "the keys of before stay" in caplog.text
        assert "short" not in caplog.text and third not in caplog.text
    (tmp_path / "fresh").write_text(TEXT)
    (tmp_path / "fresh").rename(file)  # as a mounted secret is replaced
    assert (keys.owner(ANN), keys.owner(third)) == ("ann", None)


def test_a_host_that_is_not_listed_is_refused() -> None:
    app = Flask(__name__, static_folder=None)
    register_error_handlers(app, lambda kind: None)
    require_host(app, ("models.example.com", ".inner"))
    for path in ("/", "/healthz"):
        app.add_url_rule(path, path, lambda: {"ok": True})
    client = app.test_client()
    for host, status in (
        ("models.example.com", 200), ("MODELS.example.com:8080", 200), ("a.inner", 200), ("inner", 200),
        ("example.com", 400), ("models.example.com.evil", 400), ("127.0.0.1", 400), ("xinner", 400),
    ):  # fmt: skip
        assert client.get("/", headers={"Host": host}).status_code == status, host
    assert client.get("/healthz", headers={"Host": "127.0.0.1"}).status_code == 200
