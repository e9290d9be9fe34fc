from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from updraft.defaults import ROOT
from updraft.model.columns import LARGEST, Column, Violation
from updraft.model.suite import read_columns

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
        (DATE, "31.01.2026", "'31.01.2026' is not an ISO 8601 date"),
        (DATE, "2026-02-30", "'2026-02-30' is not an ISO 8601 date"),
        (DATE, 5, "5 (int) is not a date"),
        (DATE, "2025-12-31T23:59:59", "is not between 2026-01-01T00:00:00 and 2026-12-31T00:00:00"),
        (DATE, "0001-01-01T00:00:00+02:00", "'0001-01-01T00:00:00+02:00' is out of the calendar's range in UTC"),
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
    columns = {column.name: column for column in read_columns(ROOT / "expectations" / "vehicle_insurance.json")}
    assert next(iter(columns)) == "id" and len(columns) == 12
    assert columns["Vehicle_Age"] == Column(
        name="Vehicle_Age", type="str", nullable=False, allowed=("< 1 Year", "1-2 Year", "> 2 Years")
    )
    assert (columns["Age"].minimum, columns["Age"].maximum) == (18, 100)


def test_a_warning_bounds_nothing_and_a_bound_for_most_rows_is_tolerant(tmp_path: Path) -> None:
    path = write_suite(
        tmp_path,
        of_type("a", "float64"),
        of_type("b", "float64"),
        of_type("c", "str"),
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}, "severity": "warning"},
        {"type": IN_SET, "kwargs": {"column": "a", "value_set": [1]}, "severity": "warning"},
        {"type": BETWEEN, "kwargs": {"column": "a", "max_value": 5, "mostly": 0.9}},
        {"type": BETWEEN, "kwargs": {"column": "b", "max_value": 5, "mostly": 0.9}},
        {"type": BETWEEN, "kwargs": {"column": "b", "min_value": 0}},
        {"type": IN_SET, "kwargs": {"column": "c", "value_set": ["x"], "mostly": 0.9}},
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "c", "mostly": 0.9}},
    )
    assert read_columns(path) == [
        Column(name="a", type="float64", maximum=5, tolerated=("out_of_range",)),
        Column(name="b", type="float64", minimum=0),  # where some hold for every row, only these
        Column(name="c", type="str", allowed=("x",), tolerated=("unseen",)),
    ]


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
    columns = read_columns(path)
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
        ("str", "values_to_match_regex", {"regex": "(["}, "'([' is not a regular expression"),
    ],
)
def test_bounds_that_cannot_hold_are_refused(
    tmp_path: Path, type_: str, kind: str, kwargs: dict[str, Any], complaint: str
) -> None:
    bound = {"type": f"expect_column_{kind}", "kwargs": {"column": "a", **kwargs}}
    with pytest.raises(ValueError, match=re.escape(complaint)):
        read_columns(write_suite(tmp_path, of_type("a", type_), bound))


def test_a_column_set_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="column 'a' is named 2 times in the column set") as refusal:
        read_columns(write_suite(tmp_path, of_type("a", "float64"), of_type("b", "str"), of_type("a", "float64")))
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize("type_", ["int64", "bool"])
def test_a_null_that_is_tolerated_where_the_type_has_none_is_no_value_of_it(tmp_path: Path, type_: str) -> None:
    few = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a", "mostly": 0.99}}
    (column,) = read_columns(write_suite(tmp_path, of_type("a", type_), few))
    assert (column.nullable, column.tolerated) == (False, ("null",))
    with pytest.raises(ValueError, match=f"null where {type_} is required"):
        column.check(None)
    (strict,) = read_columns(write_suite(tmp_path, of_type("a", type_), few, few | {"kwargs": {"column": "a"}}))
    assert (strict.nullable, strict.tolerated) == (False, ())


