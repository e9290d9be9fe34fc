"""What `updraft new` writes survives the next file of the same source, and the service agrees with the gate."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.churn_rows import base
from tests.support.small_cases import SHARED_DATA
from updraft.errors import BadData
from updraft.model.signature import BadRow
from updraft.new.column_types import ColumnProfile
from updraft.new.guess_suite import closed_set
from updraft.new.new import new
from updraft.sources.files import File
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import QUARANTINE, read_frame, read_json
from updraft.stages.train import _signature
from updraft.stages.transform import transform
from updraft.stages.validate import REPORT, ValidationFailed, validate
from updraft.usecase import UseCase, load


def held_against(case: UseCase, file: Path, out: Path) -> Path:
    return validate(case, ingest(case, File(file, case), out / "ingest"), out / "validate")


@pytest.fixture
def case(tmp_path: Path) -> UseCase:
    base(1000).to_csv(tmp_path / "rows.csv", index=False)
    new("churn", tmp_path / "rows.csv", "churned", root=tmp_path)
    return load("churn", tmp_path)


def next_month(folder: Path, odd: int) -> Path:
    frame = base(1000, seed=1)
    frame.loc[: odd - 1, "plan"] = "gold"
    frame.loc[: odd - 1, "spend"] = 1e7
    frame.to_csv(folder / "next.csv", index=False)
    return folder / "next.csv"


@pytest.mark.usefixtures("takes_long")
def test_a_few_odd_rows_stop_no_run_and_are_said(
    case: UseCase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        held_against(case, next_month(tmp_path, 5), tmp_path)
    assert "plan: column_values_to_be_in_set" in caplog.text and "5 of 1,000 rows, such as 'gold'" in caplog.text
    tolerated = {entry["column"] for entry in read_json(tmp_path / "validate" / REPORT)["tolerated"]}
    assert tolerated == {"plan", "spend"}


@pytest.mark.usefixtures("takes_long")
def test_a_column_that_moved_stops_the_run(case: UseCase, tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed, match="plan: column_values_to_be_in_set"):
        held_against(case, next_month(tmp_path, 30), tmp_path)


@pytest.mark.usefixtures("takes_long")
def test_target_id_and_types_are_strict(case: UseCase, tmp_path: Path) -> None:
    frame = base(1000, seed=1)
    frame.loc[0, "churned"] = "maybe"
    frame.loc[1, "customer_id"] = frame.loc[0, "customer_id"]
    frame.to_csv(tmp_path / "next.csv", index=False)
    with pytest.raises(ValidationFailed) as failure:
        held_against(case, tmp_path / "next.csv", tmp_path)
    assert {entry["column"] for entry in failure.value.failures} == {"churned", "customer_id"}


def with_flag(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(member=frame["age"] % 2 == 0).astype({"member": object, "age": object, "customer_id": object})


def write_rows(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_json(path, orient="records", lines=True)
    return path


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_few_nulls_in_whole_numbers_and_flags_are_quarantined(tmp_path: Path, ending: str) -> None:
    """Of a type that pandas has no null in; more of them than the budget stop the run, and so does one in the id."""
    new("churn", write_rows(with_flag(base(1000)), tmp_path / f"rows{ending}"), "churned", root=tmp_path)
    case = load("churn", tmp_path)
    assert {column.name for column in case.columns if "null" in column.tolerated} == {"age", "member"}
    frame = with_flag(base(1000, seed=1))
    frame.loc[3, "age"], frame.loc[[5, 900], "member"] = None, None
    file = write_rows(frame, tmp_path / f"next{ending}")
    rows = held_against(case, file, tmp_path)
    quarantined = [json.loads(line) for line in (tmp_path / "ingest" / QUARANTINE).read_text().splitlines()]
    assert [line["reason"].partition(":")[0] for line in quarantined] == ["age", "member", "member"]
    assert quarantined[0]["reason"] == "age: null where int64 is required" and len(read_frame(case, rows)) == 997

    frame.loc[:20, "age"] = None
    with pytest.raises(BadData, match=r"more than quarantine_budget 1.00%; worst is 'age' \(21\)"):
        ingest(case, File(write_rows(frame, file), case), tmp_path / "ingest")

    frame = with_flag(base(1000, seed=1))
    frame.loc[7, "customer_id"] = None
    with pytest.raises(ValidationFailed, match="customer_id: column_values_to_not_be_null"):
        held_against(case, write_rows(frame, file), tmp_path)


def test_the_service_predicts_and_warns_where_the_gate_tolerates(case: UseCase, tmp_path: Path) -> None:
    split = transform(case, held_against(case, tmp_path / "rows.csv", tmp_path), tmp_path / "split")
    signature = _signature(case, next(iter(case.candidates)), base(50), 0.5, split)
    row = signature.example | {"plan": "gold", "spend": 1e7}
    rows = signature.check([row])
    assert {warning["pointer"] for warning in rows.warnings} == {"/rows/0/plan", "/rows/0/spend"}
    with pytest.raises(BadRow, match="age"):
        signature.check([signature.example | {"age": "old"}])
    with pytest.raises(BadRow, match="age: null where int64 is required"):
        signature.check([signature.example | {"age": None}])
    stricter = case.model_copy(update={"serving": type(case.serving)(unseen={"plan": "reject"})})
    with pytest.raises(BadRow, match="'gold' is not one of"):
        _signature(stricter, next(iter(case.candidates)), base(50), 0.5, split).check([row])


@pytest.mark.parametrize(
    ("values", "closed"),
    [
        (["basic", "plus", "pro"], True),
        (["Jan", "Feb", "Mar"], False),
        (["monday", "tuesday"], False),
        (["2024-01", "2024-02"], False),
        (["Q1 2024", "Q2 2024"], False),
        (["spring", "summer"], False),
        (["Mon", "may be"], True),
    ],
)
def test_values_of_a_calendar_are_no_closed_set(values: list[str], closed: bool) -> None:
    column = ColumnProfile("when", "str", pd.Series(values * 50), role="categorical")
    assert bool(closed_set(column)) == closed


def test_a_set_that_grows_within_the_file_is_open() -> None:
    column = ColumnProfile("shop", "str", pd.Series(["a", "b"] * 50 + ["a", "b", "c"] * 30), role="categorical")
    assert closed_set(column) == []


FILES = {
    "vehicle_insurance/data.csv": "Response",
    "vehicle_price/uk_used_cars_all.csv.gz": "price",
    "vehicle_price/Car details v3.csv": "selling_price",
    "vehicle_price/CAR DETAILS FROM CAR DEKHO.csv": "selling_price",
    "vehicle_price/unclean_focus.csv": "price",
    "network_security/phisingData.csv": "Result",
    "network_security/dirty_phishing_duplicated_ingest.csv.gz": "Result",
    "california_housing/housing.csv": "median_house_value",
    "california_housing/california_sklearn_format.csv": "MedHouseVal",
    "sms_spam/spam.csv": "v1",
    "sms_spam/dirty_spam_v1v2_mixed_bytes.csv": "v1",
    "text_sentiment/amazon.csv": "Positive",
    "text_sentiment/imdb_1000.csv": "sentiment",
    "drift/california_reference.csv": "clf_target",
    "drift/california_analysis.csv": "clf_target",
    "drift/yellow_tripdata_sample_2019-01.csv": "total_amount",
    "drift/yellow_tripdata_sample_2019-02.csv": "total_amount",
}
MOST_ROWS = 4000  # of a file, at random: enough for odd rows, few enough for a test


@pytest.mark.usefixtures("shared_data")
@pytest.mark.parametrize(("file", "seed"), [(file, number % 3) for number, file in enumerate(FILES)])
def test_the_half_of_a_real_file_passes_what_was_written_from_the_other(tmp_path: Path, file: str, seed: int) -> None:
    for name, part in zip(("first", "second"), halves(SHARED_DATA / file, seed), strict=True):
        (tmp_path / f"{name}.csv").write_bytes(part)
    new("half", tmp_path / "first.csv", FILES[file], root=tmp_path)
    held_against(load("half", tmp_path), tmp_path / "second.csv", tmp_path)


def halves(path: Path, seed: int) -> list[bytes]:
    """Split a file's rows, as they are written, at random into two."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    records: list[bytes] = []
    is_open = False
    for line in raw.split(b"\n"):
        records[-1:] = [records[-1] + b"\n" + line] if is_open else [*records[-1:], line]
        is_open ^= line.count(b'"') % 2 == 1
    header, *rows = [record for record in records if record.strip()]
    order = np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]
    middle = len(order) // 2
    return [b"\n".join([header, *(rows[index] for index in part), b""]) for part in (order[:middle], order[middle:])]


def _entries(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((folder / "expectations/churn.json").read_text())["expectations"]
    return entries


def test_only_features_are_tolerant(case: UseCase, tmp_path: Path) -> None:
    tolerant = {entry["kwargs"].get("column") for entry in _entries(tmp_path) if "mostly" in entry["kwargs"]}
    assert tolerant == {"plan", "age", "spend"}
