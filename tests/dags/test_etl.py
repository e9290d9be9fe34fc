"""The DAGs of ETLs under real Airflow, with a real MongoDB and a real S3 server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, AssetOrTimeSchedule
from pymongo import MongoClient

from tests.dags.test_training import states
from updraft.defaults import ROOT
from updraft.demo.rows import generate, write
from updraft.etl.changes import Changes
from updraft.etl.definitions import paths
from updraft.registry.registry import Registry
from updraft.stages.runs import RunFiles
from updraft.usecase import load

NAME = "network_security"
DAG_ID = f"etl_{NAME}"
ROWS = 400


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch, mongodb_url: str, tmp_path: Path) -> Iterator[Path]:
    """Write rows into the folder that runs may read, and yield their file."""
    folder = tmp_path / "data"
    folder.mkdir()
    settings = {"MONGODB_URL": mongodb_url, "UPDRAFT_ARTIFACTS": str(tmp_path / "runs"), "UPDRAFT_DATA": str(folder)}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    case = load(NAME)
    yield write(case, generate(case, ROWS, seed=1), folder / "rows.csv")


def events(run: Any) -> list[dict[str, Any]]:
    """Return the extra of the asset events that a run has emitted."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        chosen = select(AssetEvent).where(AssetEvent.source_run_id == run.run_id)
        return [event.extra for event in session.scalars(chosen)]


def count(url: str) -> int:
    with MongoClient[dict[str, Any]](url) as client:
        return client.get_default_database()[NAME].count_documents({})


def test_each_yaml_is_a_dag_and_a_training_waits_for_its_rows(dags: dict[str, DAG]) -> None:
    found = {dag_id: dag for dag_id, dag in dags.items() if "etl" in dag.tags}
    assert sorted(found) == sorted(f"etl_{path.stem}" for path in paths())
    for dag in found.values():
        assert dag.task_ids == ["extract", "clean", "load"] and set(dag.params) == {"limit", "data"}
        assert (dag.catchup, dag.max_active_runs, dag.get_task("load").retries) == (False, 1, 3)
    (asset,) = found[DAG_ID].get_task("load").outlets
    schedule = dags[f"train_{NAME}"].schedule
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert [each.uri for each in schedule.asset_condition.objects] == [asset.uri]


def test_a_load_of_new_rows_is_an_event_and_one_that_changes_nothing_is_skipped(
    dags: dict[str, DAG], data: Path, mongodb_url: str
) -> None:
    first = dags[DAG_ID].test(logical_date=None, run_conf={"data": data.name})
    assert states(first) == dict.fromkeys(["extract", "clean", "load"], "success")
    assert count(mongodb_url) == ROWS
    assert events(first) == [{"new": ROWS, "changed": 0, "unchanged": 0}]
    second = dags[DAG_ID].test(logical_date=None, run_conf={"data": data.name})
    assert states(second) == {"extract": "success", "clean": "success", "load": "skipped"}
    assert str(second.state) == "success" and events(second) == [] and count(mongodb_url) == ROWS


def test_with_artifacts_on_s3_nothing_stays_on_the_machine(
    dags: dict[str, DAG],
    data: Path,
    mongodb_url: str,
    registry_environ: dict[str, str],
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in registry_environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UPDRAFT_ARTIFACTS", f"{registry.bucket}/artifacts")
    run = dags[DAG_ID].test(logical_date=None, run_conf={"data": data.name})
    assert states(run) == dict.fromkeys(["extract", "clean", "load"], "success") and count(mongodb_url) == ROWS
    place = f"artifacts/{DAG_ID}/{run.run_id}/"
    keys = {key.removeprefix(place).split("/")[0] for key in registry.bucket.keys(place)}
    assert keys == {"configuration", "extract", "clean", "load", "changes"}
    assert not (tmp_path / "runs").exists()


def test_a_file_elsewhere_and_an_unknown_parameter_are_refused_before_a_row_is_read(
    dags: dict[str, DAG], data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(data, tmp_path / "secret.csv")
    (data.parent / "link.csv").symlink_to(tmp_path / "secret.csv")
    for path in (str(tmp_path / "secret.csv"), "../secret.csv", "link.csv", "/etc/passwd", "a\0b"):
        run = dags[DAG_ID].test(logical_date=None, run_conf={"data": path})
        assert states(run)["extract"] == "failed", path
        assert "is not below" in caplog.text, path
        caplog.clear()
    run = dags[DAG_ID].test(logical_date=None, run_conf={"dat": "rows.csv"})
    assert states(run)["extract"] == "failed"
    assert "run parameter unknown key 'dat' (did you mean 'data'?)" in caplog.text


def test_what_a_killed_try_has_written_is_announced_by_the_next(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "run", first="extract")
    assert not Changes(files, attempts=3).any
    Changes(files, attempts=3).mark()  # then it is killed
    retried = Changes(files, attempts=3)
    assert retried.any
    retried.announced()  # then it is killed, before Airflow hears of its end
    assert Changes(files, attempts=3).any
    assert not Changes(files, attempts=7).any  # cleared after it had ended


def test_an_unreachable_store_is_tried_again(dags: dict[str, DAG], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URL", "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100")
    dag = dags[DAG_ID]
    dag.get_task("load").retry_delay = timedelta(0)
    run = dag.test(logical_date=None, run_conf={"data": data.name})
    (last,) = [ti for ti in run.get_task_instances() if ti.task_id == "load"]
    assert (str(last.state), last.try_number) == ("failed", 4)
    assert events(run) == []


def test_a_broken_yaml_keeps_its_dag_which_says_why(tmp_path: Path, airflow_db: None) -> None:
    import os
    import subprocess
    import sys

    for folder in ("dags", "plugins", "include", "expectations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "include" / "etl" / "broken.yaml").write_text("lod: x\n")
    script = (
        "import runpy; made = runpy.run_path('dags/etl.py')\n"
        "dags = {key: dag for key, dag in made.items() if key.startswith('etl_')}\n"
        "print(*dags); print({*(tuple(dag.task_ids) for dag in dags.values())}); print(dags['etl_broken'].doc_md)\n"
    )
    environ = {**os.environ, "PYTHONPATH": "include:plugins"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    ids, tasks, *_ = done.stdout.splitlines()
    assert ids.split() == ["etl_broken", *(f"etl_{path.stem}" for path in paths())]
    assert tasks == "{('extract', 'clean', 'load')}" and "etl_broken.json: no such suite" in done.stdout
