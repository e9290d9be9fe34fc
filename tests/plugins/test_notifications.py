"""What people are told of runs: by a real web server and a real mail server, of which some misbehave."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import notifications
from notifications import MAX_TEXT, Message, Undelivered, one_line, tell, webhook
from tests.support.mail_server import mail_server
from tests.support.web_server import Answer, WebServer, web_server
from updraft.usecase.notify_block import Email, Notify, Slack

TOKEN = "T0KEN-of-the-webhook"
SLACK = Notify(slack=Slack(connection="chat"))
MAIL = Notify(email=Email(to=("ann@example.com", "bob@example.com"), connection="post"))
FAILED = Message("failed", "train_shop failed at `validate`", "Age: 3 rows", "http://airflow.test/runs/1")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with web_server(lambda _: Answer(b"ok")) as server:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", f"{server.url}/hooks/{TOKEN}")
        yield server


def texts(hook: WebServer) -> list[str]:
    return [json.loads(request.body)["text"] for request in hook.requests]


def test_a_message_has_what_happened_why_and_where_to_look(hook: WebServer) -> None:
    tell(SLACK, FAILED)
    assert texts(hook) == ["train_shop failed at `validate`\nAge: 3 rows\nhttp://airflow.test/runs/1"]
    assert hook.requests[0].path == f"/hooks/{TOKEN}"


def test_nobody_is_told_where_the_yaml_names_nobody_or_another_event(hook: WebServer) -> None:
    tell(None, FAILED)
    tell(SLACK.model_copy(update={"about": ("promoted",)}), FAILED)
    assert not hook.requests


def test_mail_has_it_in_subject_and_body_and_is_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    with mail_server() as mail:
        extra = {"from_email": "updraft@example.com", "disable_tls": True, "disable_ssl": True}
        connection = {"conn_type": "smtp", "host": "127.0.0.1", "port": mail.port, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_POST", json.dumps(connection))
        tell(MAIL, Message("failed", "failed\r\nBcc: eve@example.com", "{{ 7 * 7 }} <b>rows</b>", "http://a.test"))
    [message] = mail.messages
    assert message["Subject"] == "failed Bcc: eve@example.com"
    assert message["From"] == "updraft@example.com" and "Bcc" not in message
    assert mail.recipients == ["ann@example.com", "bob@example.com"]
    body = message.get_body(("html",))
    assert body and "{{ 7 * 7 }} &lt;b&gt;rows&lt;/b&gt;" in body.get_content()


def test_a_hostile_text_calls_nobody_and_stays_in_one_line(hook: WebServer) -> None:
    tell(SLACK, Message("failed", "a\n<!channel> & <https://evil.example|here>\u2028\x1b[31m", "x" * 100_000))
    [text] = texts(hook)
    title, reason = text.split("\n")
    assert title == "a &lt;!channel&gt; &amp; &lt;https://evil.example|here&gt; [31m"
    assert len(reason) == MAX_TEXT and reason.endswith("…")
    assert len(one_line("\n" * 100_000 + "x")) <= MAX_TEXT


def test_a_secret_that_the_log_masks_is_masked_in_a_message(hook: WebServer) -> None:
    from airflow.sdk.log import mask_secret

    mask_secret("the-password-of-the-database")
    tell(SLACK, Message("failed", "failed", "cannot log in with the-password-of-the-database"))
    assert texts(hook) == ["failed\ncannot log in with ***"]


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500])
def test_an_answer_that_is_no_success_is_a_warning_without_the_url(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with web_server(lambda _: Answer(b"x" * 100, status, {"Location": "/elsewhere"})) as hook:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", f"{hook.url}/hooks/{TOKEN}")
        tell(SLACK, FAILED)
        assert len(hook.requests) == 1
    assert f"connection 'chat': it answered {status}" in caplog.text and TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (None, "no Airflow connection 'chat'"),
        (f"http://127.0.0.1:1/{TOKEN}", "connection 'chat': ConnectionError"),
        (f'{{"conn_type": "http", "host": "https:///{TOKEN}"}}', "connection 'chat' is no URL of a webhook"),
        (f'{{"conn_type": "http", "host": "ftp://host/{TOKEN}"}}', "connection 'chat' is no URL of a webhook"),
        (f'{{"conn_type": "http", "host": "https://[::1/{TOKEN}"}}', "connection 'chat' is no URL of a webhook"),
        ('{"conn_type": "http"}', "connection 'chat' is no URL of a webhook"),
    ],
)
def test_a_connection_that_cannot_be_used_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, uri: str | None, message: str
) -> None:
    if uri:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", uri)
    caplog.set_level(logging.DEBUG)
    tell(SLACK, FAILED)
    assert message in caplog.text
    assert not any(TOKEN in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


@contextmanager
def trickling() -> Iterator[int]:
    """Serve a receiver that sends a header line now and then, for ever."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not over.wait(0.1):
                    connection.sendall(b"X: y\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def test_a_receiver_that_never_ends_its_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifications, "SECONDS", 1.0)
    with trickling() as port:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", f"http://127.0.0.1:{port}/{TOKEN}")
        tell(SLACK, FAILED)  # else it would go on for ever
    assert "connection 'chat': no answer within 1 s" in caplog.text


def test_a_mail_server_that_is_down_or_a_sender_that_is_missing_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_POST", "smtp://ann:secret-of-anns@127.0.0.1:1/?disable_tls=true&disable_ssl=true")
    tell(MAIL, FAILED)
    assert "connection 'post': its extra names no from_email" in caplog.text
    monkeypatch.setenv("AIRFLOW_CONN_POST", "smtp://ann:secret-of-anns@127.0.0.1:1/?disable_ssl=true&from_email=a@b.c")
    tell(MAIL, FAILED)
    assert "connection 'post': ConnectionRefusedError" in caplog.text and "secret-of-anns" not in caplog.text


def test_one_receiver_that_is_down_leaves_the_other_its_message(
    hook: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    tell(Notify(slack=SLACK.slack, email=MAIL.email), FAILED)
    assert len(hook.requests) == 1 and "no Airflow connection 'post'" in caplog.text


@pytest.mark.parametrize(
    ("connection", "url", "login"),
    [
        ({"conn_type": "http", "host": "https://chat.test/hooks/1"}, "https://chat.test/hooks/1", None),
        ({"conn_type": "http", "host": "chat.test", "schema": "https", "port": 8443}, "https://chat.test:8443", None),
        ({"conn_type": "http", "host": "chat.test"}, "http://chat.test", None),
        (
            {"conn_type": "slackwebhook", "host": "https://hooks.slack.com/services/", "password": "/T/B/x"},
            "https://hooks.slack.com/services/T/B/x",
            None,
        ),
        ({"conn_type": "slackwebhook", "host": "hooks.slack.com/services", "password": "T/B/x"},
         "https://hooks.slack.com/services/T/B/x", None),
        ({"conn_type": "http", "host": "https://a.test", "password": "a-token"}, "https://a.test", "Bearer a-token"),
        (
            {"conn_type": "http", "host": "https://chat.test", "login": "ann", "password": "pw"},
            "https://chat.test",
            "Basic YW5uOnB3",
        ),
    ],
)  # fmt: skip
def test_a_connection_is_read_as_airflow_users_write_it(
    connection: dict[str, object], url: str, login: str | None
) -> None:
    from airflow.sdk import Connection

    made = Connection(conn_id="chat", **connection)
    assert webhook(made) == (url, {"Authorization": login} if login else {})


@pytest.mark.parametrize("uri", ["https://hooks.slack.com/services/T/B/x", "http://127.0.0.1:8065/hooks/1"])
def test_a_connection_may_be_the_url_itself(uri: str) -> None:
    from airflow.sdk import Connection

    assert webhook(Connection.from_uri(uri, conn_id="chat")) == (uri, {})
    with pytest.raises(Undelivered):
        webhook(Connection(conn_id="chat", conn_type="http", host="https://"))
