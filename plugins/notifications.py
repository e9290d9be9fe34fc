"""Tell people of what becomes of a run, as the YAML's `notify` says: in Slack's form or by e-mail.

What cannot be delivered is a warning in the log, and never fails a run: each message takes SECONDS at most.
"""

from __future__ import annotations

import html
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseHook, BaseNotifier, get_current_context
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret, redact  # type: ignore[attr-defined]  # what masks the log, too

from updraft.airflow_client import FAILURE
from updraft.errors import UserError
from updraft.usecase.notify_block import Event, Receivers

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from airflow.sdk.definitions.context import Context

log = logging.getLogger("airflow.task")

SECONDS = 15.0  # for a message, whatever the receiver does
MAX_TEXT = 600  # characters of a reason
MIN_SECRET = 16  # characters: masking a path such as `hook` would garble the log


class Undelivered(Exception):
    """A message could not be delivered; the text names the connection, and nothing that is in it."""


@dataclass(frozen=True)
class Message:
    """One thing to tell: what happened, why, and where to look."""

    event: Event
    title: str
    reason: str = ""
    link: str | None = None

    def lines(self) -> list[str]:
        """Return the message as lines of plain text, each of them bounded; secrets that Airflow knows are masked."""
        return [line for line in (one_line(self.title), one_line(self.reason), self.link or "") if line]


def one_line(text: object) -> str:
    """Return a text in one line of MAX_TEXT characters at most, with the secrets that Airflow knows masked."""
    masked = str(redact(str(text)))
    line = " ".join("".join(char if char.isprintable() else " " for char in masked[: 4 * MAX_TEXT]).split())
    return line if len(line) <= MAX_TEXT and len(masked) <= 4 * MAX_TEXT else f"{line[: MAX_TEXT - 1]}…"


def tell(notify: Receivers | None, message: Message) -> None:
    """Send a message to every receiver that is told of its event; log a warning for each that cannot be reached."""
    if notify is None or message.event not in notify.about:
        return
    notifiers: list[BaseNotifier] = []
    if notify.slack:
        notifiers.append(SlackNotifier(notify.slack.connection, message))
    if notify.email:
        notifiers.append(MailNotifier(notify.email.connection, notify.email.to, message))
    for notifier in notifiers:
        try:
            notifier.notify({})
        except Exception as error:  # whatever it is: the run is what counts
            shown = error if isinstance(error, Undelivered) else type(error).__name__
            log.warning("notify: a message was not delivered: %s", shown)


class SlackNotifier(BaseNotifier):
    """Post a message as `{"text": …}` to the URL of a connection."""

    def __init__(self, connection: str, message: Message) -> None:
        super().__init__()
        self.connection, self.message = connection, message

    def notify(self, context: Context) -> None:
        """Post it; raise Undelivered unless the receiver answers with 2xx. A redirect is not followed."""
        import requests

        url, headers = webhook(_connection(self.connection))
        # In Slack's form `<!channel>` and `<https://…|text>` mean something; these three characters are all it takes.
        text = html.escape("\n".join(self.message.lines()), quote=False)

        def post() -> None:
            with requests.post(
                url, json={"text": text}, headers=headers, timeout=SECONDS, allow_redirects=False, stream=True
            ) as answer:
                if not answer.ok or answer.is_redirect:
                    raise Undelivered(f"it answered {answer.status_code}")

        _bounded(post, self.connection)


class MailNotifier(BaseNotifier):
    """Send a message as an e-mail, by Airflow's own notifier, which takes the server from a connection."""

    def __init__(self, connection: str, to: tuple[str, ...], message: Message) -> None:
        super().__init__()
        self.connection, self.to, self.message = connection, to, message

    def notify(self, context: Context) -> None:
        """Send it; raise Undelivered where the server does not take it."""
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        found = _connection(self.connection)
        if not found.extra_dejson.get("from_email"):
            raise Undelivered(f"connection {self.connection!r}: its extra names no from_email")
        subject, *_ = lines = self.message.lines()
        body = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
        # It is not called as a callback is, since that would render what is in the message as a Jinja template.
        notifier = SmtpNotifier(
            to=list(self.to),
            from_email=found.extra_dejson["from_email"],
            subject=subject,
            html_content=body,
            smtp_conn_id=self.connection,
            auth_type=found.extra_dejson.get("auth_type", "basic"),
        )
        _bounded(lambda: notifier.notify(context), self.connection)


def note_failure(error: BaseException) -> None:
    """Leave in the task's XCom why it failed, for who is told of the run."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    try:
        get_current_context()["ti"].xcom_push(FAILURE, one_line(f"{kind}{error}"))
    except Exception as again:  # it must not take the place of the error itself
        log.warning("why the task failed could not be noted: %s", type(again).__name__)


def _connection(name: str) -> Connection:
    try:
        return BaseHook.get_connection(name)
    except AirflowNotFoundException:
        raise Undelivered(f"no Airflow connection {name!r}") from None


def webhook(found: Connection) -> tuple[str, dict[str, str]]:
    """Return the URL that a connection stands for, and its login as a header; all of it is masked in logs.

    The host may be a whole URL. A schema that is no protocol is the path, as in a connection that is written as a URL.
    A password without a user is a bearer token; in a connection of type `slackwebhook` it is the end of the path.
    """
    from requests.auth import _basic_auth_str

    schema, host = found.schema or "", found.host or ""
    protocol, _, host = host.rpartition("://")
    protocol = protocol or (schema if schema in ("http", "https") else "http" if found.conn_type == "http" else "https")
    path = "" if schema in ("http", "https") else f"/{schema}" * bool(schema)
    host, slash, rest = host.partition("/")
    port = f":{found.port}" if found.port else ""
    url = f"{protocol}://{host}{port}{slash}{rest}".rstrip("/") + path
    headers: dict[str, str] = {}
    if found.conn_type == "slackwebhook" and found.password:
        url = f"{url}/{found.password.lstrip('/')}"
    elif found.password:
        login = _basic_auth_str(found.login, found.password) if found.login else f"Bearer {found.password}"
        headers["Authorization"] = login
    if protocol not in ("http", "https") or not _has_host(url):
        raise Undelivered(f"connection {found.conn_id!r} is no URL of a webhook: expected a host, as https://host/path")
    for secret in (url, urlsplit(url).path.strip("/"), *headers.values()):
        if len(secret) >= MIN_SECRET:
            mask_secret(secret)
    return url, headers


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _bounded(send: Callable[[], object], connection: str) -> None:
    """Run `send` for SECONDS at most: a receiver that trickles bytes would outlast any timeout of a socket.

    Raises Undelivered, without the error's own text, in which a library may name the URL.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            send()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if thread.is_alive():
        raise Undelivered(f"connection {connection!r}: no answer within {SECONDS:g} s")
    if raised:
        shown = raised[0] if isinstance(raised[0], Undelivered) else type(raised[0]).__name__
        raise Undelivered(f"connection {connection!r}: {shown}")
