"""Rows in other dresses than one object: columns, CSV, JSON lines; and answers as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from serving.body import request_rows
from serving.body.fast_json import Decoder
from serving.server.problems import register_error_handlers
from tests.support.all_kinds import GOOD, SIGNATURE
from tests.support.service import PREDICT, problem
from tests.support.small_models import OTHER, ROW, loaded_model, probabilities

NAMES = list(ROW)
TRAINED = loaded_model()


def table(*rows: dict[str, Any], names: list[str] = NAMES, **style: Any) -> str:
    sink = io.StringIO()
    lines = csv.writer(sink, **{"lineterminator": "\n"} | style)
    lines.writerow(names)
    lines.writerows([row[name] for name in names] for row in rows)
    return sink.getvalue()


def send(client: FlaskClient, body: str | bytes, kind: str = "text/csv", **headers: str) -> TestResponse:
    return client.post(PREDICT, data=body, content_type=kind, headers=headers)


def lines(*rows: dict[str, Any]) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def columns(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


# --- the same rows, the same answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", json.dumps({"rows": [ROW, OTHER]})),
        ("application/json", json.dumps({"columns": columns(ROW, OTHER)})),
        ("application/json", json.dumps({"columns": columns(ROW, OTHER)}, indent=1)),
        ("application/jsonl", lines(ROW, OTHER)),
        ("application/x-ndjson", lines(ROW, OTHER) + "\n\n"),
        ("application/jsonl; charset=utf-8", "\ufeff" + lines(ROW, OTHER).replace("\n", "\r\n")),
        ("text/csv", table(ROW, OTHER)),
        ("text/csv; charset=UTF-8; header=present", table(ROW, OTHER, lineterminator="\r\n")),
        ("text/csv", "\ufeff" + table(ROW, OTHER, quoting=csv.QUOTE_ALL)),
        ("text/csv", table(ROW, OTHER, names=NAMES[::-1])),
        ("text/csv", table(ROW | {"id": 1}, OTHER | {"id": ""}, names=["id", *NAMES])),
        ("text/csv", table(ROW, OTHER).replace("44", " 44 ").replace("40454.0", "+4.0454e4") + "\n\n"),
    ],
    ids=lambda value: value[:20],
)
def test_the_same_rows_in_any_dress_get_the_same_answer(kind: str, body: str, client: FlaskClient) -> None:
    answer = send(client, body, kind)
    assert answer.status_code == 200, answer.text
    assert answer.json["probabilities"] == probabilities(TRAINED, ROW, OTHER)
    assert answer.json["warnings"] == []


def test_an_answer_as_csv(client: FlaskClient) -> None:
    answer = send(client, table(ROW, OTHER), Accept="text/csv")
    assert (answer.content_type, answer.headers["X-Model-Version"]) == ("text/csv; charset=utf-8", "1")
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert [list(row) for row in found] == [["prediction", "label", "probability"]] * 2
    assert [float(row["probability"]) for row in found] == probabilities(TRAINED, ROW, OTHER)
    assert [row["label"] for row in found] == ["interested", "not interested"]


@pytest.mark.parametrize("accept", ["*/*", "application/json, text/csv;q=0.5", "text/html", "", "garbage"])
def test_json_is_what_who_does_not_ask_for_csv_gets(accept: str, client: FlaskClient) -> None:
    assert send(client, table(ROW), Accept=accept).content_type == "application/json"


def test_errors_are_problems_also_for_who_wants_csv(client: FlaskClient) -> None:
    problem(send(client, "", Accept="text/csv"), 422)


# --- what does not fit ------------------------------------------------------------------------------------------------

ONE = table(ROW)
HEADER, LINE = ONE.splitlines()
BAD: dict[str, tuple[str, str | bytes, int, list[str]]] = {
    "no csv": ("text/csv", "", 422, [""]),
    "a header alone": ("text/csv", HEADER, 422, [""]),
    "no header": ("text/csv", LINE + "\n" + LINE, 422, [""] * 20),
    "no header, no value twice": ("text/csv", "a,b\n1,2\n", 422, [""] * 12),
    "a column too few": ("text/csv", "Age\n44\n", 422, [""] * 9),
    "a column too many": ("text/csv", table(ROW | {"Colour": "red"}, names=[*NAMES, "Colour"]), 422, [""]),
    "a name twice": ("text/csv", table(ROW, names=[*NAMES, "Age"]), 400, []),
    "a cell too few": ("text/csv", f"{ONE}{LINE}\n{LINE.partition(',')[2]}\n", 422, ["/rows/2"]),
    "a cell too many": ("text/csv", f"{HEADER}\n{LINE},1\n", 422, ["/rows/0"]),
    "an unusual delimiter": ("text/csv", ONE.replace(",", "~"), 422, [""] * 11),
    "an open quote": ("text/csv", f'{HEADER}\n"{LINE}', 400, []),
    "a quote in a cell": ("text/csv", f'{HEADER}\n"Ma"le{LINE[4:]}', 400, []),
    "a cell of 60,000": ("text/csv", f"{HEADER}\n{'x' * 60_000}", 422, ["/rows/0"]),
    "latin-1": ("text/csv", (HEADER + "\nFräulein").encode("latin-1"), 400, []),
    "51 lines": ("text/csv", ONE + f"{LINE}\n" * 50, 413, []),
    "faults in two rows": (
        "text/csv",
        table(ROW, ROW | {"Age": "old"}, ROW | {"Gender": "", "Vintage": 4.5}),
        422,
        ["/rows/1/Age", "/rows/2/Gender", "/rows/2/Vintage"],
    ),
    "no numbers": ("text/csv", table(ROW | {"Age": "1_0", "Vintage": "NaN"}), 422, ["/rows/0/Age", "/rows/0/Vintage"]),
    "infinity": ("text/csv", table(ROW | {"Annual_Premium": "1e999"}), 422, ["/rows/0/Annual_Premium"]),
    "hexadecimal": ("text/csv", table(ROW | {"Age": "0x2c"}), 422, ["/rows/0/Age"]),
    "another alphabet's digits": ("text/csv", table(ROW | {"Age": "٤٤"}), 422, ["/rows/0/Age"]),
    "true for a number": ("text/csv", table(ROW | {"Driving_License": "true"}), 422, ["/rows/0/Driving_License"]),
    "5,000 digits": ("text/csv", table(ROW | {"Age": "9" * 5000}), 422, ["/rows/0/Age"]),
    "a formula": ("text/csv", table(ROW | {"Gender": "=1+1"}), 422, ["/rows/0/Gender"]),
    "no lines": ("application/jsonl", "\n \n", 422, [""]),
    "a broken line": ("application/jsonl", lines(ROW) + '\n{"Age": 4', 400, []),
    "a line that is a list": ("application/jsonl", lines(ROW) + "\n[]", 422, ["/rows/1"]),
    "a line with a key twice": ("application/jsonl", '{"Age": 1, "Age": 2}', 400, []),
    "51 objects": ("application/jsonl", lines(*[ROW] * 51), 413, []),
    "pretty JSON as lines": ("application/jsonl", json.dumps(ROW, indent=1), 400, []),
    "no columns": ("application/json", '{"columns": {}}', 422, [f"/columns/{name}" for name in ROW]),
    "columns of nothing": ("application/json", json.dumps({"columns": {name: [] for name in ROW}}), 422, ["/columns"]),
    "columns and more": ("application/json", json.dumps({"columns": columns(ROW), "x": 1}), 422, ["/columns"]),
    "a column that is no list": (
        "application/json",
        json.dumps({"columns": columns(ROW) | {"Age": 44}}),
        422,
        ["/columns/Age"],
    ),
    "a column too short": (
        "application/json",
        json.dumps({"columns": columns(ROW, ROW) | {"Age": [44]}}),
        422,
        ["/columns/Age"],
    ),
    "a column without a name of ours": (
        "application/json",
        json.dumps({"columns": columns(ROW) | {"a/b": [1]}}),
        422,
        ["/columns/a~1b"],
    ),
    "values in columns": (
        "application/json",
        json.dumps({"columns": columns(ROW, ROW) | {"Age": [44, 17], "Gender": ["X", "Male"]}}),
        422,
        ["/columns/Gender/0", "/columns/Age/1"],
    ),
    "51 in columns": ("application/json", json.dumps({"columns": columns(*[ROW] * 51)}), 413, []),
    "a list of columns": ("application/json", '{"columns": []}', 422, [*(f"/{name}" for name in ROW), "/columns"]),
    "a form": ("application/x-www-form-urlencoded", "Age=44", 415, []),
    "Arrow": ("application/vnd.apache.arrow.file", b"\xff\xff\xff\xff", 415, []),
    "another charset": ("text/csv; charset=utf-16", ONE.encode("utf-16"), 415, []),
    "no type": ("", ONE, 415, []),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_rows_that_do_not_match_are_reported(name: str, client: FlaskClient) -> None:
    kind, body, status, pointers = BAD[name]
    problem_body = problem(send(client, body, kind), status)
    assert [each["pointer"] for each in problem_body.get("errors", [])] == pointers, problem_body
    assert len(json.dumps(problem_body)) < 20_000


def test_a_compressed_body_is_refused(client: FlaskClient) -> None:
    problem(send(client, ONE, **{"Content-Encoding": "gzip"}), 415)


def test_a_csv_reads_every_type(loaded: Any) -> None:
    """Nothing is null, booleans and dates too; a text is not stripped."""
    app = Flask("types")
    register_error_handlers(app, lambda kind: None)
    names = list(GOOD)
    empty = {"amount": "", "on": "", "name": None, "region": ""}
    rows = [GOOD | {"flag": "FALSE", "free": ' a, "b"\nc ', "on": "2024-02-29"}, GOOD | {"flag": "1"} | empty]
    with app.test_request_context(data=table(*rows, names=names), content_type="text/csv"):
        from flask import request

        found = request_rows.read(request, SIGNATURE, Decoder(SIGNATURE), 10**6, 10)
    columns = dict(zip(found.names, found.columns, strict=True))
    assert columns["flag"] == [False, True]
    assert columns["free"][0] == ' a, "b"\nc '
    assert [columns[name][1] for name in empty] == [None] * 4
    assert str(columns["on"][0]) == "2024-02-29 00:00:00"
    assert columns["rough"] == [3.0, 3.0]


def test_a_hundred_errors_are_reported_of_a_thousand(client: FlaskClient) -> None:
    problem_body = problem(send(client, table(*[ROW | dict.fromkeys(ROW, "?")] * 50)), 422)
    assert len(problem_body["errors"]) == 100
    assert problem_body["detail"].startswith("100 errors")
