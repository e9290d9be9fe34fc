from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
import pytest

from tests.support.small_cases import date, integer, real, small_case, text
from updraft.stages import failed_rows, suite_run
from updraft.stages.stage_folder import read_json
from updraft.stages.suite import BadSuite, load_suite
from updraft.stages.validate import ValidationFailed, validate
from updraft.usecase import UseCase

Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def dataset(frame: pd.DataFrame, folder: Path) -> Path:
    frame.to_parquet(folder / "dataset.parquet")
    return folder / "dataset.parquet"


def test_good_rows_pass_and_leave_a_report_as_json_and_as_a_page(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path
) -> None:
    path = dataset(frame, tmp_path)
    assert validate(case, path, tmp_path / "out") == path
    report = read_json(tmp_path / "out" / "report.json")
    expected = json.loads(case.suite.read_text())["expectations"]
    assert (report["success"], report["rows"], report["expectations"]) == (True, len(frame), len(expected))
    assert "vehicle_insurance" in (tmp_path / "out" / "data_docs" / "index.html").read_text()


COLUMNS = [
    date("d", nullable=False, earliest=datetime(2026, 1, 1), latest=datetime(2026, 12, 31)),
    text("code", pattern="^[A-Z]", shortest=2, longest=3),
    text("empty"),
    real("gaps"),
    integer("y", allowed=(0, 1)),
]
ROWS = {"d": [datetime(2026, 1, 31)] * 3, "code": ["AB", None, "ABC"], "empty": [None] * 3, "gaps": [None, 1.5, None]}


def typed(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(ROWS | {"y": [0, 1, 1]} | columns)
    return frame.astype({column.name: column.type for column in COLUMNS})


def test_dates_and_columns_with_nulls_have_the_types_that_great_expectations_finds(tmp_path: Path) -> None:
    case = small_case(COLUMNS, folder=tmp_path)
    path = dataset(typed(), tmp_path)
    assert validate(case, path, tmp_path / "out") == path
    assert list((tmp_path / "out" / "data_docs").rglob("*.html"))


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"d": [datetime(2026, 1, 31), datetime(2025, 12, 31), None]}, "d: column_values_to_be_between"),
        ({"d": [datetime(2026, 1, 31), datetime(2025, 12, 31), None]}, "such as '2025-12-31T00:00:00'"),
        ({"code": ["AB", "bc", None]}, "code: column_values_to_match_regex(regex=^[A-Z]): 1 of 3 rows, such as 'bc'"),
        ({"code": ["AB", "ABCD", None]}, "code: column_value_lengths_to_be_between(min_value=2, max_value=3): 1 of 3"),
    ],
)
def test_bounds_of_dates_and_texts_are_held(tmp_path: Path, columns: dict[str, Any], complaint: str) -> None:
    case = small_case(COLUMNS, folder=tmp_path)
    with pytest.raises(ValidationFailed) as failure:
        validate(case, dataset(typed(**columns), tmp_path), tmp_path / "out")
    assert complaint in str(failure.value)


def test_the_reason_writes_large_and_small_numbers_without_powers_of_ten(tmp_path: Path) -> None:
    columns = [real("price", minimum=0.00001, maximum=1_000_000), integer("y", maximum=10**17)]
    case = small_case(columns, folder=tmp_path)
    frame = pd.DataFrame({"price": [0.5, 2_500_000.0], "y": [0, 1]})
    with pytest.raises(ValidationFailed) as failure:
        validate(case, dataset(frame, tmp_path), tmp_path / "out")
    assert "price: column_values_to_be_between(min_value=0.00001, max_value=1,000,000): 1 of" in str(failure.value)


def keep(rows: int) -> Spoil:
    return lambda frame: frame.drop(frame.index[rows:])


def set_value(column: str, value: Any) -> Spoil:
    return lambda frame: frame.assign(**{column: frame[column].where(frame.index != 5, value)})


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize(
    ("spoil", "column", "complaint"),
    [
        (set_value("Age", 17), "Age", "between(min_value=18, max_value=100): 1 of 2,000 rows, such as 17"),
        (set_value("Vehicle_Age", "3 Years"), "Vehicle_Age", "such as '3 Years'"),
        (set_value("Age", None), "Age", "to_not_be_null(): 1 of 2,000 rows"),
        (set_value("Gender", None), "Gender", "to_not_be_null(): 1 of 2,000 rows"),
        (set_value("id", 1), "id", "to_be_unique(): 2 of 2,000 rows"),
        (lambda frame: frame.drop(columns="Vintage"), "Vintage", "'Vintage' is missing"),
        (lambda frame: frame.assign(Extra=1), "Extra", "unexpected Extra"),
        (keep(100), "table", "found 100"),
    ],
    ids=["range", "category", "null-number", "null-text", "duplicate", "missing-column", "extra-column", "too-few"],
)
def test_a_critical_fault_stops_the_run_with_the_column_named(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path, spoil: Spoil, column: str, complaint: str
) -> None:
    with pytest.raises(ValidationFailed) as failure:
        validate(case, dataset(spoil(frame), tmp_path), tmp_path / "out")
    assert column in str(failure.value) and complaint in str(failure.value)
    assert len(str(failure.value).splitlines()) == 1
    assert read_json(tmp_path / "out" / "report.json")["success"] is False
    assert (tmp_path / "out" / "data_docs" / "index.html").is_file()


