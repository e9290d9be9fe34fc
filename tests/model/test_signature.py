"""Raw rows against a signature: what is rejected, what only warns, and where the errors point."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pandas as pd
import pytest

from tests.support.small_cases import date, integer, real, text
from updraft.model.columns import Column
from updraft.model.signature import BadRow, Signature, column_pointer, row_pointer, single_row_pointer

COLUMNS = (
    integer("age", minimum=18, maximum=100),
    real("height", minimum=0.5, maximum=2.5),
    text("colour", nullable=False, allowed=("red", "blue")),
    text("note", pattern="^[a-z ]*$", longest=20),
    date("day", earliest=datetime(2026, 1, 1), latest=datetime(2026, 12, 31)),
    Column(name="flag", type="bool", nullable=False),
)
ROW = {"age": 44, "height": 1.8, "colour": "red", "note": "a note", "day": "2026-01-31", "flag": True}
TEXTS = {"age": "44", "height": "1.8", "colour": "red", "note": "a note", "day": "2026-01-31", "flag": "true"}


def signature(**more: Any) -> Signature:
    facts: dict[str, Any] = {"use_case": "made", "title": "made", "task": "regression", "candidate": "one"}
    facts |= {"columns": COLUMNS, "id": "key", "target": "y", "split": {}, "versions": {}, "example": ROW}
    return Signature(**facts | more)


def refused(rows: list[Any], stored: Signature | None = None, **how: Any) -> dict[str, str]:
    with pytest.raises(BadRow) as refusal:
        (stored or signature()).check(rows, **how)
    return {fault["pointer"]: fault["detail"] for fault in refusal.value.errors}


def test_rows_that_fit_become_columns_in_the_order_of_the_signature_and_a_frame_of_its_types() -> None:
    shuffled = dict(reversed(ROW.items())) | {"key": "passed over"}
    found = signature().check([ROW, shuffled, ROW | {"height": None, "note": None, "day": None}])
    assert (len(found), found.warnings) == (3, [])
    assert found.names == tuple(column.name for column in COLUMNS)
    assert list(found.columns[0]) == [44, 44, 44] and list(found.columns[4])[1:] == [datetime(2026, 1, 31), None]
    frame = found.frame()
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {column.name: column.type for column in COLUMNS}
    assert frame.iloc[2].isna().tolist() == [False, True, False, True, True, False]
    pd.testing.assert_frame_equal(frame, signature().frame([ROW, ROW, ROW | dict.fromkeys(["height", "note", "day"])]))


def test_moments_far_from_today_reach_the_frame_unchanged() -> None:
    wide = signature(columns=(date("day"),))
    days = [datetime(1, 1, 1), datetime(1677, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]
    frame = wide.frame([{"day": day.isoformat()} for day in days])
    assert frame["day"].dt.to_pydatetime().tolist() == days


def test_texts_are_read_by_the_types_of_the_columns() -> None:
    assert signature().check([TEXTS], textual=True) == signature().check([ROW])
    empty = TEXTS | {"height": "", "note": "", "day": ""}
    assert [list(values) for values in signature().check([empty], textual=True).columns] == [
        [44], [None], ["red"], [None], [None], [True],
    ]  # fmt: skip


def test_a_text_is_no_number_unless_the_rows_are_textual() -> None:
    assert refused([TEXTS]) == {
        "/rows/0/age": "'44' (str) is not a whole number",
        "/rows/0/height": "'1.8' (str) is not a number",
        "/rows/0/flag": "'true' (str) is not true or false",
    }
    bad = {"age": "", "height": "1,8", "colour": "RED", "note": "N", "day": "soon", "flag": "yes"}
    assert refused([bad], textual=True) == {
        "/rows/0/age": "null where int64 is required",
        "/rows/0/height": "'1,8' is not a number",
        "/rows/0/colour": "'RED' is not one of 'red', 'blue'",
        "/rows/0/note": "'N' does not match ^[a-z ]*$",
        "/rows/0/day": "'soon' is not an ISO 8601 date such as 2026-01-31T08:00:00",
        "/rows/0/flag": "'yes' is not true or false",
    }


@pytest.mark.parametrize(
    ("pointer", "row", "field", "strange"),
    [
        (row_pointer, "/rows/1", "/rows/1/age", "/rows/1/a~1b~0c"),
        (single_row_pointer, "", "/age", "/a~1b~0c"),
        (column_pointer, "/columns", "/columns/age/1", "/columns/a~1b~0c/1"),
    ],
)
def test_faults_point_into_each_form_of_body(
    pointer: Callable[[int, str | None], str], row: str, field: str, strange: str
) -> None:
    known = "known: age, height, colour, note, day, flag, key"
    found = refused([ROW, ROW | {"age": 7, "a/b~c": 1, "y": 1}], pointer=pointer)
    assert found == {
        field: "7 is not between 18 and 100",
        strange: f"unknown field; {known}",
    }
    assert refused([ROW, 5], pointer=pointer) == {row: "expected an object, found 5"}
    assert refused([ROW, ROW | {"k" * 201: 1}], pointer=pointer).keys() == {row}


def test_every_fault_of_every_row_is_told_and_100_at_most() -> None:
    found = refused([ROW | {"age": 7, "height": 9.0}, {}, None, ROW | {"colour": "green"}])
    assert list(found)[:2] == ["/rows/0/age", "/rows/0/height"]
    assert {pointer: found[pointer] for pointer in ("/rows/1/age", "/rows/2", "/rows/3/colour")} == {
        "/rows/1/age": "required and missing",
        "/rows/2": "expected an object, found None",
        "/rows/3/colour": "'green' is not one of 'red', 'blue'",
    }
    assert len(found) == 7  # a field that may be null may also be left out
    assert len(refused([{}] * 5000)) == 100
    assert len(refused([ROW | {f"x{n}": n for n in range(5000)}])) == 100


def test_rows_are_not_read_on_after_100_faults() -> None:
    taken = []

    def rows() -> Any:
        for number in range(5000):
            taken.append(number)
            yield {}

    refused(rows())
    assert len(taken) == 34  # three faults a row: the columns that may not be null


WARNING = {"warn_unseen": ("colour",), "warn_out_of_range": ("age", "day")}


def test_what_the_signature_lets_pass_is_answered_with_a_warning_and_the_value_kept() -> None:
    odd = ROW | {"age": 7, "colour": "green", "day": "2027-01-01"}
    found = signature(**WARNING).check([ROW, odd])
    assert found.warnings == [
        {"pointer": "/rows/1/age", "detail": "7 is not between 18 and 100"},
        {"pointer": "/rows/1/colour", "detail": "'green' is not one of 'red', 'blue'"},
        {
            "pointer": "/rows/1/day",
            "detail": "2027-01-01T00:00:00 is not between 2026-01-01T00:00:00 and 2026-12-31T00:00:00",
        },
    ]
    assert found.frame().iloc[1][["age", "colour", "day"]].tolist() == [7, "green", pd.Timestamp(2027, 1, 1)]
    assert [fault["pointer"] for fault in signature(**WARNING).check([odd], single_row_pointer).warnings] == [
        "/age", "/colour", "/day",
    ]  # fmt: skip


def test_a_warning_lets_nothing_pass_but_its_own_bound_of_its_own_column() -> None:
    stored = signature(warn_unseen=("age", "colour", "note"), warn_out_of_range=("colour", "day", "note"))
    odd = ROW | {"age": 7, "height": 9.0, "colour": "green", "note": "N" * 21, "day": "2027-01-01"}
    assert refused([odd], stored) == {
        "/rows/0/age": "7 is not between 18 and 100",
        "/rows/0/height": "9.0 is not between 0.5 and 2.5",
        "/rows/0/note": "'NNNNNNNNNNNNNNNNNNNNN' has 21 characters, expected any to 20",
    }
    assert refused([ROW | {"age": None, "colour": None}], signature(**WARNING)) == {
        "/rows/0/age": "null where int64 is required",
        "/rows/0/colour": "null where str is required",
    }
    assert refused([ROW | {"age": "7", "colour": 5}], signature(**WARNING)).keys() == {"/rows/0/age", "/rows/0/colour"}


def test_warnings_are_100_at_most_and_none_is_told_beside_a_fault() -> None:
    odd = ROW | {"age": 7}
    assert len(signature(**WARNING).check([odd] * 5000).warnings) == 100
    assert refused([odd, ROW | {"flag": 1}], signature(**WARNING)).keys() == {"/rows/1/flag"}


def test_a_signature_survives_as_json_and_an_older_one_refuses_everything() -> None:
    names = {"flag": [{"value": True, "name": "yes"}], "age": [{"value": 1, "name": "one"}]}
    stored = signature(**WARNING, private=("age",), titles={"age": "Age in years"}, value_names=names)
    again = Signature.model_validate_json(stored.model_dump_json())
    assert again == stored
    assert again.names_of("flag") == {True: "yes"} and type(again.value_names["age"][0].value) is int
    older = {key: value for key, value in json.loads(stored.model_dump_json()).items() if not key.startswith("warn")}
    for key in ("private", "titles", "value_names"):
        del older[key]
    read = Signature.model_validate(older)
    assert (read.private, read.warn_unseen, read.warn_out_of_range) == ((), (), ())
    assert (read.title_of("age"), read.names_of("flag")) == ("age", {})
    assert refused([ROW | {"age": 7}], read).keys() == {"/rows/0/age"}


READ = {
    "rename": {"emp.age": "age", "ID": "key"},
    "nulls": ["NA"],
    "casts": {"height": "decimal_comma", "colour": ["strip", "lower"]},
    "dates": {"day": "%d.%m.%Y"},
}
RAW = {"ID": "a7", "emp.age": 44, "height": "1,8", "colour": " Red ", "note": "NA", "day": "31.01.2026", "flag": True}


def test_rows_are_read_by_the_rules_of_the_training_data() -> None:
    ours = signature(reading=READ, left_out=("extra",))
    rows = ours.check([RAW | {"y": 3, "extra": [1]}, ROW])
    assert [list(values) for values in rows.columns] == [
        [44, 44], [1.8, 1.8], ["red", "red"], [None, "a note"], [datetime(2026, 1, 31)] * 2, [True, True],
    ]  # fmt: skip
    assert rows.warnings == [{"pointer": "", "detail": "not used: 'y' (what is predicted), 'extra'"}]
    assert rows.ids == ["a7", None]
    texts = {name: str(value) for name, value in RAW.items()}
    assert ours.check([texts], textual=True).columns == ours.check([RAW]).columns
    assert ours.check([ROW], plain=True).columns == signature().check([ROW]).columns
    with pytest.raises(BadRow, match=r"/rows/0/emp\.age: 7 is not between"):
        ours.check([RAW | {"emp.age": 7}])
    with pytest.raises(BadRow, match=r"/rows/0/height: '1\.8' is no number with a decimal comma"):
        ours.check([RAW | {"height": "1.8"}])


def test_a_name_and_a_text_are_the_same_in_each_spelling_of_unicode() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    ours = signature(columns=(text(composed, allowed=(composed,)),))
    for name in (composed, apart):
        assert ours.check([{name: apart}]).columns == [[composed]]
    assert refused([{"cafe": "x"}], ours).keys() == {"/rows/0/cafe"}


def test_rows_of_many_shapes_are_each_read_by_their_own_names() -> None:
    ours = signature(reading=READ, left_out=tuple(f"x{number}" for number in range(200)))
    rows = ours.check([ROW | {f"x{number}": 0} for number in range(200)])
    assert len(rows) == 200 and len(rows.warnings) == 1
