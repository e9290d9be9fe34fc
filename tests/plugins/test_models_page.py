"""Models in Airflow's UI: a real api-server shows every use case, and moves versions for those who may."""

from __future__ import annotations

import html
import re
import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

import model_facts
from links import question_url
from models_page import Visitor, show
from open_questions import OpenQuestion
from tests.support.airflow_server import LIVE, SERVING_URL, VIEWER, AirflowServer
from tests.support.axe import axe_source, findings_on
from tests.support.measured_versions import push_measured
from updraft.local_stack.credentials import ADMIN, SERVICE
from updraft.local_stack.servers import free_port
from updraft.registry import monitor_state
from updraft.registry.registry import Registry, open_registry
from updraft.registry.signing_keys import Keys

QUESTION = "Promote forest <b> in place of version 2?"
LOOKER = Visitor("1", "anna", may_move=False)


@pytest.fixture(scope="module")
def store(api_server: AirflowServer) -> Registry:
    """Return the registry of the api-server."""
    return open_registry(api_server.environ)


@pytest.fixture
def name(request: pytest.FixtureRequest, store: Registry, tmp_path: Path) -> str:
    """Return a use case that no other test uses, with three versions, the first two of which were promoted."""
    made = re.sub("[^a-z0-9]+", "_", request.node.name.lower())[-50:].strip("_")
    made = f"m_{made}"
    push_measured(store, made, tmp_path, [0.31, 0.33, 0.36], [None, 1, 2])
    for number in (1, 2):
        store.promote(made, number, expect=store.production(made), who="a test", why=f"version {number}")
    return made


class Browser:
    """A user's session, which sends forms as a browser does."""

    def __init__(self, server: AirflowServer, user: str) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.cookies.set("_token", server.token(user))

    def get(self, name: str = "", query: str = "") -> requests.Response:
        path = f"/train_{name}{query}" if name else ""
        return self.session.get(f"{self.server.url}/updraft/models{path}", timeout=60)

    def form(self, name: str, **fields: Any) -> dict[str, str]:
        """Fill in a form of the page of a use case."""
        page = self.get(name).text
        hidden = {key: re.findall(f'name="{key}" value="([^"]*)"', page)[0] for key in ("token", "sequence")}
        return hidden | {"why": "it is better"} | {key: str(value) for key, value in fields.items()}

    def post(self, name: str, form: Any, **headers: str) -> requests.Response:
        headers = {"Origin": self.server.url} | headers
        place = f"{self.server.url}/updraft/models/train_{name}"
        sent = {key: value for key, value in headers.items() if value}
        return self.session.post(place, data=form, headers=sent, timeout=60, allow_redirects=False)


@pytest.fixture(scope="module")
def refused(
    api_server: AirflowServer, store: Registry, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Browser, str]:
    """Return an administrator, and a use case at which nothing may change."""
    push_measured(store, "m_refused", tmp_path_factory.mktemp("refused"), [0.31, 0.33, 0.36])
    for number in (1, 2):
        store.promote("m_refused", number, expect=store.production("m_refused"), who="a test", why=f"version {number}")
    return Browser(api_server, ADMIN), "m_refused"


@pytest.mark.parametrize("user", [SERVICE, "op", ADMIN])
def test_who_may_answer_questions_of_the_dag_promotes_in_their_own_name(
    api_server: AirflowServer, store: Registry, name: str, user: str
) -> None:
    browser = Browser(api_server, user)
    answer = browser.post(name, browser.form(name, action="promote", version=3, why="better  on\nMondays <b>"))
    assert answer.status_code == HTTPStatus.SEE_OTHER, answer.text
    last = store.history(name)[-1]
    assert (last.action, last.production, last.who) == ("promote", 3, f"{user} (Airflow)")
    assert last.why == "better on Mondays <b>"
    page = browser.get(name, f"?done={last.sequence}").text
    assert "<b>Done.</b>" in page and "better on Mondays &lt;b&gt;" in page and "Mondays <b>" not in page


def test_a_viewer_looks_and_changes_nothing(api_server: AirflowServer, store: Registry, name: str) -> None:
    viewer = Browser(api_server, VIEWER)
    page = viewer.get(name)
    assert page.status_code == HTTPStatus.OK and "You may look, viewer" in page.text and "<form" not in page.text
    form = Browser(api_server, ADMIN).form(name, action="promote", version=3)
    assert viewer.post(name, form).status_code == HTTPStatus.FORBIDDEN
    assert store.production(name) == 2