SPANNING: list[dict[str, Any]] = [
    {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {"column_A": "Vintage", "column_B": "Age"}},
    {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["Age", "Region_Code", "Gender"]}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "Vintage", "max_value": 90, "row_condition": "Age > 70", "condition_parser": "pandas"},
    },
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "Gender", "min_value": 1}},
    {"type": "expect_column_to_exist", "kwargs": {"column": "Vintage", "column_index": 10}},
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "Age"}, "severity": "warning"},
]


@pytest.mark.filterwarnings("ignore:.*condition:DeprecationWarning")  # how a suite's JSON has them until GX 2
@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize("columns_at_a_time", [1, 3, 12])
def test_the_report_is_that_of_great_expectations_on_the_whole_dataset(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns_at_a_time: int
) -> None:
    raw = json.loads(case.suite.read_text())
    raw["expectations"] += SPANNING
    suite = tmp_path / "suite.json"
    suite.write_text(json.dumps(raw))
    frame["Age"] = frame["Age"].where(frame["id"] % 7 > 0, 17)
    frame["Vehicle_Age"] = frame["Vehicle_Age"].where(frame["id"] % 3 > 0, None)
    path = dataset(frame, tmp_path)
    batch = (
        gx
        .get_context(mode="ephemeral")
        .data_sources.add_pandas("rows")
        .add_dataframe_asset("rows")
        .add_batch_definition_whole_dataframe("all")
        .get_batch({"dataframe": pd.read_parquet(path)})
    )
    whole = batch.validate(load_suite(suite), result_format="SUMMARY").to_json_dict()["results"]
    monkeypatch.setattr(suite_run, "CELLS", columns_at_a_time * len(frame))
    with pytest.raises(ValidationFailed):
        validate(case.model_copy(update={"suite": suite}), path, tmp_path / "out")
    reported = read_json(tmp_path / "out" / "report.json")["all"]
    assert [entry["expectation"] for entry in reported] == [each["expectation_config"]["type"] for each in whole]
    assert [entry["column"] for entry in reported] == [
        each["expectation_config"]["kwargs"].get("column") for each in whole
    ]
    assert json.dumps([entry["result"] for entry in reported]) == json.dumps([each["result"] for each in whole])
    assert sum(not entry["success"] for entry in reported) == sum(not each["success"] for each in whole) >= 7


def test_rows_that_break_a_critical_expectation_are_quarantined_with_their_reasons(
    case: UseCase, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame.loc[frame.index[[3, 1999]], "Age"] = 17
    frame.loc[frame.index[[3, 8]], "Gender"] = "?"
    path = dataset(frame, tmp_path)
    monkeypatch.setattr(failed_rows, "BATCH", 6)

    def rejected() -> list[dict[str, Any]]:
        with pytest.raises(ValidationFailed):
            validate(case, path, tmp_path / "out")
        return [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]

    found = rejected()
    assert [each["place"] for each in found] == ["row 4", "row 9", "row 2000"]
    assert [each["row"] for each in found] == json.loads(frame.iloc[[3, 8, 1999]].to_json(orient="records"))
    assert [each["reason"].count("column_values") for each in found] == [2, 1, 1]
    assert found[2]["reason"] == "Age: column_values_to_be_between(min_value=18, max_value=100)"
    monkeypatch.setattr(failed_rows, "MOST", 2)
    assert rejected() == found[:2]


def test_a_warning_is_reported_and_lets_pass(case: UseCase, frame: pd.DataFrame, tmp_path: Path) -> None:
    frame["Response"] = 1
    path = dataset(frame, tmp_path)
    assert validate(case, path, tmp_path / "out") == path
    (failed,) = read_json(tmp_path / "out" / "report.json")["failed"]
    assert (failed["severity"], failed["column"]) == ("warning", "Response")


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (
            {"type": "expect_column_values_to_be_nice", "kwargs": {"column": "Age"}},
            "no expectation is called 'expect_column_values_to_be_nice'",
        ),
        ({"type": "expect_column_values_to_be_between", "kwargs": {"column": "Age", "minimum": 1}}, "minimum"),
    ],
)
def test_an_expectation_that_great_expectations_would_drop_is_refused(
    case: UseCase, tmp_path: Path, entry: dict[str, Any], complaint: str
) -> None:
    raw = json.loads(case.suite.read_text())
    raw["expectations"].append(entry)
    path = tmp_path / "suite.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(BadSuite, match=r"suite\.json") as refusal:
        load_suite(path)
    assert complaint in str(refusal.value)
