"""What people are told of a training's outcome and of its quarantine, received by a real web server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from outcome_messages import tell_of_finish, tell_of_outcome, tell_of_quarantine, tell_of_roll_back
from tests.support.small_cases import integer, small_case
from tests.support.web_server import Answer, WebServer, web_server
from updraft.registry.manifest import Version
from updraft.stages.push import Outcome
from updraft.stages.runs import Run, RunFiles
from updraft.usecase import UseCase

URL = "http://airflow.test/dags/train_small/runs/1"
VERSION = Version("small", 4, {"metrics": {"f1": 0.8125}})


@pytest.fixture
def case() -> UseCase:
    yaml = {"notify": {"slack": {"connection": "chat"}}, "quarantine_budget": 0.1, "gate": {"metric": "f1"}}
    return small_case([integer("x"), integer("y")], **yaml)


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    with web_server(lambda _: Answer(b"ok")) as server:
        monkeypatch.setenv("AIRFLOW_CONN_CHAT", f"{server.url}/hooks/1")
        yield server


def texts(hook: WebServer) -> list[str]:
    return [json.loads(request.body)["text"] for request in hook.requests]


@pytest.mark.parametrize(
    ("outcome", "title"),
    [
        (
            Outcome(VERSION, "promote", "f1 beats"),
            "version 4 is in production (f1 0.8125), put there by airflow:train_small",
        ),
        (Outcome(VERSION, "hold", "f1 beats"), "version 4 is stored, and not promoted"),
        (Outcome(VERSION, "canary", "f1 beats"), "version 4 is tried beside production, as a canary"),
        (Outcome(None, "reject", "f1 beats"), "no new version"),
    ],
)  # fmt: skip
def test_an_outcome_is_told_with_its_reason_and_a_link(
    case: UseCase, hook: WebServer, tmp_path: Path, outcome: Outcome, title: str
) -> None:
    tell_of_outcome(case, outcome, Run("1", RunFiles(tmp_path), "airflow:train_small", URL))
    assert texts(hook) == [f"small: {title}\nf1 beats\n{URL}"]


def test_what_the_monitor_does_is_told_with_its_reason_and_a_link(case: UseCase, hook: WebServer) -> None:
    tell_of_roll_back(case, "version 4 is taken back, version 3 is in production", "performance: f1 0.2", URL)
    tell_of_finish(case, 5, "900 rows speak for it", URL)
    tell_of_finish(case.model_copy(update={"notify": None}), 5, "", URL)
    assert texts(hook) == [
        f"small: version 4 is taken back, version 3 is in production\nperformance: f1 0.2\n{URL}",
        f"small: version 5 is in production, put there by monitor_small\n900 rows speak for it\n{URL}",
    ]


@pytest.mark.parametrize(("quarantined", "told"), [(0, False), (79, False), (80, True), (100, True)])
def test_a_quarantine_is_told_of_from_four_fifths_of_the_budget_on(
    case: UseCase, hook: WebServer, tmp_path: Path, quarantined: int, told: bool
) -> None:
    facts = {"rows_read": 1000, "quarantined": quarantined, "reasons": {"x": quarantined} if quarantined else {}}
    (tmp_path / "ingest.json").write_text(json.dumps(facts))
    tell_of_quarantine(case, tmp_path, URL)
    title = f"small: {quarantined} of 1,000 rows were quarantined, close to the budget of 10.00%"
    assert texts(hook) == [f"{title}\nmost often for x ({quarantined})\n{URL}"] * told


def test_nobody_is_told_without_notify(case: UseCase, hook: WebServer, tmp_path: Path) -> None:
    quiet = case.model_copy(update={"notify": None})
    tell_of_outcome(quiet, Outcome(VERSION, "promote", ""), Run("1", RunFiles(tmp_path), "airflow:train_small", None))
    assert not hook.requests