def test_who_is_not_logged_in_sees_nothing(api_server: AirflowServer, name: str) -> None:
    for path in ("/updraft/models", f"/updraft/models/train_{name}"):
        assert requests.get(api_server.url + path, timeout=60).status_code == HTTPStatus.UNAUTHORIZED
    refused = requests.post(f"{api_server.url}/updraft/models/train_{name}", data={"action": "promote"}, timeout=60)
    assert refused.status_code == HTTPStatus.UNAUTHORIZED


def test_looking_changes_nothing(api_server: AirflowServer, store: Registry, name: str) -> None:
    def content() -> dict[str, str]:
        keys = sorted(store.bucket.keys(f"{name}/"))
        return {key: answer[1] for key in keys if (answer := store.bucket.get(f"{name}/{key}"))}

    before, browser = content(), Browser(api_server, ADMIN)
    form = browser.form(name, action="promote", version=3)
    for query in ("", f"?{'&'.join(f'{key}={value}' for key, value in form.items())}", "?challenger=1&done=2"):
        page = browser.get(name, query)
        assert page.status_code == HTTPStatus.OK and "frame-ancestors 'self'" in page.headers["Content-Security-Policy"]
        assert "unsafe" not in page.headers["Content-Security-Policy"] and "<script" not in page.text
    assert browser.get().status_code == HTTPStatus.OK
    assert content() == before and len(before) > 9


@pytest.mark.parametrize(
    ("fields", "headers", "status", "words"),
    [
        ({"token": ""}, {}, 403, "another user"),
        ({"token": "forged"}, {}, 403, "another user"),
        ({}, {"Origin": "https://evil.example"}, 403, "not sent from a page of this Airflow"),
        ({}, {"Origin": "null"}, 403, "not sent from a page of this Airflow"),
        ({}, {"Origin": ""}, 403, "not sent from a page of this Airflow"),
        ({}, {"Sec-Fetch-Site": "same-site"}, 403, "not sent from a page of this Airflow"),
        ({}, {"Sec-Fetch-Site": "cross-site"}, 403, "not sent from a page of this Airflow"),
        ({}, {"Content-Type": "text/plain"}, 400, "expected the form"),
        ({"why": "x" * 20_000}, {}, 400, "16 kB"),
        ({f"field{number}": "x" for number in range(30)}, {}, 400, "expected the form"),
        ({"why": " \n "}, {}, 422, "a reason is needed"),
        ({"version": ""}, {}, 422, "choose one"),
        ({"version": "three"}, {}, 422, "version:"),
        ({"version": "77"}, {}, 409, "no version 77"),
        ({"action": "remove"}, {}, 422, "action:"),
        ({"who": "somebody else"}, {}, 422, "who:"),
        ({"action": "canary"}, {}, 409, "percent"),
        ({"sequence": "1"}, {}, 409, "the last move is 2, promote of version 2 by a test (version 2)"),
    ],
)
def test_a_form_is_refused_and_changes_nothing(
    api_server: AirflowServer, refused: tuple[Browser, str], store: Registry,
    fields: dict[str, str], headers: dict[str, str], status: int, words: str,
) -> None:  # fmt: skip
    browser, case = refused
    answer = browser.post(case, browser.form(case, action="promote", version=3) | fields, **headers)
    assert answer.status_code == status and "Nothing was changed" in answer.text and words in answer.text
    assert len(store.history(case)) == 2


def test_a_token_is_one_users_and_one_use_cases(api_server: AirflowServer, store: Registry, name: str) -> None:
    admin, op = Browser(api_server, ADMIN), Browser(api_server, "op")
    push = {"action": "promote", "version": 3}
    store.promote(f"{name}", 1, expect=2, who="a test", why="again")
    others = op.form(name, **push)
    assert admin.post(name, others).status_code == HTTPStatus.FORBIDDEN
    assert op.post("m_another", others).status_code == HTTPStatus.FORBIDDEN
    assert op.post(name, others).status_code == HTTPStatus.SEE_OTHER
    assert store.production(name) == 3


def test_a_stale_page_changes_nothing_and_keeps_the_reason(
    api_server: AirflowServer, store: Registry, name: str
) -> None:
    browser = Browser(api_server, ADMIN)
    form = browser.form(name, action="promote", version=3, why="seen on Monday")
    store.promote(name, 1, expect=2, who="somebody", why="faster")
    answer = browser.post(name, form)
    assert answer.status_code == HTTPStatus.CONFLICT and store.production(name) == 1
    assert "the last move is 3, promote of version 1 by somebody (faster)" in answer.text
    assert ">seen on Monday</textarea>" in answer.text
    again = form | {"sequence": "3"}
    assert browser.post(name, again).status_code == HTTPStatus.SEE_OTHER and store.production(name) == 3


