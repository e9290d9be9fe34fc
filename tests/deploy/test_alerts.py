"""Alerts, from Prometheus's rules to a person: the real Prometheus and Alertmanager, receivers of the test's own."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.mail_server import MailServer, mail_server
from tests.support.servers import server
from tests.support.web_server import Answer, Request, WebServer, web_server
from updraft.compose_secrets.alertmanager import alertmanager_yml
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_ports

PROMETHEUS = ROOT / "deploy" / "prometheus"
TOKEN = "T0KEN-of-the-webhook"
FAILED = 'airflow_last_run_failed{{dag_id="train_shop"}} {}\n'
HOSTILE = 'airflow_last_run_failed{dag_id="<!channel> & <https://evil.example|here>\\n{{ 1 }}"} 1\n'


def require(*programs: str) -> None:
    if absent := [program for program in programs if not shutil.which(program)]:
        pytest.skip(
            f"no {', '.join(absent)} here: apt-get install --no-install-recommends prometheus-alertmanager prometheus"
        )


def to(*receivers: str, **more: str) -> dict[str, str]:
    return {
        "ALERTS_TO": " ".join(receivers),
        "AIRFLOW_URL": "http://airflow.test",
        "SERVING_URL": "http://s.test",
        **more,
    }


def smtp(port: int) -> dict[str, str]:
    return {"ALERTS_SMTP": f"127.0.0.1:{port}", "ALERTS_SMTP_FROM": "updraft@example.com", "ALERTS_SMTP_TLS": "off"}


class Alerting:
    """Prometheus with the shipped rules, Alertmanager with the configuration that the stack writes, both in a hurry."""

    def __init__(self, folder: Path, environ: dict[str, str], figures: Callable[[], str]) -> None:
        self.folder, self.figures = folder, figures
        self.log = folder / "alertmanager.log"
        self._config = alertmanager_yml(environ).replace('"15s"', '"1s"').replace('"5m"', '"1s"')

    @contextmanager
    def running(self) -> Iterator[None]:
        ours, theirs = free_ports(2)
        exporter = web_server(lambda _: Answer(self.figures().encode(), headers={"Content-Type": "text/plain"}))
        with ExitStack() as running:
            target = running.enter_context(exporter).url.removeprefix("http://")
            (self.folder / "alertmanager.yml").write_text(self._config)
            words = ["prometheus-alertmanager", f"--config.file={self.folder / 'alertmanager.yml'}"]
            words += [f"--storage.path={self.folder / 'state'}", "--cluster.listen-address="]
            words += [f"--web.listen-address=127.0.0.1:{theirs}"]
            running.enter_context(server(words, theirs, self.log))
            config = self._prometheus(target, theirs)
            words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'tsdb'}"]
            words += [f"--web.listen-address=127.0.0.1:{ours}"]
            running.enter_context(server(words, ours, self.folder / "prometheus.log"))
            yield

    def _prometheus(self, target: str, alertmanager: int) -> Path:
        """Write the shipped configuration with the test's own addresses, asked each second."""
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / "rules.yml")]
        [discovery] = config["alerting"]["alertmanagers"]
        found = self.folder / Path(discovery["file_sd_configs"][0]["files"][0]).name
        found.write_text(json.dumps([{"targets": [f"127.0.0.1:{alertmanager}"]}]))
        discovery["file_sd_configs"][0]["files"] = [str(found)]
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        config["scrape_configs"] = [{"job_name": "airflow", "static_configs": [{"targets": [target]}]}]
        assert jobs["alertmanager"]["file_sd_configs"] == discovery["file_sd_configs"]
        path = self.folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config))
        return path


def until(ask: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ask():
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing within {seconds} s")


def posted(hook: WebServer, path: str) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in hook.requests if request.path.startswith(path)]


