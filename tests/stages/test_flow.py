"""From configuration to prediction without Airflow: the command line, a real registry, and the service's app."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pymongo
import pytest

from serving.app import create_app
from serving.models.live_models import LiveModels
from serving.models.version_cache import Cache
from tests.support.repository import add_file_case, copy_repository
from tests.support.shell import Shell
from tests.support.small_cases import SHARED_DATA
from updraft.defaults import ROOT
from updraft.demo.rows import generate
from updraft.registry.registry import Registry
from updraft.usecase import UseCase

REAL = SHARED_DATA / "vehicle_insurance" / "data.csv"


@pytest.fixture
def updraft(updraft_shell: Shell, registry_environ: dict[str, str], tmp_path: Path) -> Any:
    """Give a function that runs the `updraft` command in a folder and a registry of the test's own."""
    environ = {**os.environ, **registry_environ, "UPDRAFT_HOME": str(tmp_path / "home")}
    environ |= {"UPDRAFT_ARTIFACTS": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT / "include"), "COLUMNS": "200"}

    def run(*words: str, **others: str) -> subprocess.CompletedProcess[str]:
        return updraft_shell.run({**environ, **others}, *words)

    return run


def last_line(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_file_becomes_a_prediction_that_names_its_version(
    updraft: Any, registry: Registry, case: UseCase, tmp_path: Path
) -> None:
    rows = generate(case, 3000)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    first = last_line(updraft("run", case.name, "--data", str(tmp_path / "rows.csv"), "--json"))
    assert (first["version"], first["decision"]) == (1, "promote") and first["chosen"] in case.candidates
    assert first["metrics"] == first["candidates"][first["chosen"]]

    live_models = LiveModels(registry, Cache(tmp_path / "cache"))
    live_models.refresh()
    row = json.loads(rows.drop(columns=case.target).head(1).to_json(orient="records"))[0]
    answer = create_app(live_models).test_client().post(f"/predict/{case.name}", json=row)
    assert answer.status_code == 200 and answer.json is not None
    assert (answer.json["version"], len(answer.json["predictions"])) == (1, 1)
    assert 0 <= answer.json["probabilities"][0] <= 1

    complaint = updraft("dataset", "list", case.name).stderr
    assert complaint.startswith("updraft: UPDRAFT_DATASETS: not set; expected s3://bucket")

    second = last_line(updraft("run", case.name, "--data", str(tmp_path / "rows.csv"), "--json"))
    assert (second["version"], second["decision"]) == (None, "reject")
    assert "version 1" in second["reason"]
    assert registry.numbers(case.name) == [1]

    said = updraft("run", case.name, "--data", str(tmp_path / "rows.csv"))
    assert "champion, version 1" in said.stdout and "does not beat" in said.stdout


def test_the_rows_of_a_version_can_be_had_again(
    updraft: Any, registry: Registry, case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    place = {"UPDRAFT_DATASETS": f"s3://updraft-tests/{registry.bucket.base}datasets"}
    command = ["run", case.name, "--data", str(tmp_path / "rows.csv"), "--json"]
    assert last_line(updraft(*command, **place))["version"] == 1
    (ingested,) = (tmp_path / "runs" / case.name).glob("*/ingest/dataset.parquet")

    (listed,) = json.loads(updraft("dataset", "list", case.name, "--json", **place).stdout)
    assert (listed["number"], listed["rows"], listed["versions"]) == (1, 2000, [1])
    assert listed["source"]["files"][0]["path"] == str(tmp_path / "rows.csv")
    pulled = updraft("dataset", "pull", case.name, "1", str(tmp_path / "again.parquet"), **place)
    assert pulled.stdout == f"2,000 rows of {case.name} version 1 are in {tmp_path / 'again.parquet'}\n"
    assert (tmp_path / "again.parquet").read_bytes() == ingested.read_bytes()
    again = updraft("dataset", "pull", case.name, "1", str(tmp_path / "again.parquet"), **place)
    assert "already there; --force overwrites" in again.stderr
    none = updraft("dataset", "pull", case.name, "2", str(tmp_path / "other.parquet"), **place)
    assert (none.returncode, "there is no version 2" in none.stderr) == (1, True)
    pruned = updraft("dataset", "prune", case.name, "--keep", "1", **place)
    assert pruned.stdout == f"{case.name}: 0 datasets would be removed\n"


def test_a_use_case_whose_source_is_a_file_runs_on_it(updraft: Any, registry: Registry, tmp_path: Path) -> None:
    root = copy_repository(tmp_path / "repository")
    rows = add_file_case(root, "insurance_file")
    path = str(root / "include")
    assert last_line(updraft("run", "insurance_file", "--json", PYTHONPATH=path))["version"] == 1
    assert registry.names() == ["insurance_file"]
    (ingested,) = (tmp_path / "runs" / "insurance_file").glob("*/ingest/ingest.json")
    assert json.loads(ingested.read_text())["source"] == f"file '{rows}'"

    refused = updraft("load", "insurance_file", str(rows), PYTHONPATH=path)
    message = "insurance_file: its source is of kind file, which is read as it is; there is nothing to load into"
    assert (refused.returncode, refused.stderr) == (1, f"updraft: {message}\n")


def test_rows_go_through_mongodb_in_the_shell_too(
    updraft: Any, case: UseCase, frame: pd.DataFrame, mongodb_url: str, tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    loaded = updraft("load", case.name, str(tmp_path / "rows.csv"), MONGODB_URL=mongodb_url)
    assert loaded.returncode == 0 and "2,000 rows" in loaded.stdout
    assert last_line(updraft("run", case.name, "--json", MONGODB_URL=mongodb_url))["version"] == 1


def test_synthetic_rows_can_be_loaded(updraft: Any, mongodb_url: str) -> None:
    loaded = updraft("load", "vehicle_insurance", "--synthetic", "300", MONGODB_URL=mongodb_url)
    assert loaded.returncode == 0 and "300 synthetic rows are in " in loaded.stdout
    with pymongo.MongoClient(mongodb_url) as client:
        rows = client.get_default_database()["vehicle_insurance"]
        assert rows.count_documents({}) == 300
        assert isinstance(rows.find_one()["Age"], int)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["load", "vehicle_insurance"], "load: expected a file, or --synthetic"),
        (["load", "vehicle_insurance", "rows.csv", "--synthetic", "9"], "load: expected a file, or --synthetic"),
        (["run", "vehicle_insurence"], "no use case 'vehicle_insurence' (did you mean 'vehicle_insurance'?)"),
        (["run", "vehicle_insurance", "--data", "absent.csv"], "file 'absent.csv': no such file"),
        (
            ["run", "vehicle_insurance", "--promote", "maybe"],
            "run parameter promote: 'maybe' is unknown; there are: auto, canary, shadow, approve, never",
        ),
        (["run", "vehicle_insurance"], "MONGODB_URL: expected mongodb://"),
        (["load", "vehicle_insurance", "rows.csv"], "MONGODB_URL: expected mongodb://"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_1(updraft: Any, words: list[str], complaint: str) -> None:
    done = updraft(*words)
    assert done.returncode == 1
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("updraft: ")]) == 1


def test_a_file_to_load_that_is_not_there_is_one_line(updraft: Any) -> None:
    done = updraft("load", "vehicle_insurance", "absent.csv", MONGODB_URL="mongodb://127.0.0.1:1/rows")
    assert (done.returncode, done.stderr) == (1, "updraft: file 'absent.csv': no such file\n")


def test_an_unreachable_registry_is_one_line(updraft: Any, case: UseCase, frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = ["run", case.name, "--data", str(tmp_path / "rows.csv")]
    done = updraft(*words, AWS_ENDPOINT_URL_S3="http://127.0.0.1:1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "127.0.0.1:1" in done.stderr


def test_bad_rows_push_nothing(
    updraft: Any, registry: Registry, case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.assign(Gender="?").to_csv(tmp_path / "rows.csv", index=False)
    done = updraft("run", case.name, "--data", str(tmp_path / "rows.csv"))
    assert done.returncode == 1 and "Gender" in done.stderr and "Traceback" not in done.stderr
    assert registry.names() == []


@pytest.mark.usefixtures("shared_data")
def test_the_real_data_reaches_its_reference_scores(updraft: Any, case: UseCase) -> None:
    told = last_line(updraft("run", case.name, "--data", str(REAL), "--json"))
    assert told["metrics"]["roc_auc"] >= 0.845
    assert told["metrics"]["pr_auc"] >= 0.34