def test_a_double_click_is_one_move(api_server: AirflowServer, store: Registry, name: str) -> None:
    browser = Browser(api_server, ADMIN)
    form = browser.form(name, action="rollback")
    with ThreadPoolExecutor(2) as pool:
        answers = [*pool.map(lambda _: browser.post(name, form), range(2))]
    assert [answer.status_code for answer in answers] == [HTTPStatus.SEE_OTHER] * 2, answers[1].text
    assert [move.action for move in store.history(name)] == ["promote", "promote", "rollback"]


def test_a_rollout_is_started_ended_and_taken_back(api_server: AirflowServer, store: Registry, name: str) -> None:
    browser = Browser(api_server, ADMIN)

    def do(action: str, **fields: Any) -> requests.Response:
        return browser.post(name, browser.form(name, action=action, **fields))

    assert do("canary", version=3, percent=12.5).status_code == HTTPStatus.SEE_OTHER
    assert "canary 12.5 % since" in browser.get(name).text and "canary 12.5 % since" in browser.get().text
    assert do("shadow", version=1).status_code == HTTPStatus.CONFLICT
    assert do("abort").status_code == HTTPStatus.SEE_OTHER
    assert "Rollout of version 3 aborted</b> by admin (Airflow): it is better" in browser.get().text
    version = browser.session.get(f"{api_server.url}/updraft/versions/train_{name}/3", timeout=60).text
    assert f"updraft registry promote {name} 3 --force" in version
    assert re.search('<option value="3">.*<option value="1" selected>', browser.get(name).text, re.S)  # 3 is held
    held = do("promote", version=3)
    assert held.status_code == HTTPStatus.CONFLICT and "version 3 is held by admin (Airflow)" in held.text
    assert "tick “also if it is held”" in held.text and "--force" not in held.text
    assert do("shadow", version=3, force="true").status_code == HTTPStatus.SEE_OTHER
    assert do("finish").status_code == HTTPStatus.SEE_OTHER and store.production(name) == 3
    assert do("rollback").status_code == HTTPStatus.SEE_OTHER and store.production(name) == 2
    actions = [move.action for move in store.history(name)]
    assert actions == ["promote", "promote", "canary", "abort", "shadow", "finish", "rollback"]


def test_one_use_cases_fault_does_not_stop_the_others(api_server: AirflowServer, store: Registry, name: str) -> None:
    key = f"{name}/pointer.json"
    body = store.bucket.get(key)
    assert body
    store.bucket.put(key, body[0].replace(b"version 2", b"version X"))
    browser = Browser(api_server, ADMIN)
    page = browser.get().text
    assert f"{name}/pointer.json" in page and "train_sms_spam makes one" in page
    broken = browser.get(name)
    assert broken.status_code == HTTPStatus.OK and "Nothing can be changed while" in broken.text
    assert "<form" not in broken.text and "#compare" not in broken.text
    store.bucket.put(key, body[0])
    assert browser.get("m_unknown").status_code == HTTPStatus.NOT_FOUND


def test_the_page_is_an_entry_of_airflows_and_works_in_its_frame(
    api_server: AirflowServer, store: Registry, name: str
) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies([{"name": "_token", "value": api_server.token(ADMIN), "url": api_server.url}])
        page = context.new_page()
        page.goto(f"{api_server.url}/plugin/models")
        frame = page.frame_locator("iframe")
        frame.get_by_role("link", name=name).click()
        frame.get_by_text("Promote a version").click()
        frame.locator("details[open] textarea").fill("seen in a browser")
        frame.get_by_role("button", name="Promote").click()
        frame.get_by_text("Done.").wait_for()
        narrow = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
        narrow.add_cookies([{"name": "_token", "value": api_server.token(VIEWER), "url": api_server.url}])
        page, complaints = narrow.new_page(), list[str]()
        page.on("console", lambda message: complaints.append(message.text))
        for path in ("", f"/train_{name}"):
            page.goto(f"{api_server.url}/updraft/models{path}")
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 23, 29)"
        assert complaints == []  # of the policy, above all
        browser.close()
    last = store.history(name)[-1]
    assert (last.production, last.why) == (3, "seen in a browser")


