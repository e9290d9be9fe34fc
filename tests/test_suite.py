from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from updraft.suite import Column, read
from updraft.usecase import ROOT

INTEGER = Column(name="n", type="int64", nullable=False, minimum=0, maximum=10)
REAL = Column(name="x", type="float64")
TEXT = Column(name="t", type="str", nullable=False, allowed=("a", "b"))
FLAG = Column(name="f", type="bool")
DATE = Column(name="d", type="datetime64[us]", earliest=datetime(2026, 1, 1), latest=datetime(2026, 12, 31))
CODE = Column(name="c", type="str", pattern="^[A-Z]+$", shortest=2, longest=3)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (INTEGER, 3, 3),
        (INTEGER, 3.0, 3),
        (REAL, 3, 3.0),
        (REAL, None, None),
        (TEXT, "a", "a"),
        (FLAG, True, True),
        (CODE, "AB", "AB"),
        (DATE, None, None),
        (DATE, "2026-01-31", datetime(2026, 1, 31)),
        (DATE, "2026-01-31T08:00:00.5Z", datetime(2026, 1, 31, 8, 0, 0, 500000)),
        (DATE, "2026-01-31 08:00+02:00", datetime(2026, 1, 31, 6)),
        (DATE, date(2026, 1, 31), datetime(2026, 1, 31)),
        (DATE, datetime(2026, 1, 31, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 30, 23)),
        (DATE, pd.Timestamp("2026-01-31 08:00:00.000000007"), datetime(2026, 1, 31, 8)),
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
        (CODE, "ab", "'ab' does not match ^[A-Z]+$"),
        (CODE, "ABCD", "'ABCD' has 4 characters, expected 2 to 3"),
        (DATE, "31.01.2026", "'31.01.2026' is no date that ISO 8601 knows"),
        (DATE, "2026-02-30", "'2026-02-30' is no date"),
        (DATE, 5, "5 (int) is not a date"),
        (DATE, "2025-12-31T23:59:59", "is not between 2026-01-01T00:00:00 and 2026-12-31T00:00:00"),
        (DATE, "0001-01-01T00:00:00+02:00", "is out of the calendar's range in UTC"),
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


def test_dates_patterns_and_lengths_are_read_and_survive_as_json(tmp_path: Path) -> None:
    def bound(kind: str, column: str, **kwargs: Any) -> dict[str, Any]:
        return {"type": f"expect_column_{kind}", "kwargs": {"column": column, **kwargs}}

    path = write_suite(
        tmp_path,
        of_type("d", "datetime64[us]"),
        of_type("c", "str"),
        bound("values_to_be_between", "d", min_value="2026-01-01", max_value="2026-12-31T00:00:00Z"),
        bound("values_to_match_regex", "c", regex="^[A-Z]+$"),
        bound("value_lengths_to_be_between", "c", min_value=2, max_value=3),
    )
    columns = read(path)
    assert columns == [DATE, CODE]
    assert [Column.model_validate_json(column.model_dump_json()) for column in columns] == columns


@pytest.mark.parametrize(
    ("type_", "kind", "kwargs", "complaint"),
    [
        (
            "datetime64[us]",
            "values_to_be_between",
            {"min_value": "soon"},
            "column 'a': expect_column_values_to_be_betw",
        ),
        ("datetime64[us]", "values_to_be_between", {"min_value": 5}, "5 (int) is not a date"),
        ("datetime64[us]", "values_to_be_in_set", {"value_set": ["2026-01-01"]}, "expected a range, found a set"),
        ("str", "values_to_match_regex", {"regex": "(["}, "'([' is no regular expression"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(
    tmp_path: Path, type_: str, kind: str, kwargs: dict[str, Any], complaint: str
) -> None:
    bound = {"type": f"expect_column_{kind}", "kwargs": {"column": "a", **kwargs}}
    with pytest.raises(ValueError, match=re.escape(complaint)):
        read(write_suite(tmp_path, of_type("a", type_), bound))


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
            "column 'a' needs a critical type out of int64, float64, str, bool, datetime64[us], found None",
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


BETWEEN, IN_SET = "expect_column_values_to_be_between", "expect_column_values_to_be_in_set"
REGEX, LENGTHS = "expect_column_values_to_match_regex", "expect_column_value_lengths_to_be_between"


@pytest.mark.parametrize(
    ("type_", "kind", "kwargs", "complaint"),
    [
        ("float64", BETWEEN, {"min_value": 9, "max_value": 1}, "nothing lies between 9 and 1"),
        ("float64", BETWEEN, {"min_value": 1, "strict_min": True}, "strict_min"),
        ("str", BETWEEN, {"min_value": 1}, "a range of numbers, and the column is str"),
        ("float64", IN_SET, {"value_set": ["a"]}, "value_set: 'a' (str) is not a number"),
        ("str", IN_SET, {"value_set": []}, "value_set: no value is in it"),
        ("float64", REGEX, {"regex": "a"}, "a pattern or a length of texts"),
        ("str", LENGTHS, {"min_value": 9, "max_value": 1}, "no text is 9 to 1"),
    ],
)
def test_bounds_that_no_value_can_meet_are_refused(
    tmp_path: Path, type_: str, kind: str, kwargs: dict[str, Any], complaint: str
) -> None:
    more = {"type": kind, "kwargs": {"column": "a", **kwargs}}
    with pytest.raises(ValueError, match="column 'a'") as refusal:
        read(write_suite(tmp_path, of_type("a", type_), more))
    assert complaint in str(refusal.value)


def test_of_several_bounds_all_hold(tmp_path: Path) -> None:
    ranges = [{"min_value": 0, "max_value": 9}, {"min_value": 2}]
    sets = [{"value_set": [1, 2, 3]}, {"value_set": [2, 3, 4]}]
    more = [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", **each}} for each in ranges]
    more += [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "a", **each}} for each in sets]
    assert read(write_suite(tmp_path, of_type("a", "float64"), *more)) == [
        Column(name="a", type="float64", minimum=2, maximum=9, allowed=(2, 3))
    ]
