"""The DAG that watches a model, under real Airflow: shipped predictions in, a report, a training or a roll back out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from tests.support.monitored import NAME, predicted, put_into_production, ship
from tests.support.trained import Trained
from updraft.defaults import ROOT
from updraft.demo.rows import generate
from updraft.registry import monitor_state
from updraft.registry.registry import Registry
from updraft.registry.s3 import Bucket
from updraft.stages.stage_folder import read_json
from updraft.usecase import UseCase, load, paths

if TYPE_CHECKING:
    from airflow.sdk import DAG

DAG_ID = f"monitor_{NAME}"
TASKS = ["collect", "drift", "performance", "decide", "retrain", "roll_back", "rollout"]
ALARMS = 20


@pytest.fixture
def shipped(
    monkeypatch: pytest.MonkeyPatch, registry_environ: dict[str, str], registry: Registry, tmp_path: Path
) -> Iterator[Bucket]:
    """Yield an empty place of shipped predictions, with the registry and the runs in the environment."""
    place = Bucket(registry.bucket.client, registry.bucket.name, f"{registry.bucket.base}predictions")
    runs = {"SERVING_PREDICTIONS": str(place), "UPDRAFT_ARTIFACTS": str(tmp_path / "runs")}
    for name, value in (registry_environ | runs).items():
        monkeypatch.setenv(name, value)
    yield place


@pytest.fixture
def rows(case: UseCase) -> pd.DataFrame:
    return generate(case, 600, seed=9)


def states(run: Any) -> dict[str, str]:
    return {each.task_id: str(each.state) for each in run.get_task_instances()}


def events(name: str) -> list[Any]:
    """Return the events of a use case's retraining, and how many runs they have queued."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        chosen = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        return list(session.scalars(chosen.where(AssetModel.name == f"{name}_retraining")))


def test_each_yaml_with_a_monitor_block_is_a_dag(dags: dict[str, DAG]) -> None:
    found = {dag_id: dag for dag_id, dag in dags.items() if "monitoring" in dag.tags}
    assert sorted(found) == sorted(f"monitor_{path.stem}" for path in paths() if load(path.stem).monitor)
    for dag in found.values():
        assert sorted(dag.task_ids) == sorted(TASKS)
        assert (dag.catchup, dag.max_active_runs, set(dag.params)) == (False, 1, set())


def test_without_a_version_there_is_nothing_to_watch(dags: dict[str, DAG], shipped: Bucket) -> None:
    run = dags[DAG_ID].test(logical_date=None)
    assert states(run) == dict.fromkeys(TASKS, "skipped") and str(run.state) == "success"


def test_good_predictions_lead_to_a_report_and_nothing_more(
    dags: dict[str, DAG], shipped: Bucket, registry: Registry, trained: Trained, rows: pd.DataFrame, tmp_path: Path
) -> None:
    from new_rows import NewPredictions, prediction_counter, state_of_shipped

    files = put_into_production(registry, trained, tmp_path)
    counts = NewPredictions(NAME, rows=500, hours=None)
    assert counts.look(None).new == 0
    ship(shipped, predicted(files, rows, 1), rows["Response"].tolist())
    look = counts.look(None)
    assert (look.new, counts.look(look.now).new) == (600, 0)
    assert look.now.keys() == state_of_shipped(load(NAME), prediction_counter(NAME)).keys()
    run = dags[DAG_ID].test(logical_date=None)
    assert states(run) == dict.fromkeys(TASKS[:4], "success") | dict.fromkeys(TASKS[4:], "skipped")
    state = monitor_state.read(registry.bucket, registry.keys, NAME)
    assert state and (state.rows, state.labels, state.found) == (600, 600, [])
    folder = tmp_path / "runs" / DAG_ID / run.run_id
    passed = {each.task_id: each.xcom_pull(task_ids=each.task_id) for each in run.get_task_instances()}
    assert {task: passed[task] for task in TASKS[:4]} == {task: (folder / task).as_uri() for task in TASKS[:4]}


def test_drift_asks_for_a_training_with_its_cause_once_and_bad_labels_roll_back(
    dags: dict[str, DAG], shipped: Bucket, registry: Registry, trained: Trained, rows: pd.DataFrame, tmp_path: Path
) -> None:
    files = put_into_production(registry, trained, tmp_path, 2)
    drifted = rows.assign(Vintage=rows["Vintage"].clip(upper=40))
    ship(shipped, predicted(files, drifted, 2))
    before = len(events(NAME))
    run = dags[DAG_ID].test(logical_date=None)
    assert (states(run)["retrain"], states(run)["roll_back"]) == ("success", "skipped")
    (event,) = events(NAME)[before:]
    assert event.extra["columns"]["Vintage"] > 1 and event.extra["run_id"] == run.run_id
    assert (event.extra["version"], event.extra["rows"], event.extra["signals"]) == (2, 600, ["covariate"])

    ship(shipped, predicted(files, rows, 2), (1 - rows["Response"]).tolist(), number=2)
    run = dags[DAG_ID].test(logical_date=None)
    assert (states(run)["retrain"], states(run)["roll_back"]) == ("skipped", "success")
    assert registry.production(NAME) == 1 and len(events(NAME)) == before + 1
    last = registry.history(NAME)[-1]
    assert last.who == f"monitor:{DAG_ID}" and run.run_id in last.why
    decision = read_json(tmp_path / "runs" / DAG_ID / run.run_id / "decide" / "decision.json")
    assert "performance" in [each["signal"] for each in decision["found"]]


def test_alarms_in_a_row_are_one_event(
    dags: dict[str, DAG], shipped: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a DAG of its own, whose first task leaves a decision: measuring the same drift again would prove no more."""
    from airflow import settings
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "alarms.py").write_text(ALARM.format(dags=ROOT / "dags"), encoding="utf-8")
    monkeypatch.setattr(settings, "DAGS_FOLDER", str(tmp_path / "dags"))  # read from the environment at import
    dag = DagBag(str(tmp_path / "dags")).dags["alarms"]
    found = [states(dag.test(logical_date=None))["retrain"] for _ in range(ALARMS)]
    assert found == ["success", *["skipped"] * (ALARMS - 1)]
    (event,) = events("sms_spam")
    assert event.extra["reason"] == "covariate: message (PSI)" and event.extra["columns"] == {"message": 3.0}


ALARM = """
import runpy, json
from airflow.sdk import DAG, task
made = runpy.run_path("{dags}/monitoring.py")

@task
def alarm(name):
    with made["stage"](name, "collect") as run:
        run.out.mkdir(parents=True)
        found = dict(signal="covariate", action="retrain", reason="message (PSI)", columns=["message"])
        decision = dict(use_case=name, version=1, sequence=1, since=None, until=None, rows=600, labels=0)
        decision |= dict(found=[found], worst=dict(message=3.0))
        (run.out / "decision.json").write_text(json.dumps(decision))
        return run.files.upload(run.out, run.out)

with DAG("alarms", schedule=None):
    made["retrain"].override(outlets=[made["retraining_asset"]("sms_spam")])("sms_spam", alarm("sms_spam"))
"""