def test_a_failed_run_reaches_a_webhook_a_channel_and_a_mailbox_and_so_does_its_end(
    starts_servers: None, tmp_path: Path
) -> None:
    require("prometheus", "prometheus-alertmanager")
    failed = 1
    with web_server(lambda _: Answer()) as hook, mail_server() as mail:
        receivers = (f"{hook.url}/json/{TOKEN}", f"slack+{hook.url}/slack/{TOKEN}", "ann@example.com")
        alerting = Alerting(tmp_path, to(*receivers, **smtp(mail.port)), lambda: FAILED.format(failed))
        with alerting.running():
            until(lambda: posted(hook, "/json") and posted(hook, "/slack") and mail.messages)
            failed = 0
            until(lambda: len(posted(hook, "/json")) > 1 and len(posted(hook, "/slack")) > 1 and len(mail.messages) > 1)
    summary = "The last run of train_shop failed"
    fired, over = posted(hook, "/json")[0], posted(hook, "/json")[-1]
    assert (fired["status"], over["status"]) == ("firing", "resolved")
    assert [alert["annotations"] for alert in fired["alerts"]] == [{"summary": summary}]
    [fired, *_, over] = [message["attachments"][0] for message in posted(hook, "/slack")]
    assert (fired["title"], over["title"]) == ("Alert: DagFailed", "Over: DagFailed")
    assert fired["text"] == f"critical: {summary}\nService: http://s.test\nAirflow: http://airflow.test\n"
    assert over["text"].startswith(f"over: {summary}\n")
    in_words(mail, summary)
    assert TOKEN not in alerting.log.read_text()


def in_words(mail: MailServer, summary: str) -> None:
    first, last = mail.messages[0], mail.messages[-1]
    assert (first["Subject"], last["Subject"]) == ("Alert: DagFailed", "Over: DagFailed")
    for kind in ("plain", "html"):
        body = first.get_body((kind,))
        assert body and f"critical: {summary}" in body.get_content()
    assert set(mail.recipients) == {"ann@example.com"}


def test_a_hostile_name_stays_text_and_a_receiver_that_fails_is_named_without_its_token(
    starts_servers: None, tmp_path: Path
) -> None:
    require("prometheus", "prometheus-alertmanager")

    def answer(request: Request) -> Answer:
        return Answer(status=500) if request.path.startswith("/broken") else Answer()

    with web_server(answer) as hook:
        host = hook.url.removeprefix("http://")
        broken = (f"http://ann:{TOKEN}@{host}/broken/basic", f"http://:{TOKEN}@{host}/broken/bearer")
        receivers = (*broken, f"slack+http://127.0.0.1:1/{TOKEN}", f"slack+{hook.url}/slack")
        alerting = Alerting(tmp_path, to(*receivers), lambda: HOSTILE)
        with alerting.running():
            [first, *_] = until(lambda: posted(hook, "/slack"))
            until(lambda: all(f"{name}[0]" in alerting.log.read_text() for name in ("webhook", "slack")))
            until(lambda: "webhook[1]" in alerting.log.read_text())
    text = first["attachments"][0]["text"]
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;" in text and "<" not in text
    log = alerting.log.read_text()
    assert "500" in log and TOKEN not in log
    logins = {request.path: request.headers["authorization"] for request in hook.requests if "broken" in request.path}
    basic = b64encode(f"ann:{TOKEN}".encode()).decode()
    assert logins == {"/broken/basic": f"Basic {basic}", "/broken/bearer": f"Bearer {TOKEN}"}


RECEIVERS = [
    to("https://host/hook"),
    to("https://hooks.slack.com/services/T/B/x", "slack+https://chat.example.com/hooks/x"),
    to("ann@example.com,bob@example.com", **smtp(25)),
    to(
        "ann@example.com",
        "https://[::1]:8080/x?a=1&b={{",
        **smtp(25),
        ALERTS_SMTP_USER="u",
        ALERTS_SMTP_PASSWORD='p"w\\#: {',
    ),
]


@pytest.mark.parametrize("environ", RECEIVERS, ids=["json", "slack", "mail", "odd"])
def test_alertmanager_takes_what_is_written_for_it(tmp_path: Path, environ: dict[str, str]) -> None:
    require("amtool")
    path = tmp_path / "alertmanager.yml"
    path.write_text(alertmanager_yml(environ))
    done = subprocess.run(["amtool", "check-config", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_as_their_tests_say() -> None:
    require("promtool")
    for words in (("test", "rules", "rules.test.yml"), ("check", "rules", "rules.yml")):
        done = subprocess.run(["promtool", *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_a_severity_and_a_summary() -> None:
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]
    assert rules.keys() == {
        each["alertname"] for test in tests for each in test["alert_rule_test"] if each.get("exp_alerts")
    }
    for rule in rules.values():
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"]["summary"]