def test_a_page_says_what_the_monitor_found_and_leads_to_its_report(
    api_server: AirflowServer, store: Registry, name: str
) -> None:
    found = monitor_state.Signal(signal="covariate", action="retrain", reason="Age (PSI 3.00)")
    state = monitor_state.MonitorState(
        name=name, version=2, sequence=2, at="2026-11-29T10:58:31+00:00", report="20261129T105831Z",
        page_sha256="a" * 64, rows=900, labels=0, refused=0, drift="covariate shift: Age",
        performance="not enough labels: 0 labels", metric="pr_auc", found=[found], worst={}, history=[],
        drift_state="found",
    )  # fmt: skip
    monitor_state.write(store.bucket, store.keys, state)
    browser = Browser(api_server, ADMIN)
    assert "Covariate shift</b>: Age (PSI 3.00)" in browser.get().text
    page = browser.get(name).text
    assert "Covariate shift</b>: Age (PSI 3.00), asks to train again" in page
    assert f'href="{SERVING_URL}/monitoring/{name}"' in page
    for drift_state, colour in (("unknown", "quiet"), ("none", "good")):  # the state decides, whatever the words
        other = state.model_copy(update={"found": [], "drift": "nothing is said of Age", "drift_state": drift_state})
        monitor_state.write(store.bucket, store.keys, other)
        for text, words in ((browser.get().text, "Nothing"), (browser.get(name).text, "nothing")):
            assert f'<b class="{colour}">{words} is said of Age</b>' in text, drift_state


def test_links_out_of_the_pages_are_links_where_they_can_be_followed(api_server: AirflowServer, name: str) -> None:
    admin, service = Browser(api_server, ADMIN), f"{SERVING_URL}/{name}"
    for path in (f"models/train_{name}", f"versions/train_{name}/3"):
        url = f"{api_server.url}/updraft/{path}"
        alone, framed = (
            admin.session.get(url, headers={"Sec-Fetch-Dest": dest}, timeout=60).text for dest in ("document", "iframe")
        )
        assert f'href="{service}"' in alone and service in framed and f'href="{service}"' not in framed, path
    unknown = admin.session.get(f"{api_server.url}/updraft/models/train_m_unknown", timeout=60)
    assert unknown.status_code == HTTPStatus.NOT_FOUND and '<a href="../models">' in unknown.text


@pytest.fixture
def waits(api_server: AirflowServer) -> Iterator[str]:
    """Yield a run of LIVE that waits for an answer, as the scheduler leaves it: the api-server has none."""
    run = api_server.admin.request("POST", f"dags/train_{LIVE}/dagRuns", {"logical_date": None, "conf": {}})
    run_id = run["dag_run_id"]
    with closing(sqlite3.connect(api_server.folder / "airflow.db", timeout=60)) as database, database:
        of_it = ("approve", run_id)
        (task,) = database.execute("SELECT id FROM task_instance WHERE task_id = ? AND run_id = ?", of_it).fetchone()
        database.execute("UPDATE task_instance SET state = 'awaiting_input' WHERE id = ?", (task,))
        columns = "ti_id, options, subject, params, params_input, created_at"
        values = (task, '["promote", "reject"]', QUESTION, "{}", "{}", "2026-11-30 09:15:00")
        database.execute(f"INSERT INTO hitl_detail ({columns}) VALUES (?, ?, ?, ?, ?, ?)", values)
    yield run_id
    api_server.admin.request("DELETE", f"dags/train_{LIVE}/dagRuns/{quote(run_id, safe='')}")


def test_models_say_what_a_run_asks(api_server: AirflowServer, waits: str) -> None:
    admin, viewer = Browser(api_server, ADMIN), Browser(api_server, VIEWER)
    for browser, name in ((admin, ""), (admin, LIVE), (viewer, "")):
        page = browser.get(name).text
        assert page.count("Waits for an answer") == 1
        assert name or page.index(f'<h2><a href="models/train_{LIVE}"') == page.index("<h2>")  # before all others
        assert "since 2026-11-30 09:15: Promote forest &lt;b&gt; in place of version 2?" in page
        assert waits in html.unescape(page)  # without Airflow's own address there is no link
    assert "Waits for an answer" not in admin.get("vehicle_insurance").text
    api_server.admin.request(
        "PATCH",
        f"dags/train_{LIVE}/dagRuns/{quote(waits, safe='')}/taskInstances/approve/-1/hitlDetails",
        {"chosen_options": ["reject"], "params_input": {}},
    )
    assert "Waits for an answer" not in admin.get().text