@pytest.mark.parametrize("type_", ["int64", "bool"])
def test_a_type_that_cannot_hold_the_nulls_it_may_have_is_refused(tmp_path: Path, type_: str) -> None:
    with pytest.raises(ValueError, match=f"column 'a' is {type_} and may be null"):
        read_columns(write_suite(tmp_path, of_type("a", type_)))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Invalid JSON"),
        ("[]", "not a suite"),
        ('{"expectations": [{"kwargs": {}}]}', "not a valid suite: expectation 1: 'type' is missing"),
        ('{"expectations": [1]}', "not a valid suite: expectation 1: 1, Input should be an object"),
        ('{"expectations": {}}', "not a suite: expectations: Input should be a valid array"),
        ('{"expectations": []}', "expect_table_columns_to_match_set"),
        (
            '{"expectations": [{"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["a"]}}]}',
            "column 'a' needs a critical type, one of int64, float64, str, bool, datetime64[us], found None",
        ),
    ],
)
def test_a_file_that_is_no_suite_is_refused_by_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json") as refusal:
        read_columns(path)
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
        ("str", IN_SET, {"value_set": []}, "value_set is empty"),
        ("float64", REGEX, {"regex": "a"}, "a pattern or a length of texts"),
        ("str", LENGTHS, {"min_value": 9, "max_value": 1}, "no text is 9 to 1"),
    ],
)
def test_bounds_that_no_value_can_meet_are_refused(
    tmp_path: Path, type_: str, kind: str, kwargs: dict[str, Any], complaint: str
) -> None:
    more = {"type": kind, "kwargs": {"column": "a", **kwargs}}
    with pytest.raises(ValueError, match="column 'a'") as refusal:
        read_columns(write_suite(tmp_path, of_type("a", type_), more))
    assert complaint in str(refusal.value)


def test_of_several_bounds_all_hold(tmp_path: Path) -> None:
    ranges = [{"min_value": 0, "max_value": 9}, {"min_value": 2}]
    sets = [{"value_set": [1, 2, 3]}, {"value_set": [2, 3, 4]}]
    more = [{"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", **each}} for each in ranges]
    more += [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "a", **each}} for each in sets]
    assert read_columns(write_suite(tmp_path, of_type("a", "float64"), *more)) == [
        Column(name="a", type="float64", minimum=2, maximum=9, allowed=(2, 3))
    ]


PROPERTY = settings(deadline=None, derandomize=True)  # the same examples each time, however busy the machine


