"""CSV bodies: read as the training data's files were, and by the header where they are written in another usual way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from serving.body import request_rows
from serving.body.fast_json import Decoder
from serving.openapi.samples import csv_of
from tests.support.small_cases import date, real, text
from updraft.model.columns import Column
from updraft.model.reading import Reading
from updraft.model.signature import BadRow, Rows, Signature

COLUMNS = (real("age"), real("price"), text("town", nullable=False), date("day"), Column(name="ok", type="bool"))
EXAMPLE = {"age": 44, "price": 1234.5, "town": 'Köln, "Rhein"', "day": "2026-01-31T00:00:00", "ok": True}
VALUES = [44, 1234.5, 'Köln, "Rhein"', datetime(2026, 1, 31), True]
APP = Flask(__name__)


def signature(**reading: Any) -> Signature:
    return Signature(
        use_case="made", title="made", task="regression", candidate="one", columns=COLUMNS, id="key", target="y",
        split={}, versions={}, example=EXAMPLE, reading=Reading.model_validate(reading), left_out=("extra",),
    )  # fmt: skip


def read(body: str | bytes, made: Signature, content_type: str = "text/csv", max_rows: int = 100) -> Rows:
    data = body.encode() if isinstance(body, str) else body
    with APP.test_request_context("/", method="POST", data=data, content_type=content_type):
        return request_rows.read(request, made, Decoder(made), 1 << 20, max_rows)


READINGS: list[dict[str, Any]] = [
    {},
    {"delimiter": ";", "casts": {"price": "decimal_comma", "town": "strip"}},
    {"delimiter": "\t", "dates": {"day": "%d.%m.%Y"}, "encoding": "latin-1"},
    {"delimiter": "|", "quote": "'", "nulls": ["NA"]},
    {"escape": "\\"},
    {"quote": "none", "escape": "\\", "delimiter": ";"},
    {"casts": {"price": "number_from_text", "ok": "boolean_from_text"}},
    {"encoding": "utf-16", "header": "none", "rename": {"column_1": "age", "column_2": "price"}},
]


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_the_example_is_read_in_the_training_datas_form_and_in_the_usual_one(reading: dict[str, Any]) -> None:
    made = signature(**reading)
    bodies = [csv_of([EXAMPLE], made.reading)]
    if "casts" not in reading and "quote" not in reading and "escape" not in reading:
        bodies.append(csv_of([EXAMPLE], Reading()))
    for body in bodies:
        rows = read(body, made)
        assert [values[0] for values in rows.columns] == VALUES and rows.warnings == [], body


RAW = "ID;Age;price; town ;day;ok;y;extra;;\r\n7;44;1.234,5; Köln ;31.01.2026;yes;3;x;;\r\n8;NA;;NA NA;NA;NA;NA;;;\r\n"
RULES: dict[str, Any] = {
    "delimiter": ";", "encoding": "cp1252", "nulls": ["NA"], "dates": {"day": "%d.%m.%Y"},
    "rename": {"ID": "key", "Age": "age"},
    "casts": {"price": "decimal_comma", "town": "strip", "ok": "boolean_from_text"},
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_rows_of_the_training_file_are_read_as_they_are(encoding: str) -> None:
    rows = read(RAW.encode(encoding), signature(**RULES))
    day = datetime(2026, 1, 31)
    assert [list(values) for values in rows.columns] == [
        [44, None], [1234.5, None], ["Köln", "NA NA"], [day, None], [True, None],
    ]  # fmt: skip
    assert rows.ids == ["7", "8"]
    assert [warning["detail"] for warning in rows.warnings] == ["not used: 'y' (what is predicted), 'extra', ''"]


def test_a_line_that_names_the_delimiter_is_understood() -> None:
    body = "sep=:\r\nage:price:town:day:ok\r\n44:1.5:x::true\r\n"
    assert [values[0] for values in read(body, signature()).columns] == [44, 1.5, "x", None, True]


def test_a_body_without_a_header_is_read_by_position_where_the_training_data_had_none() -> None:
    names = {f"column_{number}": name for number, name in enumerate(("age", "price", "town", "day", "ok"), start=1)}
    made = signature(header="none", rename=names)
    for body in ("44,1.5,x,,true\n", "age,price,town,day,ok\n44,1.5,x,,true\n"):
        assert [values[0] for values in read(body, made).columns] == [44, 1.5, "x", None, True]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("age,age,price,town,day,ok\n1,1,1,x,,true\n", BadRequest, "'age' twice"),
        ("age,price,town,day,ok\n1,1,\"x,,true\n2,2,y,,true\n", BadRequest, "unexpected end of data at line"),
        ("age,price,town,day,ok,colour\n1,1,x,,true,red\n", BadRow, "unknown field"),
        ("age,price,town,day\n1,1,x,\n", BadRow, "header: ok: required and missing"),
        ("age,price,town,day,ok\n1,1,x,true\n", BadRow, "expected 5 cells, as in the header, found 4"),
        ("age,price,town,day,ok\n" + "1,1,x,,true\n" * 101, RequestEntityTooLarge, "More than 100 rows"),
        ("age,price,town,day,ok\n" + "," * 5000, RequestEntityTooLarge, "more than 1800 values"),
        ("age;price;town;day;ok\n" + ";" * 5000, RequestEntityTooLarge, "more than 1800 values"),
        (b"age,price,town,day,ok\n1,1,\xff,,true\n", BadRequest, "not UTF-8 text: at byte"),
        ("", BadRow, "expected a header line"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(body: str | bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        read(body, signature())
    assert message in str(caught.value)


def test_a_charset_is_the_training_datas_or_utf_8() -> None:
    body = csv_of([EXAMPLE], Reading()).encode("latin-1")
    rows = read(body, signature(encoding="latin-1"), "text/csv; charset=ISO-8859-1")
    assert rows.columns[2] == [EXAMPLE["town"]]
    with pytest.raises(UnsupportedMediaType, match="charset"):
        read(body, signature(), "text/csv; charset=ISO-8859-1")


def test_a_delimiter_within_quotes_is_no_value() -> None:
    body = f'age,price,town,day,ok\n1,1,"{"," * 100_000}",,true\n'
    assert len(read(body, signature()).columns[2][0]) == 100_000


def test_in_one_column_an_empty_line_is_a_row() -> None:
    """Or who joins by position mixes up rows. Elsewhere it is nothing, and so it is at the end."""
    one = signature().model_copy(update={"columns": (text("message"),)})
    assert read("message\nhello\n\nprize\n\n\n", one).columns == [["hello", None, "prize"]]
    two = signature().model_copy(update={"columns": (text("a"), text("b"))})
    assert read("a,b\n\n1,2\n\n", two).columns == [["1"], ["2"]]
