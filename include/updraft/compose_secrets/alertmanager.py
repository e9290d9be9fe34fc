"""The configuration of Alertmanager, out of the ALERTS_… variables: whom alerts are sent to, and in what words.

The whole file is a secret, as URLs of webhooks are: they have a token in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from updraft.compose_secrets.variables import BadVariable

PROFILE = "alerts"  # of docker-compose.yaml, in which Alertmanager is
ADDRESS = "alertmanager:9093"
SLACK = "slack+"  # before a URL that takes messages in Slack's form
SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
MAIL = re.compile(r"[^\s@,<>\"/:]+@[^\s@,<>\"/:]+")
HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[0-9]{1,5}")
EXPECTED = "expected an e-mail address, https://… for Alertmanager's JSON or slack+https://… for Slack's form"
SMTP = ("ALERTS_SMTP", "ALERTS_SMTP_FROM")
LOGIN = ("ALERTS_SMTP_USER", "ALERTS_SMTP_PASSWORD")
# In Slack's form `<!channel>` and `<https://…|text>` mean something; these three characters are all that is special.
PLAIN = ' | reReplaceAll "&" "&amp;" | reReplaceAll "<" "&lt;" | reReplaceAll ">" "&gt;"'
TITLE = '{{ if eq .Status "firing" }}Alert{{ else }}Over{{ end }}: {{ .GroupLabels.alertname }}'
SUMMARIES = (
    "{{ range .Alerts.Firing }}{{ .Labels.severity }}: {{ .Annotations.summary@ }}\n{{ end }}"
    "{{ range .Alerts.Resolved }}over: {{ .Annotations.summary@ }}\n{{ end }}"
)


def targets(environ: Mapping[str, str]) -> str:
    """Return what Prometheus reads of where Alertmanager is: a list that is empty where nobody is to be told."""
    return json.dumps([{"targets": [ADDRESS]}] if receivers(environ) else [])


def receivers(environ: Mapping[str, str]) -> list[str]:
    """Return who is told of alerts: e-mail addresses and URLs."""
    return [each for each in re.split(r"[\s,]+", environ.get("ALERTS_TO", "")) if each]


def check_alerts(environ: Mapping[str, str]) -> None:
    """Raise BadVariable for the first variable that is invalid, or lacks another one; no message has a URL in it."""
    to = receivers(environ)
    profiles = {each.strip() for each in environ.get("COMPOSE_PROFILES", "").split(",")}
    if to and not {PROFILE, "*"} & profiles:
        raise BadVariable(f"ALERTS_TO: without COMPOSE_PROFILES={PROFILE} no Alertmanager runs to tell anybody")
    if PROFILE in profiles and not to:
        raise BadVariable(f"COMPOSE_PROFILES={PROFILE}: nobody is named in ALERTS_TO; {EXPECTED}")
    for number, each in enumerate(to, 1):
        if not MAIL.fullmatch(each) and not _is_url(each.removeprefix(SLACK)):
            raise BadVariable(f"ALERTS_TO: entry {number}: {EXPECTED}")
    if any(MAIL.fullmatch(each) for each in to):
        _check_smtp(environ)


def alertmanager_yml(environ: Mapping[str, str]) -> str:
    """Return Alertmanager's configuration; JSON, which is YAML."""
    to = receivers(environ)
    people: dict[str, Any] = {
        "name": "people",
        "slack_configs": [_slack(each.removeprefix(SLACK), environ) for each in to if _is_slack(each)],
        "webhook_configs": [_webhook(each) for each in to if not (_is_slack(each) or MAIL.fullmatch(each))],
        "email_configs": [_email(each, environ) for each in to if MAIL.fullmatch(each)],
    }
    timing = {"group_wait": "15s", "group_interval": "5m", "repeat_interval": "12h"}
    config = {"route": {"receiver": "people", "group_by": ["alertname"], **timing}, "receivers": [people]}
    return json.dumps(config, indent=2)


def _slack(url: str, environ: Mapping[str, str]) -> dict[str, Any]:
    text = SUMMARIES.replace("@", PLAIN) + _links(environ)
    return {"api_url": url, "send_resolved": True, "title": TITLE, "title_link": "", "fallback": TITLE, "text": text}


def _webhook(url: str) -> dict[str, Any]:
    """Take the login out of the URL: Alertmanager's log names the URL of a webhook that answers with an error."""
    parts = urlsplit(url)
    config: dict[str, Any] = {"send_resolved": True}
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user and password:
        config["http_config"] = {"basic_auth": {"username": user, "password": password}}
    elif password:
        config["http_config"] = {"authorization": {"credentials": password}}
    return config | {"url": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()}


def _email(address: str, environ: Mapping[str, str]) -> dict[str, Any]:
    text = SUMMARIES.replace("@", "") + _links(environ)
    settings: dict[str, Any] = {
        "to": address,
        "from": environ["ALERTS_SMTP_FROM"],
        "smarthost": environ["ALERTS_SMTP"],
        "require_tls": environ.get("ALERTS_SMTP_TLS") != "off",
        "send_resolved": True,
        "headers": {"Subject": TITLE},
        "text": text,
        "html": f'<pre style="white-space: pre-wrap">{text}</pre>',  # Go escapes what a template inserts
    }
    if user := environ.get("ALERTS_SMTP_USER"):
        settings |= {"auth_username": user, "auth_password": environ["ALERTS_SMTP_PASSWORD"]}
    return settings


def _links(environ: Mapping[str, str]) -> str:
    pages = {"Service": environ.get("SERVING_URL"), "Airflow": environ.get("AIRFLOW_URL")}
    return "".join(f"{name}: {url}\n" for name, url in pages.items() if url)


def _is_slack(receiver: str) -> bool:
    return receiver.startswith(SLACK) or urlsplit(receiver).hostname in SLACK_HOSTS


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except ValueError:  # a port that is none, half an IPv6 address
        return False


def _check_smtp(environ: Mapping[str, str]) -> None:
    for name in SMTP:
        if not environ.get(name):
            raise BadVariable(f"{name}: expected, as ALERTS_TO names an e-mail address")
    if not HOST_AND_PORT.fullmatch(environ["ALERTS_SMTP"]):
        raise BadVariable(f"ALERTS_SMTP: {environ['ALERTS_SMTP']!r}, expected host:port")
    if not MAIL.fullmatch(environ["ALERTS_SMTP_FROM"]):
        raise BadVariable(f"ALERTS_SMTP_FROM: {environ['ALERTS_SMTP_FROM']!r}, expected an e-mail address")
    if (environ.get("ALERTS_SMTP_TLS") or "required") not in ("required", "off"):
        raise BadVariable(f"ALERTS_SMTP_TLS: {environ['ALERTS_SMTP_TLS']!r}, expected required or off")
    if len([name for name in LOGIN if environ.get(name)]) == 1:
        raise BadVariable(f"{' and '.join(LOGIN)}: expected both, or neither")
