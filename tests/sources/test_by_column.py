"""Columns as a whole, one odd column value by value, odd rows as rows: the same rows as one by one, and faster."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_cases import date, integer, real, small_case, text
from updraft.model.columns import Column
from updraft.new.new import new
from updraft.sources.files import File
from updraft.sources.rows import RowConverter
from updraft.sources.source import Batch
from updraft.usecase import load

COLUMNS = [integer("id"), real("x"), text("t"), Column(name="f", type="bool", nullable=False), date("d")]
START = datetime(2026, 1, 1)


def lines(count: int, written: str = "Z", **odd: str) -> str:
    rows = [f"{n},{n / 8},w{n % 7},true,{(START + timedelta(minutes=n)).isoformat()}{written}" for n in range(count)]
    return "\n".join(["id,x,t,f,d", *(odd.get(f"r{n}", row) for n, row in enumerate(rows)), ""])


def only(path: Path, content: str, **reading: Any) -> Batch:
    path.write_text(content)
    (batch,) = File(path, small_case(COLUMNS, read=reading)).batches()
    return batch


@pytest.mark.parametrize(("written", "hours"), [("Z", 0), ("+02:00", -2), ("-0530", 5.5), ("", 0)])
def test_a_time_with_an_offset_is_read_with_its_column(tmp_path: Path, written: str, hours: float) -> None:
    batch = only(tmp_path / "rows.csv", lines(3000, written))
    assert batch.slow == () and batch.table["d"][60].as_py() == START + timedelta(hours=1 + hours)


def test_times_with_and_without_an_offset_are_read_with_their_column(tmp_path: Path) -> None:
    odd = {"r1": "1,1,a,true,2026-01-01T02:00:00+02:00", "r2": "2,1,a,true,", "r3": "3,1,a,true,2026-01-01"}
    odd |= {"r4": "4,1,a,true, 2026-01-01 05:00Z "}
    batch = only(tmp_path / "rows.csv", lines(5, "", **odd))
    assert batch.slow == () and batch.table["d"].to_pylist() == [START, START, None, START, START.replace(hour=5)]


def test_json_lines_have_times_read_with_their_column(tmp_path: Path) -> None:
    row = {"id": 1, "x": 1, "t": "a", "f": True, "d": "2026-01-01T02:00:00+02:00"}
    batch = only(tmp_path / "rows.jsonl", "\n".join([json.dumps(row), json.dumps(row | {"d": "2026-01-01"})]))
    assert batch.slow == () and batch.table["d"].to_pylist() == [START, START]


def test_true_among_numbers_is_no_number(tmp_path: Path) -> None:
    rows = [{"id": 1, "x": x, "t": "a", "f": True, "d": None} for x in (1.5, True, 2)]
    batch = only(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    assert batch.table["x"].to_pylist() == [1.5, 2.0] and "True (bool) is not a number" in batch.rejects[0].reason


@pytest.mark.parametrize(
    ("odd", "column"),
    [
        ("7,1,a,true,yesterday", "d"),
        ("7,1e300,a,true,", "x"),
        ("7.0,1,a,true,", "id"),
        ("7,1,a,maybe,", "f"),
    ],
)
def test_one_odd_value_slows_its_own_column_only(tmp_path: Path, odd: str, column: str) -> None:
    assert only(tmp_path / "rows.csv", lines(3000, r1500=odd)).slow == (column,)


def test_a_text_of_undecodable_bytes_slows_no_column(tmp_path: Path) -> None:
    batch = only(tmp_path / "rows.csv", lines(3000, r5="5,1,a\ufffd,true,"))
    assert batch.slow == () and [reject.place for reject in batch.rejects] == ["row 7"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_each_row_comes_out_as_when_read_alone(tmp_path: Path, ending: str) -> None:
    """Rows of random good and odd values, half of the fields left out in JSON: the same batch as row by row."""
    pick = random.Random(1).choice
    values: dict[str, list[Any]] = {
        "id": [1, 2, 3, 2**60, 4.0, 2.5, "x", None, True],
        "x": [1, 2.5, 2**53 + 1, 1e300, "nan", float("nan"), None, "y"],
        "t": ["a", "b", "\ufffd", "e\u0301", "nan", None, 5],
        "f": [True, False, True, "true", None, 1],
        "d": ["2026-01-01T00:00:00Z", "2026-01-01", "2026-13-01", None, 5],
    }
    rows = [{name: pick(some[: pick([1, 3, 9])]) for name, some in values.items()} for _ in range(4000)]
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        rows = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
        text = "\n".join(["id,x,t,f,d", *(",".join(row.values()) for row in rows)])
        alone = [{name: value or None for name, value in row.items()} for row in rows]
    else:
        rows = [{name: value for name, value in row.items() if pick([0] + [1] * 50)} for row in rows]
        text = "\n".join(map(json.dumps, rows))
        alone = [dict.fromkeys(("x", "t", "d")) | row for row in rows]
    batch = only(path, text)
    first = 2 if ending == "csv" else 1
    expected = RowConverter(COLUMNS, small_case(COLUMNS).read, ending == "csv").convert_rows(
        (f"row {number}", row) for number, row in enumerate(alone, start=first)
    )
    assert batch.table.equals(expected.table) and 100 < batch.table.num_rows < 3900
    assert [(r.place, r.reason) for r in batch.rejects] == [(r.place, r.reason) for r in expected.rejects]
    assert batch.nans == expected.nans


@pytest.mark.usefixtures("takes_long")
def test_many_rows_with_such_a_time_become_a_use_case_in_seconds(tmp_path: Path) -> None:
    numbers = [f"{n * 7919 % 1000 / 8},{n * 104729 % 977},{n * 31 % 13}" for n in range(977)]
    rows = [
        f"{numbers[n % 977]},{numbers[n * 5 % 977]},{(START + timedelta(minutes=n)).isoformat()}Z,{n * n % 7 % 2}"
        for n in range(100_000)
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,c,d,e,f,when,y", *rows]))
    started = time.monotonic()
    new("timed", tmp_path / "rows.csv", "y", root=tmp_path)
    assert time.monotonic() - started < 60
    case = load("timed", tmp_path)
    assert case.column("when").type == "datetime64[us]"
    assert [batch.slow for batch in File(tmp_path / "rows.csv", case).batches() if batch.slow] == []
