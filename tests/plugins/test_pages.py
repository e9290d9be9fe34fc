"""The tabs of a run and the pages of versions: a real api-server serves them to who may see the runs, in a sandbox."""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from pages import read_artifact
from tests.support.airflow_server import LIVE, AirflowServer
from tests.support.axe import axe_source, findings_in, findings_on
from tests.support.trained import Trained
from updraft.registry.registry import Registry
from updraft.registry.s3 import split_uri

RUN = "manual__2026-11-29T03:00:00+00:00"
CARD = f"/updraft/runs/train_{LIVE}/{RUN}/card"
SCRIPT = "<script>document.title = 'ran'; parent.document.title = 'ran'</script>"
FAILED = {
    "expectation": "expect_column_values_to_be_in_set",
    "column": "Gender",
    "severity": "critical",
    "success": False,
    "kwargs": {"value_set": ["Female", "Male"]},
    "result": {"element_count": 9, "unexpected_count": 2, "partial_unexpected_list": ["<b>x</b>", None, "?", "?"]},
}
BOUNDS = {"max_value": 1_000_000, "value_set": [90210, 1e6]}
REPORT = {
    "configuration_sha256": "a" * 64,
    "success": False,
    "rows": 9,
    "expectations": 2,
    "failed": [FAILED],
    "tolerated": [],
    "all": [
        FAILED | {"success": True, "column": "Driving_License", "result": {"unexpected_count": 0}},
        FAILED | {"success": True, "column": "Vintage", "severity": "warning", "result": {"unexpected_count": 3}},
        FAILED | {"success": True, "column": "Age", "result": {"unexpected_count": 0}, "kwargs": BOUNDS},
        FAILED,
    ],
}
INGESTED = {
    "source": "file 'x'",
    "rows_read": 10,
    "quarantined": 1,
    "reasons": {"Age": 1},
    "examples": {"Age": "'old'"},
}


@pytest.fixture(scope="module")
def artifacts(api_server: AirflowServer, trained: Trained) -> Path:
    """Return the folder of runs, with one run in it: a real card, to which a script was added."""
    run = api_server.artifacts / LIVE / RUN
    for stage in ("evaluate", "validate", "ingest"):
        (run / stage).mkdir(parents=True)
    card = (trained.evaluation / "card.html").read_text()
    (run / "evaluate" / "card.html").write_text(card.replace("</body>", f"{SCRIPT}</body>"))
    (run / "validate" / "report.json").write_text(json.dumps(REPORT))
    (run / "ingest" / "ingest.json").write_text(json.dumps(INGESTED))
    return api_server.artifacts


def get(server: AirflowServer, path: str, user: str | None = "viewer") -> requests.Response:
    headers = {"Authorization": f"Bearer {server.token(user)}"} if user else {}
    return requests.get(server.url + path, headers=headers, timeout=60)


@pytest.mark.parametrize(
    "path", [CARD, f"/updraft/runs/train_{LIVE}/{RUN}/validation", f"/updraft/versions/train_{LIVE}/1"]
)
def test_who_is_not_logged_in_sees_nothing(api_server: AirflowServer, artifacts: Path, path: str) -> None:
    answer = get(api_server, path, None)
    assert answer.status_code == 401 and "Metrics" not in answer.text
    assert requests.get(f"{api_server.url}/updraft/openapi.json", timeout=60).status_code == 404


def test_a_viewer_sees_the_card_in_a_sandbox_that_loads_nothing(api_server: AirflowServer, artifacts: Path) -> None:
    answer = get(api_server, CARD)
    assert answer.status_code == 200 and "held-out rows" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups;") and "default-src 'none'" in policy
    assert "script" not in policy and answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_report_has_the_worst_first_and_takes_values_as_text(api_server: AirflowServer, artifacts: Path) -> None:
    answer = get(api_server, CARD.replace("/card", "/validation"))
    assert answer.status_code == 200 and "http" not in answer.text.partition("<body>")[2]
    assert "&#39;&lt;b&gt;x&lt;/b&gt;&#39;, &#39;?&#39;<" in answer.text and "<b>x" not in answer.text
    assert "value set Female, Male<" in answer.text
    assert "max value 1,000,000, value set 90210, 1,000,000<" in answer.text
    assert (
        answer.text.index("failed, critical")
        < answer.text.index("passed, as few enough")
        < answer.text.index(">passed<")
    )
    for words in ("10 rows were read from file", "1 quarantined", "2 expectations on 9 rows: 1 failed"):
        assert words in " ".join(answer.text.split()), words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"/updraft/runs/train_{LIVE}/none/card", "No model card yet"),
        (f"/updraft/runs/train_{LIVE}/none/validation", "No report yet"),
        ("/updraft/runs/etl_network_security/none/card", "A run of an ETL makes no model"),
        ("/updraft/runs/monitor_vehicle_insurance/none/validation", "No validation"),
        ("/updraft/runs/another/none/card", "no DAG of a use case"),
        ("/updraft/runs/monitor_vehicle_insurance/none/card", "No report yet"),
        (f"/updraft/versions/train_{LIVE}/1", "Nothing can be shown of this version"),
        (f"/updraft/runs/train_{LIVE}/%2e%2e/card", "No model card yet"),
        (f"/updraft/runs/train_{LIVE}/..%2f..%2fx/card", "Not Found"),
        (f"/updraft/runs/train_..%2f{LIVE}/{RUN}/card", "Not Found"),
    ],
)
def test_what_is_not_there_is_said(api_server: AirflowServer, artifacts: Path, path: str, words: str) -> None:
    answer = get(api_server, path)
    assert answer.status_code == 404 and words in answer.text


