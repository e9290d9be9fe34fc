"""`updraft predict`: each row of a file is predicted or refused with its reason, as the service would do it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.support.trained import Trained
from updraft.cli.main import app
from updraft.cli.predict import open_rows, predict_file, rejected_file, write_predictions
from updraft.errors import UserError
from updraft.model.model import Model
from updraft.registry.registry import Registry
from updraft.usecase import UseCase

NAME = "vehicle_insurance"


@pytest.fixture(scope="module")
def model(trained: Trained) -> Model:
    return Model.load(trained.models[1])


def silent(done: int, total: int | None) -> None:
    """Show no progress."""


def predict(model: Model, frame: pd.DataFrame, folder: Path, file: str = "rows.csv") -> tuple[tuple[int, int], Path]:
    data = folder / file
    frame.to_parquet(data) if file.endswith(".parquet") else frame.to_csv(data, index=False)
    out = folder / "out.csv"
    with open_rows(model.signature, str(data)) as source:
        return write_predictions(model, source, out, silent), out


@pytest.mark.parametrize("file", ["rows.csv", "rows.parquet"])
def test_each_row_has_its_number_its_id_and_what_the_model_predicts(
    file: str, model: Model, case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    counts, out = predict(model, frame, tmp_path, file)
    assert counts == (len(frame), 0) and not rejected_file(out).exists()
    written = pd.read_csv(out)
    assert written.columns.tolist() == ["row", "id", "prediction", "label", "probability"]
    assert written["row"].tolist() == [number + (1 if file.endswith(".parquet") else 2) for number in range(len(frame))]
    assert written["id"].tolist() == frame["id"].tolist()
    expected = model.predict(frame[case.feature_names])
    assert written["label"].tolist() == expected.names
    assert written["probability"].tolist() == pytest.approx(expected.probabilities, abs=1e-15)


def test_rows_that_do_not_fit_are_listed_with_their_reason_and_the_others_keep_their_number(
    model: Model, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame = frame.head(6).astype(object).drop(columns="id")
    frame.loc[1, "Age"] = "many"
    frame.loc[3, "Age"] = 700
    frame.loc[4, "Gender"] = "Other"
    counts, out = predict(model, frame, tmp_path)
    assert counts == (3, 3)
    assert pd.read_csv(out)["row"].tolist() == [2, 4, 7]
    lines = [json.loads(line) for line in rejected_file(out).read_text().splitlines()]
    assert {line["place"]: line["reason"].partition(":")[0] for line in lines} == {
        "row 3": "Age", "row 5": "Age", "row 6": "Gender",
    }  # fmt: skip
    predict(model, frame.drop(index=[1, 3, 4]), tmp_path)
    assert not rejected_file(out).exists()


def test_a_file_without_a_feature_is_refused_and_nothing_is_written(
    model: Model, frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no column 'Age'; it has Response, Years"):
        predict(model, frame.rename(columns={"Age": "Years"}), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_rows_of_several_files_are_told_apart(model: Model, frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for day in (1, 2):
        frame.head(2).assign(Age=[30, 30 if day == 1 else 700]).to_csv(tmp_path / "days" / f"{day}.csv", index=False)
    out = tmp_path / "out.csv"
    with open_rows(model.signature, str(tmp_path / "days")) as source:
        assert write_predictions(model, source, out, silent) == (3, 1)
    assert pd.read_csv(out)[["file", "row"]].values.tolist() == [["1.csv", 2], ["1.csv", 3], ["2.csv", 2]]
    assert json.loads(rejected_file(out).read_text())["place"] == "2.csv, row 3"


def test_a_file_that_breaks_off_leaves_no_predictions(model: Model, frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.to_parquet(tmp_path / "rows.parquet")

    def fail(done: int, total: int | None) -> None:
        raise OSError("the disk is full")

    with open_rows(model.signature, str(tmp_path / "rows.parquet")) as source:
        with pytest.raises(OSError, match="full"):
            write_predictions(model, source, tmp_path / "out.csv", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_command_predicts_with_the_version_in_production(
    trained: Trained, registry: Registry, registry_environ: dict[str, str], frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_csv(tmp_path / "rows.csv", index=False)
    arguments = ["predict", NAME, "--data", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "out.csv")]

    def run(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*arguments, *more], env=registry_environ)
        return result.exit_code, f"{result.output}{result.exception or ''}"

    code, output = run()
    assert code == 1 and "nothing is in production" in output
    for number, folder in enumerate(trained.models, start=1):
        registry.push(NAME, folder, {}, f"run {number}")
    registry.promote(NAME, 1, expect=None, who="me", why="test")
    code, output = run()
    assert code == 0 and f"2,000 predictions of {NAME} version 1 are in" in output and "not used: Response" in output
    first = (tmp_path / "out.csv").read_bytes()
    code, output = run("--version", "2")
    assert code == 1 and "already there; --force overwrites" in output
    assert run("--version", "2", "--force")[0] == 0 and (tmp_path / "out.csv").read_bytes() != first
    with pytest.raises(UserError, match=r"ends in \.csv"):
        predict_file(NAME, str(tmp_path / "rows.csv"), tmp_path / "out.parquet", None, force=False)
