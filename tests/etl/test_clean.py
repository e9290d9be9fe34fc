"""`extract` and `clean`: each rule on a small file, and what is counted, quarantined and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.support.etl_cases import cleaned, write_etl, write_rows
from updraft.errors import BadData
from updraft.etl import cleaning
from updraft.stages.stage_folder import read_json
from updraft.stages.validate import ValidationFailed

NINE = [f"{number}, Direct ,{number},60,no" for number in range(1, 10)]


def rows(dataset: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(dataset).to_pylist()
    return found


def facts(dataset: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(dataset.with_name("clean.json"))
    return found


def quarantined(dataset: Path) -> list[tuple[str, str]]:
    lines = dataset.with_name("quarantine.jsonl").read_text().splitlines()
    return [(json.loads(line)["place"], json.loads(line)["reason"]) for line in lines]


def test_rules_are_applied_in_their_order_and_counted(tmp_path: Path) -> None:
    write_rows(write_etl(tmp_path), *NINE, "10,MAIL,900,?,yes")
    _, dataset = cleaned(tmp_path)
    found = rows(dataset)
    assert list(found[0]) == ["visit", "kind", "price", "minutes", "bought"]
    assert found[0] == {"visit": 1, "kind": "direct", "price": 1.0, "minutes": 1.0, "bought": 0}
    high = facts(dataset)["outliers"]["price"]["high"]
    assert found[9] == {"visit": 10, "kind": "mail", "price": high, "minutes": 0.0, "bought": 1} and 9 < high < 900
    assert facts(dataset)["outliers"]["price"]["outliers"] == 1 and facts(dataset)["nulls"] == {"seconds": 1}
    assert facts(dataset)["labels"] == {"bought": {"no": 9, "yes": 1}}
    lines = dataset.with_name("dataset.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == found


@pytest.mark.parametrize("then", ["clip", "null", "quarantine"])
def test_an_outlier_by_interquartile_range(tmp_path: Path, then: str) -> None:
    edit = "{rule: quantile, high: 0.9, then: clip}", f"{{rule: iqr, then: {then}}}"
    write_rows(write_etl(tmp_path, edit), *NINE, "10,mail,900,60,yes", "11,mail,?,60,yes")
    _, dataset = cleaned(tmp_path)
    outliers = facts(dataset)["outliers"]["price"]
    assert outliers == {"rule": "iqr", "low": -3.5, "high": 14.5, "then": then, "outliers": 1}  # of 3.25 and 7.75
    last = {"clip": 14.5, "null": None}
    assert [row["price"] for row in rows(dataset)[9:]] == ([None] if then == "quarantine" else [last[then], None])
    assert quarantined(dataset) == ([("extracted row 10", "clean.outliers.price")] if then == "quarantine" else [])


def test_where_most_values_are_one_no_other_is_an_outlier(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_etl(tmp_path, ("{rule: quantile, high: 0.9, then: clip}", "{rule: iqr, then: quarantine}"))
    write_rows(root, *(f"{number},mail,0,60,no" for number in range(9)), "10,mail,7,60,no")
    _, dataset = cleaned(tmp_path)
    assert rows(dataset)[-1]["price"] == 7 and "all values but 0 are outliers" in caplog.text


def test_a_whole_number_is_clipped_to_a_whole_number(tmp_path: Path) -> None:
    types = {"visit": "int64", "clicks": "int64"}
    yaml = (
        "title: Clicks\nsource: {file: {path: data/visits.csv}}\n"
        "clean: {outliers: {clicks: {rule: quantile, high: 0.85, then: clip}}}\nload: {mongodb: {collection: x}}\n"
    )
    write_etl(tmp_path, yaml=yaml, types=types)
    write_rows(tmp_path, *(f"{n},{n}" for n in range(10)), header="visit,clicks")
    _, dataset = cleaned(tmp_path)
    assert [row["clicks"] for row in rows(dataset)][-3:] == [7, 7, 7]  # the quantile is 7.65


def test_rows_that_do_not_fit_are_quarantined_with_their_reasons(tmp_path: Path) -> None:
    edits = ("seconds / 60", "60 / seconds"), ("id: visit", "id: visit\nquarantine_budget: 0.5")
    write_rows(write_etl(tmp_path, *edits), *NINE, "10,mail,1,?,no", "11,mail,1,60,perhaps", "12,x,y,60,no")
    _, dataset = cleaned(tmp_path)
    assert len(rows(dataset)) == 9
    assert quarantined(dataset) == [
        ("extracted row 10", "clean.derive.minutes: not a finite number"),
        ("extracted row 11", "clean.labels.bought: 'perhaps' is not one of yes, no"),
    ]
    extracted = (tmp_path / "run/extract/quarantine.jsonl").read_text()
    assert json.loads(extracted)["place"] == "row 13"
    assert facts(dataset)["reasons"] == {"clean.derive.minutes": 1, "clean.labels.bought": 1}


def test_a_value_without_a_result_costs_its_row_only(tmp_path: Path) -> None:
    edits = (
        ("seconds: float64", "seconds: str"),
        ("    seconds: {fill: 0}", "    minutes: {fill: 0}"),
        ("seconds / 60", "float(seconds) + visit * visit"),
        ("id: visit", "id: visit\nquarantine_budget: 0.5"),
    )
    root = write_etl(tmp_path, *edits)
    write_rows(root, *NINE, "10,mail,1,high,no", "11,mail,1,?,no", f"{2**40},mail,1,60,no", "13,mail,1,,no")
    _, dataset = cleaned(tmp_path)
    assert [row["minutes"] for row in rows(dataset)] == [60.0 + n * n for n in range(1, 10)] + [0.0, 0.0]
    reason = "clean.derive.minutes: 'float(seconds) + visit * visit' has no result for "
    assert quarantined(dataset) == [
        ("extracted row 10", f"{reason}seconds = 'high', visit = 10"),
        ("extracted row 12", f"{reason}seconds = '60', visit = {2**40}"),
    ]
    write_rows(root, *NINE, *(f"{number},mail,1,high,no" for number in range(10, 30)))
    with pytest.raises(BadData, match=r"68\.97% of 29 rows do not fit.*minutes \(20\).*seconds = 'high'"):
        cleaned(tmp_path)
    write_rows(root, "1,mail,1,high,no")
    with pytest.raises(BadData, match=r"none of 1 rows is left; worst is clean\.derive\.minutes"):
        cleaned(tmp_path)


def test_a_row_that_a_rule_quarantines_is_no_misfit_by_what_is_derived_from_it(tmp_path: Path) -> None:
    root = write_etl(tmp_path, ("{fill: 0}", "quarantine"), ("seconds / 60", "coalesce(seconds, 0) / seconds * 0"))
    write_rows(root, *NINE, *(f"{number},mail,1,?,perhaps" for number in range(10, 30)))
    _, dataset = cleaned(tmp_path)
    assert {reason for _, reason in quarantined(dataset)} == {"clean.nulls.seconds"}


@pytest.mark.parametrize(
    ("type_", "labels", "values"),
    [
        ("bool", "{true: 1, false: 0}", ("true", "false")),
        ("float64", "{1.0: 1, 2: 0}", ("1", "2.0")),
        ("int64", '{"7": 1, 8: 0}', ("7", "8")),
        ("str", "{1.0: 1, 2: 0}", ("1.0", "2")),
    ],
)
def test_labels_are_values_of_their_column(tmp_path: Path, type_: str, labels: str, values: tuple[str, str]) -> None:
    edits = ("bought: str", f"bought: {type_}"), ('{"yes": 1, "no": 0}', labels)
    write_rows(write_etl(tmp_path, *edits), *(f"{n},mail,1,60,{value}" for n, value in enumerate(values)))
    _, dataset = cleaned(tmp_path)
    assert [row["bought"] for row in rows(dataset)] == [1, 0]


def test_too_many_misfits_stop_it_and_what_a_rule_quarantines_does_not(tmp_path: Path) -> None:
    root = write_etl(tmp_path, ("{fill: 0}", "quarantine"))
    write_rows(root, *NINE, *(f"{number},mail,1,?,no" for number in range(10, 30)))
    _, dataset = cleaned(tmp_path)
    assert len(rows(dataset)) == 9 and facts(dataset)["quarantined"] == 20

    write_rows(root, *NINE, "10,mail,1,60,perhaps")
    with pytest.raises(BadData, match=r"etl_visits: 10\.00% of 10 rows do not fit.*'perhaps'.*quarantine\.jsonl"):
        cleaned(tmp_path)
    write_rows(root, "1,mail,1,?,no")
    with pytest.raises(BadData, match=r"none of 1 rows is left; worst is clean\.nulls\.seconds"):
        cleaned(tmp_path)


def test_equal_rows_are_counted_and_of_a_row_with_an_id_one_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_rows(write_etl(tmp_path), *NINE, *NINE, *NINE)
    _, dataset = cleaned(tmp_path)
    assert [facts(dataset)[key] for key in ("distinct", "duplicates", "repeated")] == [9, 18, 3]
    assert [row["visit"] for row in rows(dataset)] == [*range(1, 10)]
    assert "each of 9 rows is there 3 times" in caplog.text

    write_rows(tmp_path, *NINE, "9, Direct ,8,60,no", "9,other,8,60,no")
    with pytest.raises(BadData, match="id 'visit': 1 values stand in several different rows: 9"):
        cleaned(tmp_path)


@pytest.mark.parametrize(("rule", "kept"), [("keep", 18), ("drop", 9)])
def test_without_an_id_duplicates_are_kept_or_dropped(tmp_path: Path, rule: str, kept: int) -> None:
    root = write_etl(tmp_path, ("id: visit\n", ""), ("clean:\n", f"clean:\n  duplicates: {rule}\n"))
    write_rows(root, *NINE, *NINE)
    _, dataset = cleaned(tmp_path)
    assert len(rows(dataset)) == kept


def test_batches_of_any_size_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = (
        ("id: visit", "quarantine_budget: 0.5"),
        ("  outliers:\n", "  outliers:\n    minutes: {rule: iqr, then: quarantine}\n"),
        ("seconds / 60", "sqrt(seconds - 1) + price"),
        ("clean:\n", "clean:\n  duplicates: drop\n"),
    )
    write_rows(write_etl(tmp_path, *edits), *NINE, "10,mail,1,?,yes", "11,,900,90000,no", *NINE, "12,a,5,60,maybe")
    _, dataset = cleaned(tmp_path)
    expected = {file.name: file.read_bytes() for file in dataset.parent.iterdir() if file.suffix == ".jsonl"}
    counts, table = facts(dataset), pq.read_table(dataset)
    assert counts["reasons"].keys() == {"clean.derive.minutes", "clean.outliers.minutes", "clean.labels.bought"}
    assert counts["duplicates"] == counts["distinct"] == 9 and table.num_rows == 9
    monkeypatch.setattr(cleaning, "BATCH", 2)
    _, dataset = cleaned(tmp_path)
    assert {name: dataset.with_name(name).read_bytes() for name in expected} == expected
    assert facts(dataset) | {"seconds": 0} == counts | {"seconds": 0} and pq.read_table(dataset).equals(table)


def test_the_suite_is_the_gate(tmp_path: Path) -> None:
    write_etl(tmp_path)
    suite = tmp_path / "expectations/etl_visits.json"
    text = json.loads(suite.read_text())
    between = {"column": "minutes", "max_value": 1}
    text["expectations"].append({"type": "expect_column_values_to_be_between", "kwargs": between})
    suite.write_text(json.dumps(text))
    write_rows(tmp_path, *NINE, "10,mail,1,120,no")
    with pytest.raises(ValidationFailed, match=r"etl_visits: 1 of \d+ expectations failed: minutes"):
        cleaned(tmp_path)


def test_a_missing_column_an_empty_file_and_a_column_of_nothing_say_so(tmp_path: Path) -> None:
    write_rows(write_etl(tmp_path), "1,x,1,60", header="visit,kind,price,secs")
    with pytest.raises(BadData, match=r"'seconds' is missing, 'secs' is new: renamed.*'bought' is missing"):
        cleaned(tmp_path)
    write_rows(tmp_path)
    with pytest.raises(BadData, match="etl_visits: the source gave no rows"):
        cleaned(tmp_path)
    write_rows(tmp_path, *(f"{number},,,,no" for number in range(5)))
    _, dataset = cleaned(tmp_path)
    assert {row["price"] for row in rows(dataset)} == {None}