@pytest.mark.parametrize(
    ("run", "states", "page", "words"),
    [
        ("failed", {"validate": "failed"}, "card", "No model card|The run failed in the task validate"),
        (
            "failed",
            {"validate": "failed"},
            "validation",
            "No report|The task validate has ended, and its files are not",
        ),
        (
            "success",
            {"evaluate": "success"},
            "card",
            "No model card|The task evaluate has ended, and its files are not",
        ),
        ("running", {"evaluate": "running"}, "card", "No model card yet|It is there when the task evaluate has ended"),
    ],
)
def test_why_there_is_no_card_or_report_is_said(
    api_server: AirflowServer, run: str, states: dict[str, str], page: str, words: str
) -> None:
    run_id = f"test_{secrets.token_hex(4)}"
    api_server.admin.trigger(f"train_{LIVE}", run_id)
    with closing(sqlite3.connect(api_server.folder / "airflow.db", timeout=60)) as database, database:
        database.execute("UPDATE dag_run SET state = ? WHERE run_id = ?", (run, run_id))  # as a scheduler does
        for task, state in states.items():
            place = (state, task, run_id)
            database.execute("UPDATE task_instance SET state = ? WHERE task_id = ? AND run_id = ?", place)
    heading, why = words.split("|")
    text = get(api_server, f"/updraft/runs/train_{LIVE}/{run_id}/{page}").text
    assert f"<h1>{heading}</h1>" in text and why in text


def test_a_run_has_the_tabs_in_the_browser_and_no_script_of_a_task_runs(
    api_server: AirflowServer, artifacts: Path
) -> None:
    from playwright.sync_api import sync_playwright

    api_server.admin.trigger(f"train_{LIVE}", RUN)
    chromium = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies([{"name": "_token", "value": api_server.token("viewer"), "url": api_server.url}])
        page = context.new_page()
        outside: list[str] = []
        page.on("request", lambda asked: outside.append(asked.url) if api_server.url not in asked.url else None)
        page.goto(f"{api_server.url}/dags/train_{LIVE}/runs/{RUN}")
        for tab, words in (("Model card", "held-out rows"), ("Validation", "Quarantined, by column")):
            page.get_by_role("link", name=tab).click()
            page.frame_locator("iframe").get_by_text(words).first.wait_for()
        assert "ran" not in {page.title(), *(frame.evaluate("document.title") for frame in page.frames)}
        assert [url for url in outside if not url.startswith("data:")] == []
        browser.close()


def test_axe_finds_nothing_serious_in_the_tabs(
    api_server: AirflowServer, artifacts: Path, peer_environments: Path
) -> None:
    from playwright.sync_api import sync_playwright

    card = get(api_server, CARD).text.replace(SCRIPT, "")
    assert findings_in(peer_environments, {"Model card": card}) == []
    paths = (CARD.replace("/card", "/validation"), f"/updraft/runs/train_{LIVE}/none/card")
    cookies = [{"name": "_token", "value": api_server.token("viewer"), "url": api_server.url}]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        urls = [api_server.url + path for path in paths]
        assert list(findings_on(browser, axe_source(peer_environments), urls, cookies)) == []
        browser.close()


def test_the_files_of_runs_are_read_from_s3_too(registry: Registry, s3: dict[str, str], monkeypatch: Any) -> None:
    for name, value in {**s3, "UPDRAFT_ARTIFACTS": f"{registry.bucket}/runs"}.items():
        monkeypatch.setenv(name, value)
    assert read_artifact(f"train_{LIVE}", RUN, "evaluate/card.html") is None
    bucket, prefix = split_uri(str(registry.bucket))
    key = f"{prefix}/runs/{LIVE}/{RUN}/evaluate/card.html"
    registry.bucket.create_if_missing()  # another test of this process may have made it
    registry.bucket.client.put_object(Bucket=bucket, Key=key, Body=b"card")
    assert read_artifact(f"train_{LIVE}", RUN, "evaluate/card.html") == b"card"
