"""`updraft monitor`: new rows against those that the version in production was trained on."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.support.axe import findings_in
from tests.support.monitored import predicted, ship
from tests.support.trained import Trained
from updraft.cli.main import app
from updraft.demo.rows import generate
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.monitoring.reference import REFERENCE
from updraft.registry.registry import Registry
from updraft.registry.s3 import Bucket
from updraft.stages.evaluate import EVALUATION
from updraft.stages.stage_folder import read_json
from updraft.usecase import UseCase

NAME = "vehicle_insurance"


@pytest.fixture
def version(trained: Trained, registry: Registry, tmp_path: Path) -> Path:
    """Put a version with its reference into production, and return its files."""
    files = tmp_path / "version"
    files.mkdir()
    chosen = read_json(trained.evaluation / EVALUATION)["chosen"]
    for name in (MODEL, SIGNATURE):
        shutil.copy2(trained.models[0].parent / chosen / name, files)
    for name in (REFERENCE, EVALUATION):
        shutil.copy2(trained.evaluation / name, files)
    registry.push(NAME, files, {}, "run 1")
    registry.promote(NAME, 1, expect=None, who="me", why="test")
    return files


def monitor(environ: dict[str, str], data: Path, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["monitor", NAME, "--data", str(data), *more], env=environ)
    return result.exit_code, result.stdout + str(result.exception or "")


def test_rows_like_those_of_the_training_show_no_drift(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    generate(case, 3000, seed=9).to_csv(tmp_path / "rows.csv", index=False)
    code, output = monitor(registry_environ, tmp_path / "rows.csv")
    assert code == 0 and f"3,000 rows against {NAME} version 1: no drift" in output


def test_axe_finds_nothing_serious_in_a_report_of_drift(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path, peer_environments: Path
) -> None:
    frame = generate(case, 3000, seed=9)
    frame["Vintage"] = frame["Vintage"].clip(upper=100)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    monitor(registry_environ, tmp_path / "rows.csv", "--out", str(tmp_path / "report"))
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Covariate shift" in page
    assert findings_in(peer_environments, {"report": page}) == []


def test_what_changed_is_named_and_shown(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    frame = generate(case, 3000, seed=9)
    frame["Vintage"] = frame["Vintage"].clip(upper=100)
    frame["Response"] = 1
    frame.to_csv(tmp_path / "rows.csv", index=False)
    code, output = monitor(registry_environ, tmp_path / "rows.csv", "--out", str(tmp_path / "report"))
    assert code == 0 and "version 1: covariate and target" in output and "Vintage" in output
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "<b>Covariate shift</b>: Vintage. <b>Target shift</b>: Response" in " ".join(page.split())
    assert 'alt="Shares of Days as a customer (Vintage), in training and now"' in page
    assert "<figcaption>Interest in vehicle insurance (Response)</figcaption>" in page
    found = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))["drift"]
    assert {each["name"] for each in found["columns"] if each["verdict"] == "drifted"} >= {"Vintage", "Response"}
    assert (
        json.loads(monitor(registry_environ, tmp_path / "rows.csv", "--json")[1])["drift"]["columns"]
        == found["columns"]
    )


def test_two_files_are_compared_with_each_other(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    """Both have the same Vintage, far from the training's: only the damage has changed between them."""
    old, new, unlabelled = (tmp_path / f"{name}.csv" for name in ("old", "new", "unlabelled"))
    for file, seed, damaged in ((old, 8, {}), (new, 9, {"Vehicle_Damage": "Yes"})):
        frame = generate(case, 3000, seed=seed)
        frame["Vintage"] = frame["Vintage"].clip(upper=100)
        frame.assign(**damaged).to_csv(file, index=False)
    pd.read_csv(old).drop(columns="Response").to_csv(unlabelled, index=False)
    for against in (old, unlabelled):
        out = tmp_path / against.stem
        code, output = monitor(registry_environ, new, "--against", str(against), "--out", str(out))
        assert (
            code == 0 and f"3,000 rows against {against.name}: covariate and prediction shift: Vehicle_Damage" in output
        )
        found = {each["name"]: each for each in json.loads((out / "report.json").read_text())["drift"]["columns"]}
        assert [name for name, each in found.items() if each["verdict"] == "drifted"] == [
            "Vehicle_Damage",
            "(predictions)",
        ]
        assert found["Response"]["verdict"] == ("stable" if against == old else "not watched")
        page = (out / "report.html").read_text(encoding="utf-8")
        assert f"against those of {against.name}, both scored by {NAME} version 1" in page and "training" not in page
    assert monitor(registry_environ, new, "--against", str(new))[1].count(f"rows against {new.name}: no drift") == 1