def test_axe_finds_nothing_serious(api_server: AirflowServer, name: str, peer_environments: Path) -> None:
    from playwright.sync_api import sync_playwright

    cookies = [{"name": "_token", "value": api_server.token(ADMIN), "url": api_server.url}]
    paths = ("models", f"models/train_{name}", f"versions/train_{name}/3", "models/train_m_unknown")
    urls = [f"{api_server.url}/updraft/{path}" for path in paths]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        found = list(findings_on(browser, axe_source(peer_environments), urls, cookies))
        browser.close()
    assert found == []


def test_without_a_signing_key_there_are_commands_in_place_of_forms(registry: Registry, tmp_path: Path) -> None:
    push_measured(registry, "sms_spam", tmp_path, [0.31, 0.33, 0.36], [None, 1, 2])
    for number in (1, 2):
        registry.promote("sms_spam", number, expect=registry.production("sms_spam"), who="a test", why="better")
    reader = Registry(registry.bucket, _verifying(registry))
    facts = model_facts.details("sms_spam", reader)
    page = bytes(show(facts, reader, replace(LOOKER, may_move=True)).body).decode()
    assert "no signing key" in page and "<form" not in page
    for command in ("promote sms_spam 3", "rollback sms_spam", "rollout sms_spam 3"):
        assert f"updraft registry {command}" in page
    facts.definition = replace(facts.definition, promote="never")
    assert "updraft registry promote sms_spam NUMBER" in bytes(show(facts, reader, LOOKER).body).decode()


def test_a_question_leads_to_where_it_is_answered(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_URL", "http://airflow.test")
    there = "http://airflow.test/dags/train_x/runs/a%2Bb/tasks/approve/required_actions"
    asked = [OpenQuestion(QUESTION, "a+b", datetime(2026, 11, 30, 9, 15), question_url("train_x", "a+b", "approve"))]
    facts = model_facts.Facts("x", model_facts.Definition("x", "r2", "approve"), [])
    alone, framed = (
        bytes(show(facts, registry, replace(LOOKER, framed=framed), asked).body).decode() for framed in (False, True)
    )
    assert f'<a href="{there}"' in alone and f"<code>{there}</code>" in framed and f'href="{there}"' not in framed


def test_champion_and_challenger_are_compared_on_the_same_rows_where_they_were(
    registry: Registry, tmp_path: Path
) -> None:
    push_measured(registry, "sms_spam", tmp_path, [0.31, 0.33, 0.36, 0.37], [None, 1, 2, 1])
    registry.promote("sms_spam", 2, expect=None, who="a test", why="better")
    facts = model_facts.details("sms_spam", registry)
    same = model_facts.compare(facts, registry, 3)
    assert same and same["same_rows"] == 4000 and same["champion"].metrics["pr_auc"] == pytest.approx(0.326)
    other = model_facts.compare(facts, registry)  # the latest was compared with version 1, which is not in production
    assert other and other["same_rows"] is None and other["challenger"].number == 4
    assert other["champion"].metrics["pr_auc"] == pytest.approx(0.33)


def test_a_yaml_with_faults_and_a_registry_that_is_down_are_a_line_each(
    registry_environ: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "include" / "usecases"
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("choose_by: [\n")
    facts = model_facts.summarize("broken", None, tmp_path)
    assert facts.definition.exists and not model_facts.summarize("nothing", None, tmp_path).definition.exists
    assert len(facts.faults) == 1 and facts.faults[0].startswith("include/usecases/broken.yaml")
    down = open_registry(registry_environ | {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{free_port()}"})
    names, fault = model_facts.use_cases(down, tmp_path)
    assert names == ["broken"] and fault.startswith("S3: Could not connect") and "\n" not in fault


@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3], [0.0, 0.0], [-2.5e6, 3.0e6, 1.0]])
def test_a_chart_holds_every_point(values: list[float]) -> None:
    facts = model_facts.Facts("x", model_facts.Definition("x", "r2", "auto"), [])
    facts.versions = [
        model_facts.VersionFacts(number, f"2026-11-0{number}T00:00:00+00:00", metrics={"r2": value})
        for number, value in enumerate(values, 1)
    ]
    chart = facts.chart(100)
    assert chart and len(chart.dots) == len(values)
    assert all(0 <= dot.x <= 100 and 0 <= dot.y <= 100 for dot in chart.dots)
    assert 1 <= len(chart.ticks) <= 6 and len({label for _, label in chart.ticks}) == len(chart.ticks)


def _verifying(registry: Registry) -> Keys:
    return Keys(None, registry.keys.verifying)
