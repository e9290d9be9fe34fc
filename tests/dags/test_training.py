"""The DAGs under real Airflow, on a metadata database of their own, with a real MongoDB and a real S3 server."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from pymongo import MongoClient

from updraft.defaults import ROOT
from updraft.destinations.mongodb import load
from updraft.model.columns import Column
from updraft.registry.registry import Registry
from updraft.sources.source import Batch
from updraft.stages.runs import STAGES
from updraft.usecase import UseCase, paths

if TYPE_CHECKING:  # its import takes seconds, which only the tests that run Airflow shall pay
    from airflow.sdk import DAG

COLLECTION = "vehicle_insurance"


class Rows:
    """A frame as a source."""

    def __init__(self, frame: pd.DataFrame, columns: tuple[Column, ...]) -> None:
        self.columns, self.absent, self.others, self.total = list(columns), list[str](), list[str](), len(frame)
        self._frame = frame

    def batches(self) -> Iterator[Batch]:
        import pyarrow as pa

        yield Batch(pa.Table.from_pandas(self._frame, preserve_index=False))


@pytest.fixture
def environ(
    monkeypatch: pytest.MonkeyPatch,
    registry_environ: dict[str, str],
    mongodb_url: str,
    tmp_path: Path,
    case: UseCase,
    frame: pd.DataFrame,
) -> None:
    for name, value in {
        **registry_environ,
        "MONGODB_URL": mongodb_url,
        "UPDRAFT_ARTIFACTS": str(tmp_path / "runs"),
    }.items():
        monkeypatch.setenv(name, value)
    fill(mongodb_url, case, frame)


def fill(url: str, case: UseCase, frame: pd.DataFrame) -> None:
    with MongoClient[dict[str, Any]](url) as client:
        load(Rows(frame, case.columns), client.get_default_database()[COLLECTION])


def states(run: Any) -> dict[str, str]:
    return {
        ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]": str(ti.state)
        for ti in run.get_task_instances()
    }


def test_each_yaml_is_a_dag_with_one_chain_and_the_settings_it_states(dags: dict[str, DAG], case: UseCase) -> None:
    training = {dag_id: dag for dag_id, dag in dags.items() if "training" in dag.tags}
    assert sorted(training) == sorted(f"train_{path.stem}" for path in paths())
    for dag in training.values():
        assert dag.task_ids == [*STAGES[:-1], "approve", "push"]
        assert (dag.catchup, dag.max_active_runs) == (False, 1)
        assert dag.doc_md and "ingest" in dag.doc_md
        assert set(dag.params) == {"limit", "seed", "promote", "read_all"}
    dag = dags[f"train_{case.name}"]
    assert all(task.retries == case.retry.tries and task.retry_delay == case.retry.delay for task in dag.tasks)
    assert all(task.max_retry_delay == case.retry.max_delay for task in dag.tasks)
    from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable

    assert isinstance(dag.schedule, AssetOrTimeSchedule)
    assert dag.schedule.timetable == CronTriggerTimetable("0 3 * * 1", timezone="UTC", run_immediately=timedelta(0))
    assert [each.name for each in dag.schedule.asset_condition.objects] == [f"{case.name}_retraining"]
    assert [asset.name for asset in dag.get_task("push").outlets] == [f"{case.name}_model"]


def test_a_schedule_makes_no_run_for_a_time_that_was_over_before_its_dag_was_unpaused(airflow_db: None) -> None:
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    from stage_tasks import timetable
    from updraft.usecase.rows_definition import CronSchedule

    now = datetime.now(UTC)
    an_hour_ago = now - timedelta(hours=1)
    weekly = CronSchedule(cron=f"{an_hour_ago:%M %H} * * {an_hour_ago.isoweekday() % 7}")
    cron = coerce_to_core_timetable(timetable(weekly))
    restriction = TimeRestriction(earliest=None, latest=None, catchup=False)
    first = cron.next_dagrun_info(last_automated_data_interval=None, restriction=restriction)
    assert first is not None and first.run_after > now + timedelta(days=6)


def test_a_role_that_is_named_may_start_and_follow_every_use_case(
    monkeypatch: pytest.MonkeyPatch, dags: dict[str, DAG], airflow_db: None
) -> None:
    from airflow.dag_processing.dagbag import DagBag

    assert {dag.access_control is None for dag in dags.values()} == {True}  # other auth managers know no roles
    monkeypatch.setenv("UPDRAFT_TRAINER_ROLE", "trainer")
    for dag in DagBag(str(ROOT / "dags")).dags.values():
        assert dag.access_control == {
            "trainer": {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_create", "can_read"}}
        }


def test_a_broken_yaml_keeps_its_dag_and_is_an_import_error_with_file_and_line(
    tmp_path: Path, airflow_db: None
) -> None:
    import shutil
    import subprocess
    import sys

    for folder in ("dags", "include", "expectations"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    cases, etls = tmp_path / "include" / "usecases", tmp_path / "include" / "etl"
    (cases / "broken.yaml").write_text("tarjet: x\n")
    (cases / "odd name.yaml").write_text("title: x\n")
    (cases / "other.yml").write_text("title: x\n")
    (cases / "not_text.yaml").write_bytes(b"\xff\xfe\x00")
    half = (cases / "sms_spam.yaml").read_text()
    (cases / "sms_spam.yaml").write_text(half[: len(half) // 2] + "\n  {")
    watched = (cases / "vehicle_price.yaml").read_text()
    (cases / "vehicle_price.yaml").write_text(f"{watched.rstrip()}\nmonitor: {{windo: 7d}}\n")
    (etls / "broken.yaml").write_text("tytle: x\n")
    script = (
        "import json; from airflow.dag_processing.dagbag import DagBag; bag = DagBag('dags')\n"
        "dags = {key: [list(dag.tags), dag.task_ids, dag.doc_md] for key, dag in bag.dags.items()}\n"
        "print('FOUND', json.dumps([dags, bag.import_errors]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "include", "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")},
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    dags, errors = json.loads(line.removeprefix("FOUND "))
    training = {dag_id: dag for dag_id, dag in dags.items() if dag_id.startswith("train_")}
    assert sorted(training) == sorted([
        "train_broken",
        "train_odd_name",
        "train_not_text",
        *(f"train_{path.stem}" for path in paths()),
    ])
    assert [tasks for _, tasks, _ in training.values()] == [[*STAGES[:-1], "approve", "push"]] * len(training)
    assert {dag_id for dag_id, (tags, *_) in dags.items() if "cannot be loaded" in tags} == {
        *("train_broken", "train_odd_name", "train_not_text", "train_sms_spam", "train_vehicle_price"),
        "etl_broken",
    }
    assert "broken.json: no such suite" in training["train_broken"][2]

    [(file, error)] = errors.items()
    assert Path(file).name == "configuration.py"
    told = error.partition("`updraft check` lists these faults, too:\n")[2].splitlines()
    for start in (
        "include/usecases/broken.yaml:1: unknown key 'tarjet'",
        "include/usecases/odd name.yaml: 'odd name' is not a name of a use case",
        "include/usecases/not_text.yaml: ",
        "include/usecases/sms_spam.yaml:",
        f"include/usecases/vehicle_price.yaml:{watched.rstrip().count(chr(10)) + 2}: unknown key 'monitor.windo'",
        "include/usecases/other.yml: not read: the name must end in .yaml",
        "include/etl/broken.yaml:1: unknown key 'tytle'",
        "expectations/broken.json: no such suite",
        "expectations/etl_broken.json: no such suite",
    ):
        assert [line for line in told if line.startswith(start)], (start, told)
    assert all(line.startswith(("include/", "expectations/")) for line in told) and len(told) == len({*told})


def test_a_run_from_mongodb_to_the_registry_and_a_second_one_that_does_not_win(
    dags: dict[str, DAG], environ: None, registry: Registry, case: UseCase, tmp_path: Path
) -> None:
    dag = dags[f"train_{case.name}"]
    first = dag.test(logical_date=None, run_conf={"promote": "auto"})
    assert states(first) == dict.fromkeys(
        ["ingest", "validate", "transform", "train[0]", "train[1]", "evaluate", "push"], "success"
    ) | {"approve": "skipped"}
    assert registry.production(case.name) == 1
    folder = tmp_path / "runs" / case.name / first.run_id
    assert {path.name for path in folder.iterdir()} == {*STAGES, "configuration"}
    assert {path.name for path in (folder / "train").iterdir()} == set(case.candidates)

    second = dag.test(logical_date=None)
    assert states(second)["push"] == "skipped" and str(second.state) == "success"
    assert registry.numbers(case.name) == [1]
    told = json.loads((tmp_path / "runs" / case.name / second.run_id / "evaluate" / "evaluation.json").read_text())
    assert told["decision"] == "reject" and told["champion"]["version"] == 1


def test_with_artifacts_on_s3_nothing_stays_on_the_machine(
    dags: dict[str, DAG],
    environ: None,
    registry: Registry,
    case: UseCase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = registry.bucket
    root = f"{bucket}/artifacts"
    monkeypatch.setenv("UPDRAFT_ARTIFACTS", root)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = dags[f"train_{case.name}"].test(logical_date=None, run_conf={"promote": "auto"})
    assert {name for name, state in states(run).items() if state != "success"} == {"approve"}
    assert registry.production(case.name) == 1
    place = f"{case.name}/{run.run_id}"
    passed = {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in run.get_task_instances() if ti.map_index < 0}
    assert passed["ingest"] == passed["validate"] == f"{root}/{place}/ingest/dataset.parquet"
    assert passed["transform"] == [f"{root}/{place}/train/{name}" for name in case.candidates]
    marks = {key.removesuffix("/complete.json") for key in bucket.keys(f"artifacts/{place}/") if "complete.json" in key}
    assert marks == {*STAGES, "configuration"} - {"train", "push"} | {f"train/{name}" for name in case.candidates}
    assert not list(tmp_path.rglob("updraft-run-*")) and not list(tmp_path.rglob("*.parquet"))


def test_rows_that_were_set_aside_can_be_read_on_s3_after_the_run_has_failed(
    dags: dict[str, DAG],
    environ: None,
    registry: Registry,
    case: UseCase,
    monkeypatch: pytest.MonkeyPatch,
    mongodb_url: str,
) -> None:
    monkeypatch.setenv("UPDRAFT_ARTIFACTS", f"{registry.bucket}/artifacts/")
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client.get_default_database()[COLLECTION].update_many({}, {"$set": {"Age": "old"}})
    run = dags[f"train_{case.name}"].test(logical_date=None)
    assert states(run)["ingest"] == "failed"
    quarantined = b"".join(registry.bucket.stream(f"artifacts/{case.name}/{run.run_id}/ingest/quarantine.jsonl"))
    assert quarantined.count(b"\n") == 2000


def test_an_unknown_run_parameter_is_refused_before_any_row_is_read(
    dags: dict[str, DAG], environ: None, case: UseCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = dags[f"train_{case.name}"].test(logical_date=None, run_conf={"sede": 1})
    assert states(run)["ingest"] == "failed"
    assert "run parameter unknown key 'sede' (did you mean 'seed'?)" in caplog.text
    assert not (tmp_path / "runs").exists()


def test_a_wrong_value_of_a_run_parameter_is_refused(dags: dict[str, DAG], environ: None, case: UseCase) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError, match="seven"):
        dags[f"train_{case.name}"].test(logical_date=None, run_conf={"seed": "seven"})


def test_the_params_reach_the_stages(
    dags: dict[str, DAG],
    environ: None,
    case: UseCase,
    tmp_path: Path,
    registry: Registry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = dags[f"train_{case.name}"].test(logical_date=None, run_conf={"limit": 1500, "seed": 7, "promote": "never"})
    folder = tmp_path / "runs" / case.name / run.run_id
    split = json.loads((folder / "transform" / "split.json").read_text())
    trained = json.loads((folder / "train" / "random_forest" / "training.json").read_text())
    assert (split["rows"], split["seed"], trained["seed"]) == (1500, case.split_seed, 7)
    assert states(run)["push"] == "success"
    assert (registry.numbers(case.name), registry.production(case.name)) == ([1], None)
    assert "skipped: nobody is asked: promote is 'never'" in caplog.text


@pytest.mark.parametrize(
    ("column", "value"),
    [("Vehicle_Age", "3 Years"), ("Age", 17), ("Gender", None), ("Vintage", ...)],
    ids=["category", "range", "null", "missing column"],
)
def test_bad_rows_stop_the_run_at_validate_with_nothing_pushed_and_no_second_try(
    dags: dict[str, DAG],
    environ: None,
    case: UseCase,
    frame: pd.DataFrame,
    mongodb_url: str,
    registry: Registry,
    column: str,
    value: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if value is ...:
        frame = frame.drop(columns=column)
    else:
        frame[column] = frame[column].where(frame.index != 3, value)
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        rows = client.get_default_database()[COLLECTION]
        rows.drop()
        rows.insert_many(frame.astype("object").where(frame.notna(), None).to_dict(orient="records"))
    run = dags[f"train_{case.name}"].test(logical_date=None)
    found = states(run)
    assert (found["ingest"], found["validate"], found["push"]) == ("success", "failed", "upstream_failed")
    (reason,) = [record for record in caplog.records if "expectations failed" in record.getMessage()]
    assert (reason.levelname, reason.name) == ("ERROR", "airflow.task") and column in reason.getMessage()
    assert "Task exited" in (printed := "".join(capfd.readouterr())) and "Traceback" not in printed
    (validate,) = [ti for ti in run.get_task_instances() if ti.task_id == "validate"]
    assert validate.try_number == 1
    assert registry.names() == []


def test_an_unreachable_mongodb_is_tried_again(
    dags: dict[str, DAG], environ: None, case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONGODB_URL", "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100")
    dag = dags[f"train_{case.name}"]
    dag.get_task("ingest").retry_delay = timedelta(0)
    run = dag.test(logical_date=None)
    (ingest,) = [ti for ti in run.get_task_instances() if ti.task_id == "ingest"]
    assert (str(ingest.state), ingest.try_number) == ("failed", case.retry.tries + 1)