def of(type_: str, **bounds: Any) -> Column:
    return Column(name="a", type=type_, **bounds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("type_", "text", "expected"),
    [
        ("int64", "44", 44),
        ("int64", " 44 ", 44),
        ("int64", "+44", 44),
        ("int64", "44.0", 44),
        ("int64", "1e3", 1000),
        ("int64", "", None),
        ("int64", str(2**63 - 1), 2**63 - 1),
        ("float64", "-.5", -0.5),
        ("float64", "1.5E3", 1500.0),
        ("float64", "", None),
        ("bool", "true", True),
        ("bool", "FALSE", False),
        ("bool", "1", True),
        ("bool", " 0 ", False),
        ("str", " as it is ", " as it is "),
        ("str", "", None),
        ("str", " ", " "),
        ("int64", " ", None),
        ("float64", "\t", None),
        ("bool", "  ", None),
        (DATE.type, " ", None),
        ("str", "1", "1"),
        (DATE.type, "2026-01-31", datetime(2026, 1, 31)),
        (DATE.type, "2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8)),
        (DATE.type, "", None),
    ],
)
def test_a_text_is_read_as_the_column_has_it(type_: str, text: str, expected: object) -> None:
    found = of(type_).from_text(text)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("type_", "texts"),
    [
        ("int64", ["44.5", "4 4", "1_000", "0x10", "x", "nan", "inf", "1e400", "٤", "true", "--1", "9" * 5000]),
        ("float64", ["1,5", "1_0.0", "0x1p3", "nan", "Infinity", "1e400", "٤", "1.2.3", "e5", "9" * 24]),
        ("bool", ["yes", "2", "tru", "1.0", "t"]),
        (DATE.type, ["31.01.2026", "44", "now"]),
    ],
)
def test_a_text_that_is_none_of_the_column_is_refused_with_the_text(type_: str, texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(ValueError, match=r"\w") as refusal:
            of(type_).from_text(text)
        assert len(str(refusal.value)) < 150, text


@PROPERTY
@given(st.integers(-(2**63), 2**63 - 1))
def test_every_integer_is_read_back_from_its_text(number: int) -> None:
    assert of("int64").from_text(str(number)) == number == of("int64").convert(number)


@PROPERTY
@given(st.floats(-LARGEST, LARGEST))
def test_every_number_is_read_back_from_its_text_to_the_last_bit(number: float) -> None:
    found = of("float64").from_text(repr(number))
    assert isinstance(found, float) and found.hex() == number.hex()
    assert of("float64").convert(json.loads(json.dumps(number))) == number


@pytest.mark.parametrize("number", [1.1e38, -3.5e38, 1.79e308])
def test_a_number_that_no_float32_holds_is_refused(number: float) -> None:
    """Trees compute in float32, and raise. Ingestion lets it be: it may stand in a column that nothing learns from."""
    column = of("float64")
    assert column.convert(number) == number
    with pytest.raises(ValueError, match="beyond 1e"):
        column.check(number)


@PROPERTY
@given(st.booleans())
def test_every_truth_value_is_read_back_from_its_text(truth: bool) -> None:
    assert of("bool").from_text(str(truth)) is truth
    assert of("bool").from_text(json.dumps(truth)) is truth


@PROPERTY
@given(st.datetimes())
def test_every_moment_is_read_back_from_its_text(moment: datetime) -> None:
    assert of(DATE.type).from_text(moment.isoformat()) == moment


@pytest.mark.usefixtures("takes_long")
@PROPERTY
@given(st.text() | st.from_regex(r"[-+0-9.eE ]{1,30}|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.+Z-]{0,20}"))
def test_any_text_is_read_or_refused_and_never_anything_else(text: str) -> None:
    for type_ in ("int64", "float64", "bool", "str", DATE.type):
        try:
            found = of(type_).from_text(text)
        except ValueError:
            continue
        assert of(type_).convert(found) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@PROPERTY
@given(JSON)
def test_any_value_of_json_is_converted_or_refused(value: Any) -> None:
    kinds = {"int64": int, "float64": float, "bool": bool, "str": str, DATE.type: datetime}
    for type_, kind in kinds.items():
        try:
            found = of(type_).convert(value)
        except ValueError:
            continue
        assert found is None or type(found) is kind
        assert of(type_).convert(found) == found


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (INTEGER, None, [("null", "null where int64 is required")]),
        (INTEGER, 10, []),
        (INTEGER, 11, [("out_of_range", "11 is not between 0 and 10")]),
        (of("int64", minimum=0), -1, [("out_of_range", "-1 is not between 0 and any")]),
        (REAL, None, []),
        (TEXT, "c", [("unseen", "'c' is not one of 'a', 'b'")]),
        (of("int64", allowed=(1, 2), maximum=5), 9,
         [("unseen", "9 is not one of 1, 2"), ("out_of_range", "9 is not between any and 5")]),
        (CODE, "a",
         [("text", "'a' has 1 characters, expected 2 to 3"), ("text", "'a' does not match ^[A-Z]+$")]),
        (CODE, "abcd", [("text", "'abcd' has 4 characters, expected 2 to 3")]),  # too long for a pattern
        (DATE, datetime(2027, 1, 1),
         [("out_of_range", "2027-01-01T00:00:00 is not between 2026-01-01T00:00:00 and 2026-12-31T00:00:00")]),
        (DATE, datetime(2026, 12, 31), []),
    ],
)  # fmt: skip
def test_every_bound_that_is_not_kept_to_is_named(column: Column, value: Any, expected: list[tuple[str, str]]) -> None:
    assert [(violation.kind, str(violation)) for violation in column.violations(value)] == expected
    if expected:
        with pytest.raises(Violation, match=re.escape(expected[0][1])):
            column.check(value)


def test_a_long_list_of_allowed_values_is_cut() -> None:
    (violation,) = of("int64", allowed=tuple(range(5000))).violations(-1)
    assert str(violation).endswith("98, 99 and 4900 more") and len(str(violation)) < 500


def test_of_several_patterns_and_lengths_all_hold(tmp_path: Path) -> None:
    more = [{"type": REGEX, "kwargs": {"column": "a", "regex": each}} for each in ("a", "b")]
    more += [{"type": LENGTHS, "kwargs": {"column": "a", **each}} for each in ({"min_value": 2}, {"max_value": 3})]
    (column,) = read_columns(write_suite(tmp_path, of_type("a", "str"), *more))
    assert [text for text in ("a", "ab", "cab", "cabb", "ccc") if not list(column.violations(text))] == ["ab", "cab"]


def test_lengths_that_leave_their_ends_out_are_refused(tmp_path: Path) -> None:
    more = {"type": LENGTHS, "kwargs": {"column": "a", "min_value": 2, "strict_min": True}}
    with pytest.raises(ValueError, match="strict_min"):
        read_columns(write_suite(tmp_path, of_type("a", "str"), more))


def test_a_fraction_of_a_large_integer_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exact"):
        of("int64").from_text("9007199254740993.0")


def test_a_deep_value_is_refused_in_a_short_line() -> None:
    value: Any = "x" * 100
    for _ in range(6):
        value = [value] * 6
    with pytest.raises(ValueError, match="whole number") as refusal:
        INTEGER.convert(value)
    assert len(str(refusal.value)) < 500
