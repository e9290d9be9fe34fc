from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from updraft.suite import Column, read
from updraft.usecase import ROOT

INTEGER = Column(name="n", type="int64", nullable=False, minimum=0, maximum=10)
REAL = Column(name="x", type="float64")
TEXT = Column(name="t", type="str", nullable=False, allowed=("a", "b"))
FLAG = Column(name="f", type="bool")


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (INTEGER, 3, 3),
        (INTEGER, 3.0, 3),
        (REAL, 3, 3.0),
        (REAL, None, None),
        (TEXT, "a", "a"),
        (FLAG, True, True),
    ],
)
def test_a_value_that_fits_is_converted_without_loss(column: Column, value: object, expected: object) -> None:
    found = column.check(value)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        (INTEGER, 3.5, "3.5 (float) is not a whole number"),
        (INTEGER, True, "True (bool) is not a whole number"),
        (INTEGER, "3", "'3' (str) is not a whole number"),
        (INTEGER, 10**30, "does not fit into 64 bits"),
        (INTEGER, 11, "11 is not between 0 and 10"),
        (INTEGER, None, "null where int64 is required"),
        (REAL, float("nan"), "nan is not a finite number"),
        (REAL, float("-inf"), "-inf is not a finite number"),
        (REAL, 2**53 + 1, "too large for a 64-bit float"),
        (REAL, False, "False (bool) is not a number"),
        (TEXT, 5, "5 (int) is not text"),
        (TEXT, "c", "'c' is not one of 'a', 'b'"),
        (FLAG, 1, "1 (int) is not true or false"),
        (INTEGER, "x" * 500, "..."),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_was_expected(
    column: Column, value: object, complaint: str
) -> None:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        column.check(value)
    assert complaint in str(refusal.value)
    assert len(str(refusal.value)) < 150


def test_the_shipped_suite_gives_every_column_its_type_and_bounds() -> None:
    columns = {column.name: column for column in read(ROOT / "expectations" / "vehicle_insurance.json")}
    assert next(iter(columns)) == "id" and len(columns) == 12
    assert columns["Vehicle_Age"] == Column(
        name="Vehicle_Age", type="str", nullable=False, allowed=("< 1 Year", "1-2 Year", "> 2 Years")
    )
    assert (columns["Age"].minimum, columns["Age"].maximum) == (18, 100)


def test_a_warning_and_a_mostly_bound_nothing(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path,
        of_type("a", "float64"),
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}, "severity": "warning"},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", "max_value": 5, "mostly": 0.9}},
    )
    assert read(path) == [Column(name="a", type="float64")]


@pytest.mark.parametrize("type_", ["int64", "bool"])
def test_a_type_that_cannot_hold_the_nulls_it_may_have_is_refused(tmp_path: Path, type_: str) -> None:
    with pytest.raises(ValueError, match=f"column 'a' is {type_} and may be null"):
        read(write_suite(tmp_path, of_type("a", type_)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Invalid JSON"),
        ("[]", "not a suite"),
        ('{"expectations": [{"kwargs": {}}]}', "not a suite: expectations.0.type: Field required"),
        ('{"expectations": []}', "expect_table_columns_to_match_set"),
        (
            '{"expectations": [{"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["a"]}}]}',
            "column 'a' needs a critical type out of int64, float64, str, bool, found None",
        ),
    ],
)
def test_a_file_that_is_no_suite_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json") as refusal:
        read(path)
    assert complaint in str(refusal.value)


def of_type(column: str, type_: str) -> dict[str, Any]:
    return {"type": "expect_column_values_to_be_of_type", "kwargs": {"column": column, "type_": type_}}


def write_suite(folder: Path, *expectations: dict[str, Any]) -> Path:
    names = [each["kwargs"]["column"] for each in expectations if each["type"].endswith("of_type")]
    table = {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": names}}
    path = folder / "suite.json"
    path.write_text(json.dumps({"name": "suite", "expectations": [table, *expectations]}))
    return path