def test_a_file_to_compare_with_that_does_not_serve_says_why(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    rows, empty = tmp_path / "rows.csv", tmp_path / "empty.csv"
    frame = generate(case, 300, seed=9)
    frame.to_csv(rows, index=False)
    frame.head(0).to_csv(empty, index=False)
    assert "empty.csv: no row fits the types of" in monitor(registry_environ, rows, "--against", str(empty))[1]
    assert "no column 'Age'" in monitor(registry_environ, rows, "--against", str(_without_age(frame, tmp_path)))[1]
    result = CliRunner().invoke(app, ["monitor", NAME, "--since", "7d", "--against", str(rows)], env=registry_environ)
    assert result.exit_code == 1 and "--against compares two files" in str(result.exception)


def _without_age(frame: pd.DataFrame, folder: Path) -> Path:
    frame.drop(columns="Age").to_csv(folder / "no age.csv", index=False)
    return folder / "no age.csv"


def test_labels_in_the_file_are_held_against_the_evaluation(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    frame = generate(case, 1500, seed=9)
    for wrong, verdict in ((False, "as promised"), (True, "worse")):
        frame["Response"] = 1 - frame["Response"] if wrong else frame["Response"]
        frame.to_csv(tmp_path / "rows.csv", index=False)
        code, output = monitor(registry_environ, tmp_path / "rows.csv", "--out", str(tmp_path / verdict))
        assert code == 0 and f"performance: {verdict}: f1 " in output and "1,500 labels" in output
        assert f"Performance: {verdict}" in (tmp_path / verdict / "report.html").read_text(encoding="utf-8")


def test_shipped_predictions_are_measured_with_the_labels_known_by_now(
    version: Path, registry: Registry, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    frame = generate(case, 600, seed=9)
    place = Bucket(registry.bucket.client, registry.bucket.name, f"{registry.bucket.base}predictions")
    environ = registry_environ | {"SERVING_PREDICTIONS": str(place)}
    made = predicted(version, frame.assign(Vintage=10), 1, datetime.now(UTC) - timedelta(hours=30))
    ship(place, made, frame["Response"].tolist()[:250])
    code, output = since(environ, "2d")
    assert code == 0 and "600 rows against vehicle_insurance version 1: covariate" in output and "Vintage" in output
    assert "f1 " in output and "of 250 labels" in output
    assert "0 rows against vehicle_insurance version 1: no rows to compare" in since(environ, "1d")[1]
    assert "--since: '2 weeks' is no duration" in since(environ, "2 weeks")[1]
    assert "SERVING_PREDICTIONS: not set" in since(registry_environ, "2d")[1]
    assert "expected one of --data FILE and --since 7d" in since(environ, "2d", "--data", "rows.csv")[1]


def since(environ: dict[str, str], value: str, *more: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["monitor", NAME, "--since", value, *more], env=environ)
    return result.exit_code, result.stdout + str(result.exception or "")


def test_rows_without_the_target_are_compared_by_the_others(
    version: Path, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    generate(case, 3000, seed=9).drop(columns=["Response", "id"]).to_parquet(tmp_path / "rows.parquet")
    code, output = monitor(registry_environ, tmp_path / "rows.parquet", "--json")
    names = {column["name"] for column in json.loads(output)["drift"]["columns"]}
    assert code == 0 and names == {*case.feature_names, "(predictions)"}


def test_what_cannot_be_compared_is_one_line(
    version: Path, registry: Registry, registry_environ: dict[str, str], case: UseCase, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    frame = generate(case, 20, seed=9)
    frame.drop(columns="Age").to_csv(rows, index=False)
    assert "no column 'Age'" in monitor(registry_environ, rows)[1]
    frame.to_csv(rows, index=False)
    code, output = monitor(registry_environ, rows)
    assert code == 0 and "not enough rows to say anything" in output
    frame.assign(Age="many").to_csv(rows, index=False)
    assert "no row fits the types" in monitor(registry_environ, rows)[1]
    (version / REFERENCE).write_text('{"Age": {"type": "int64"}}', encoding="utf-8")
    registry.push(NAME, version, {}, "run 2")
    assert "version 2: reference.json is not of format 2" in monitor(registry_environ, rows, "--version", "2")[1]
    (version / REFERENCE).unlink()
    registry.push(NAME, version, {}, "run 3")
    assert "version 3 has no 'reference.json'" in monitor(registry_environ, rows, "--version", "3")[1]
