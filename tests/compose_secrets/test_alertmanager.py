"""Whom the Docker stack tells of alerts: what the environment may say, and what Alertmanager is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from updraft.compose_secrets.__main__ import create
from updraft.compose_secrets.alertmanager import alertmanager_yml, check_alerts, targets
from updraft.compose_secrets.variables import BadVariable

ON = {"COMPOSE_PROFILES": "alerts"}
MAIL = {**ON, "ALERTS_TO": "ann@example.com", "ALERTS_SMTP": "mail:587", "ALERTS_SMTP_FROM": "updraft@example.com"}
TOKEN = "T0KEN-of-the-webhook"


def people(**environ: str) -> dict[str, Any]:
    config = json.loads(alertmanager_yml(environ))
    [receiver] = config["receivers"]
    assert config["route"]["receiver"] == receiver["name"]
    return dict(receiver)


def test_without_a_receiver_nobody_is_told(tmp_path: Path) -> None:
    for environ in ({}, {"ALERTS_TO": "", "COMPOSE_PROFILES": ""}, {"COMPOSE_PROFILES": "cli"}):
        check_alerts(environ)
        assert json.loads(targets(environ)) == []


def test_each_kind_of_receiver_is_told_in_its_own_form() -> None:
    slack, other = f"https://hooks.slack.com/services/{TOKEN}", "https://chat.example.com/hooks/1"
    to = {**MAIL, "ALERTS_TO": f"https://host/hook {slack},slack+{other}\n ann@example.com"}
    check_alerts(to)
    got = people(**to)
    assert [each["url"] for each in got["webhook_configs"]] == ["https://host/hook"]
    assert [each["api_url"] for each in got["slack_configs"]] == [slack, other]
    assert [(each["to"], each["smarthost"]) for each in got["email_configs"]] == [("ann@example.com", "mail:587")]
    assert all(each["send_resolved"] for kind in got if kind != "name" for each in got[kind])
    assert json.loads(targets(to)) == [{"targets": ["alertmanager:9093"]}]


def test_a_login_stands_beside_the_url_of_a_webhook_not_in_it() -> None:
    urls = "https://ann:p%40ss@[::1]:8443/x?a=1 https://:t%3Aoken@host"
    basic, bearer = people(ALERTS_TO=urls)["webhook_configs"]
    assert basic["url"] == "https://[::1]:8443/x?a=1"
    assert basic["http_config"] == {"basic_auth": {"username": "ann", "password": "p@ss"}}
    assert (bearer["url"], bearer["http_config"]) == ("https://host", {"authorization": {"credentials": "t:oken"}})


def test_mail_is_sent_by_tls_unless_it_is_turned_off_with_a_login_where_there_is_one() -> None:
    [mail] = people(**MAIL)["email_configs"]
    assert mail["require_tls"] and "auth_password" not in mail
    login = {"ALERTS_SMTP_USER": "ann", "ALERTS_SMTP_PASSWORD": 'a "pass": {word}'}
    [mail] = people(**MAIL, **login, ALERTS_SMTP_TLS="off")["email_configs"]
    assert (mail["require_tls"], mail["auth_username"]) == (False, "ann")
    assert mail["auth_password"] == login["ALERTS_SMTP_PASSWORD"]


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ALERTS_TO": "ann@example.com"}, "ALERTS_TO: without COMPOSE_PROFILES=alerts no Alertmanager runs"),
        (ON, "COMPOSE_PROFILES=alerts: nobody is named in ALERTS_TO"),
        ({**ON, "ALERTS_TO": f"https://a/b ftp://host/{TOKEN}"}, "ALERTS_TO: entry 2: expected an e-mail address"),
        ({**ON, "ALERTS_TO": f"https:///{TOKEN}"}, "ALERTS_TO: entry 1: expected"),
        ({**ON, "ALERTS_TO": f"https://[::1/{TOKEN}"}, "ALERTS_TO: entry 1: expected"),
        ({**ON, "ALERTS_TO": f"https://host:port/{TOKEN}"}, "ALERTS_TO: entry 1: expected"),
        ({**ON, "ALERTS_TO": "#alerts"}, "ALERTS_TO: entry 1: expected"),
        ({**MAIL, "ALERTS_SMTP": ""}, "ALERTS_SMTP: expected, as ALERTS_TO names an e-mail address"),
        ({**MAIL, "ALERTS_SMTP": "mail"}, "ALERTS_SMTP: 'mail', expected host:port"),
        ({**MAIL, "ALERTS_SMTP_FROM": "Updraft"}, "ALERTS_SMTP_FROM: 'Updraft', expected an e-mail address"),
        ({**MAIL, "ALERTS_SMTP_TLS": "no"}, "ALERTS_SMTP_TLS: 'no', expected required or off"),
        ({**MAIL, "ALERTS_SMTP_PASSWORD": TOKEN}, "ALERTS_SMTP_USER and ALERTS_SMTP_PASSWORD: expected both"),
    ],
)
def test_what_cannot_be_is_named_without_its_secret(environ: dict[str, str], message: str) -> None:
    with pytest.raises(BadVariable, match=message) as caught:
        check_alerts(environ)
    assert TOKEN not in str(caught.value)


def test_the_stack_starts_with_no_half_of_it(tmp_path: Path) -> None:
    with pytest.raises(BadVariable, match="COMPOSE_PROFILES=alerts"):
        create(tmp_path, ON)
    assert list(tmp_path.iterdir()) == []
