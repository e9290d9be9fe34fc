"""What people are told of trainings: a copy of the repository whose YAML has `notify`, run by real Airflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.web_server import Answer, WebServer, web_server
from updraft.defaults import ROOT
from updraft.demo.rows import generate, write
from updraft.usecase import load

NAME = "vehicle_insurance"
TOKEN = "T0KEN-of-the-webhook"
RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag("dags")
assert not bag.import_errors, bag.import_errors
for conf in json.loads(sys.argv[1]):
    run = bag.dags["train_vehicle_insurance"].test(logical_date=None, run_conf=conf)
    print("ENDED", run.run_id, str(run.state))
"""
# What the scheduler does when a run has failed: it asks the DAG processor, by the database, to call the DAG's callback.
ASK = """
import sys
from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
from airflow.callbacks.callback_requests import DagCallbackRequest, DagRunContext
from airflow.models import DagRun
from airflow.utils.session import create_session
from sqlalchemy import select
with create_session() as session:
    run = session.scalars(select(DagRun).where(DagRun.run_id == sys.argv[1])).one()
    [failed] = [ti for ti in run.get_task_instances(session=session) if str(ti.state) == "failed"]
    asked = DagCallbackRequest(
        filepath="training.py", bundle_name="dags-folder", bundle_version=None, dag_id=run.dag_id, run_id=run.run_id,
        context_from_server=DagRunContext(dag_run=run, last_ti=failed), is_failure_callback=True, msg="task_failure",
    )
    DatabaseCallbackSink().send(asked)
"""


class Trainings:
    """Runs of the DAG of a copy of the repository, by real Airflow; `hook` receives what people are told."""

    def __init__(self, root: Path, environ: dict[str, str], hook: WebServer) -> None:
        self.root, self.environ, self.hook = root, environ, hook
        self.log = ""

    def python(self, *words: str, **more: str) -> str:
        """Run Python with these words; give what it printed. No log of it may have the token of the webhook in it."""
        self.hook.requests.clear()
        command, environ = [sys.executable, *words], self.environ | more
        done = subprocess.run(command, cwd=self.root, env=environ, capture_output=True, text=True, check=False)
        self.log = done.stdout + done.stderr
        assert TOKEN not in self.log
        assert done.returncode == 0, self.log[-6000:]
        return done.stdout

    def run(self, *confs: dict[str, Any], **more: str) -> list[tuple[str, str]]:
        """Run the DAG once for each configuration; give the ids and states of the runs."""
        printed = self.python("-c", RUN, json.dumps(confs), **more).splitlines()
        ended = [line.split() for line in printed if line.startswith("ENDED")]
        return [(run_id, state) for _, run_id, state in ended]

    @property
    def texts(self) -> list[str]:
        """What people were told by the last command."""
        return [json.loads(request.body)["text"] for request in self.hook.requests]


@pytest.fixture
def hook() -> Iterator[WebServer]:
    with web_server(lambda _: Answer(b"ok")) as server:
        yield server


@pytest.fixture
def trainings(
    tmp_path: Path, airflow_db: None, registry_environ: dict[str, str], hook: WebServer
) -> Iterator[Trainings]:
    """Yield the trainings of a copy of the repository whose YAML tells `hook` of all that can be told."""
    root = tmp_path / "copy"
    for folder in ("dags", "plugins", "include", "expectations"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    yaml = root / "include/usecases" / f"{NAME}.yaml"
    text = yaml.read_text().replace("{mongodb: {collection: vehicle_insurance}}", "{file: {path: rows.csv}}")
    forest = text[text.index("  random_forest:") : text.index("  hist_gradient_boosting:")]
    yaml.write_text(text.replace(forest, "") + "\nnotify: {slack: {connection: chat}}\n")
    environ = {**os.environ, **registry_environ, "AIRFLOW_URL": "http://airflow.test"}
    environ |= {"UPDRAFT_ARTIFACTS": str(tmp_path / "runs"), "AIRFLOW_CONN_CHAT": f"{hook.url}/hooks/{TOKEN}"}
    environ |= {"PYTHONPATH": os.pathsep.join(str(root / folder) for folder in ("include", "plugins"))}
    environ |= {
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
    }

    yield Trainings(root, environ, hook)


def test_of_a_failed_run_people_are_told_once_with_its_reason_and_a_receiver_that_is_down_costs_a_line(
    trainings: Trainings,
) -> None:
    [(run_id, state)] = trainings.run({"sede": 1}, AIRFLOW_CONN_CHAT="http://127.0.0.1:1/hooks/1")
    assert state == "failed" and not trainings.texts
    assert "a message was not delivered: connection 'chat': ConnectionError" in trainings.log
    trainings.python("-c", ASK, run_id)
    again = {"AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1"}  # it takes callbacks up between its files
    trainings.python("-m", "airflow", "dag-processor", "--num-runs", "3", **again)
    [text] = trainings.texts
    title, reason, link = text.split("\n")
    assert title == f"train_{NAME} failed at `ingest`"
    assert reason == "run parameter unknown key 'sede' (did you mean 'seed'?)"
    assert link == f"http://airflow.test/dags/train_{NAME}/runs/{quote(run_id, safe='')}"


def test_people_are_told_of_a_promotion_of_a_model_that_does_not_win_and_of_a_quarantine_close_to_the_budget(
    trainings: Trainings,
) -> None:
    case = load(NAME)
    rows = generate(case, 1500, seed=1).astype({"Age": object})
    rows.loc[rows.index[:13], "Age"] = "old"  # 0.87 % of the rows, and the budget is 1 %
    write(case, rows, trainings.root / "rows.csv")
    first, second = trainings.run({}, {})
    assert (first[1], second[1]) == ("success", "success")
    links = [f"http://airflow.test/dags/train_{NAME}/runs/{quote(run_id, safe='')}" for run_id, _ in (first, second)]
    titles, _, ends = zip(*(text.split("\n") for text in trainings.texts), strict=True)
    quarantine = f"{NAME}: 13 of 1,500 rows were quarantined, close to the budget of 1.00%"
    assert titles[0] == titles[2] == quarantine and "Age (13)" in trainings.texts[0]
    assert titles[1].startswith(f"{NAME}: version 1 is in production (f1 0.")
    assert titles[1].endswith(f"put there by airflow:train_{NAME}") and titles[3] == f"{NAME}: no new version"
    assert "f1 does not beat the champion's, version 1" in trainings.texts[3]
    assert list(ends) == [links[0], links[0], links[1], links[1]]
