from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.small_cases import date, integer, real, small_case, text
from updraft.model.columns import Column
from updraft.sources.decoded import BLOCK
from updraft.sources.file_formats import ROWS
from updraft.sources.files import File
from updraft.sources.source import BadSource, Batch
from updraft.usecase import UseCase

COLUMNS = [integer("id"), real("x"), text("t"), Column(name="f", type="bool"), date("d")]
CASE = small_case(COLUMNS)
DAY = datetime(2026, 1, 31)
GOOD = {"id": 1, "x": 1.5, "t": "a", "f": True, "d": DAY}


def only(path: Path, case: UseCase = CASE) -> Batch:
    (batch,) = File(path, case).batches()
    return batch


def reasons(batch: Batch) -> dict[str, str]:
    return {reject.place: reject.reason for reject in batch.rejects}


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    data = ("\n".join(lines) + "\n").encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read_as(**reading: Any) -> UseCase:
    return small_case([integer("id"), text("t")], read=reading)


@pytest.mark.parametrize(
    ("name", "delimiter"),
    [("rows.csv", ","), ("ROWS.CSV.gz", ","), ("rows.tsv", "\t"), ("rows.tsv.gz", "\t"), ("rows.txt", ",")],
)
def test_text_is_read_in_the_suites_types(tmp_path: Path, name: str, delimiter: str) -> None:
    path = tmp_path / name
    lines = [["\ufefft", "id", "x", "f", "d", "more"], ['"a\n1"', " 1", "1", "true", "2026-01-31", "9"]]
    lines.append(["", "9007199254740993", "", "false", "2026-01-31 08:00:00.25", "9"])
    batch = only(write(path, *(delimiter.join(line) for line in lines)))
    assert batch.table.to_pylist() == [
        {"id": 1, "x": 1.0, "t": "a\n1", "f": True, "d": DAY},
        {"id": 2**53 + 1, "x": None, "t": None, "f": False, "d": datetime(2026, 1, 31, 8, 0, 0, 250000)},
    ]


def test_rows_that_do_not_fit_are_set_aside_with_their_number(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.csv",
        "id,x,t,f,d",
        "1,1.5,a,true,",
        "2.5,1,a,true,",
        "3,1",
        "4,inf,a,true,",
        "5.0,1,a,yes,",
        "6.0,2,b,false,2026-01-31T10:00:00+02:00",
        "7,2,b,false,31.01.2026",
    )
    batch = only(path)
    assert batch.table["id"].to_pylist() == [1, 6]
    assert batch.table["d"].to_pylist() == [None, datetime(2026, 1, 31, 8)]
    assert {place: reason.partition(" (")[0] for place, reason in reasons(batch).items()} == {
        "row 3": "id: 2.5",
        "row 4": "2 fields where the header has 5",
        "row 5": "x: inf is not a finite number",
        "row 6": "f: 'yes' is not true or false",
        "row 8": "d: '31.01.2026' is not an ISO 8601 date such as 2026-01-31T08:00:00",
    }


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig", "shift_jis"])
def test_a_stated_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    word = "日本" if encoding == "shift_jis" else "£é"
    path = write(tmp_path / "rows.csv", "id,t", f"1,{word}", "2,plain", encoding=encoding)
    assert only(path, read_as(encoding=encoding)).table["t"].to_pylist() == [word, "plain"]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_bytes_of_another_encoding_set_their_rows_aside_and_no_other(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    lines = [b"id,t"] if name == "rows.csv" else []
    for number, word in enumerate([b"plain", b"\xa31.50", "£2".encode(), "\ufffd3".encode()], start=1):
        lines.append(b"%d,%s" % (number, word) if name == "rows.csv" else b'{"id": %d, "t": "%s"}' % (number, word))
    path.write_bytes(b"\n".join(lines))
    batch = only(path, read_as())
    assert batch.table["t"].to_pylist() == ["plain", "£2"]
    assert len(batch.rejects) == 2
    assert all("holds U+FFFD, which stands for bytes" in reject.reason for reject in batch.rejects)
    first = {"rows.csv": "row 3", "rows.jsonl": "row 2"}[name]
    assert batch.rejects[0].place == first and batch.rejects[0].row["id"] == 2


def test_a_row_that_is_broken_and_undecodable_is_set_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"id,t\n1,a\n2,\xff,,\n3,c\n")
    batch = only(path, read_as())
    assert batch.table["id"].to_pylist() == [1, 3]
    assert reasons(batch) == {"row 3": "4 fields where the header has 2"}


def test_undecodable_bytes_outside_the_suites_columns_are_of_no_account(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"id,t,n\xffote\n1,a,\xff\n")
    assert only(path, read_as()).table["t"].to_pylist() == ["a"]


def test_many_parts_keep_every_row_and_its_number_and_the_limit_holds(tmp_path: Path) -> None:
    count = BLOCK // 20
    lines = [f"{number},{'x' * 40}" for number in range(count)]
    lines[count - 2] = "bad,x"
    path = write(tmp_path / "rows.csv", "id,t", *lines)
    batches = list(File(path, read_as()).batches())
    assert len(batches) > 1
    ids = pa.concat_tables([batch.table for batch in batches])["id"].to_pylist()
    assert ids == [number for number in range(count) if number != count - 2]
    assert [reject.place for batch in batches for reject in batch.rejects] == [f"row {count}"]
    limited = File(path, read_as(), limit=count - 10)
    assert sum(batch.table.num_rows for batch in limited.batches()) == limited.total == count - 10


def test_names_in_a_header_matter_for_the_suites_columns_only(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "v1, id ,,,", "1,2,,,")
    case = small_case([integer("id"), integer("label")], read={"rename": {"v1": "label"}})
    assert only(path, case).table.to_pylist() == [{"id": 2, "label": 1}]


def test_a_renamed_column_takes_the_place_of_one_that_had_the_name(tmp_path: Path) -> None:
    case = small_case([integer("mileage")], read={"rename": {"mileage2": "mileage"}})
    assert only(write(tmp_path / "both.csv", "mileage,mileage2", "1,2"), case).table["mileage"].to_pylist() == [2]
    assert only(write(tmp_path / "ours.csv", "mileage", "1"), case).table["mileage"].to_pylist() == [1]


def test_values_are_cast_and_a_cast_that_fails_sets_the_row_aside(tmp_path: Path) -> None:
    case = small_case(
        [real("torque"), text("fuel"), date("sold"), Column(name="abs", type="bool")],
        read={
            "casts": {"torque": "number_from_text", "fuel": ["strip", "lower"], "abs": "boolean_from_text"},
            "dates": {"sold": "%d.%m.%Y"},
        },
    )
    good = "190 Nm, Petrol ,31.01.2026,Yes"
    path = write(tmp_path / "rows.csv", "torque,fuel,sold,abs", good, ", ,,", good)
    row = {"torque": 190.0, "fuel": "petrol", "sold": DAY, "abs": True}
    assert only(path, case).table.to_pylist() == [row, dict.fromkeys(row), row]
    path = write(path, "torque,fuel,sold,abs", good, "190Nm@ 2000rpm,b,,", "1,b,2026-01-31,", "1,b,,maybe")
    batch = only(path, case)
    assert batch.table.to_pylist() == [row]
    assert reasons(batch) == {
        "row 3": "torque: '190Nm@ 2000rpm' holds 2 numbers, expected one",
        "row 4": "sold: '2026-01-31' is not a date like %d.%m.%Y",
        "row 5": "abs: 'maybe' is neither yes nor no, expected one of yes, true, y, t, on, 1, no, false, n, f, off, 0",
    }


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_texts_that_mean_null_are_null(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    rows = pd.DataFrame({"x": ["n/a", "?"], "t": ["?", "a?"]})
    if name == "rows.csv":
        rows.to_csv(path, index=False)
    elif name == "rows.jsonl":
        rows.to_json(path, orient="records", lines=True)
    else:
        rows.to_parquet(path)
    case = small_case([real("x"), text("t")], read={"nulls": ["n/a", "?"]})
    assert only(path, case).table.to_pylist() == [{"x": None, "t": None}, {"x": None, "t": "a?"}]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.ndjson.gz"])
def test_json_lines_are_read_as_strictly_as_documents(tmp_path: Path, name: str) -> None:
    good = json.dumps(GOOD | {"d": "2026-01-31"})
    lines = [good, "", good.replace("1.5", "NaN"), good.replace('"id": 1', '"id": "1"'), "[1]", "{", '{"id": 4}']
    lines.append(good.replace('"a"', '"\\ud800"'))
    batch = only(write(tmp_path / name, *lines))
    nothing = dict.fromkeys(GOOD)
    assert batch.table.to_pylist() == [
        GOOD,
        GOOD | {"x": None},
        nothing | {"id": 4},
    ]  # may be null: may be left out
    assert batch.nans == 1
    assert {place: reason.partition(":")[0] for place, reason in reasons(batch).items()} == {
        "row 4": "id",
        "row 5": "not a JSON object",
        "row 6": "not JSON",
        "row 8": "t",
    }


def test_a_field_that_no_line_has_is_absent_rather_than_missing(tmp_path: Path) -> None:
    case = small_case([integer("id"), text("t", nullable=False), real("x")])
    late = [json.dumps({"id": 1})] * (ROWS + 1) + [json.dumps({"id": 2, "t": "a"})]
    file = File(write(tmp_path / "rows.jsonl", *late), case)
    assert file.absent == ["x"]
    batches = list(file.batches())
    assert sum(batch.table.num_rows for batch in batches) == 1
    assert sum(len(batch.rejects) for batch in batches) == ROWS + 1


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_parquet_is_read_in_the_suites_types(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "rows.parquet",
        id=pa.array([1, 2], pa.int8()),
        x=pa.array([Decimal("1.50"), None]),
        t=pa.array(["a", None]).dictionary_encode(),
        f=[True, None],
        d=pa.array([DAY.replace(tzinfo=UTC), None], pa.timestamp("ns", "Europe/Berlin")),
        other=[[1], [2]],
    )
    file = File(path, CASE)
    (batch,) = file.batches()
    assert file.total == 2
    assert batch.table.to_pylist() == [GOOD, {"id": 2, "x": None, "t": None, "f": None, "d": None}]


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("id", [1.0, 2.5], "id: 2.5 (float) is not a whole number"),
        ("id", [True, False], "id: True (bool) is not a whole number"),
        ("id", ["1", "2"], "id: '1' (str) is not a whole number"),
        ("t", [1, 2], "t: 1 (int) is not text"),
        ("t", ["a", "\ufffd"], "t: '\ufffd' holds U+FFFD"),
        ("x", [1.0, float("inf")], "x: inf is not a finite number"),
        ("x", [2**53 + 1, 1], "x: 9007199254740993 is too large"),
        ("d", [5, 6], "d: 5 (int) is not a date"),
    ],
)
def test_parquets_own_types_are_not_bent(tmp_path: Path, column: str, values: list[Any], reason: str) -> None:
    path = parquet(tmp_path / "rows.parquet", **{name: [value] * 2 for name, value in GOOD.items()} | {column: values})
    assert reason in only(path).rejects[0].reason


def test_one_row_of_a_parquet_file_that_does_not_fit_leaves_the_others(tmp_path: Path) -> None:
    rows = pd.DataFrame([GOOD] * 3).assign(x=[1.5, float("inf"), 2.5])
    rows["d"] = rows["d"].astype("datetime64[ns]") + pd.Timedelta(7, "ns")
    rows.to_parquet(tmp_path / "rows.parquet")
    batch = only(tmp_path / "rows.parquet")
    assert batch.table["x"].to_pylist() == [1.5, 2.5]
    assert batch.table["d"].to_pylist() == [DAY, DAY]
    assert reasons(batch) == {"row 2": "x: inf is not a finite number"}


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.csv", None, "no such file"),
        ("rows.xlsx", b"id", r"ends in \.csv, \.tsv, \.txt, \.jsonl"),
        ("empty.csv", b"", "Empty CSV file"),
        ("other.csv", b"a;b\n1;2\n", "no column of the suite in it; found 'a;b', expected id, x, t, f"),
        ("other.jsonl", b"", "no column of the suite in it; found none"),
        ("twice.csv", b"id,x,x\n1,2,3\n", "header names 'x' more than once"),
        ("torn.csv.gz", gzip.compress(b"id,x\n" + b"1,2\n" * 9999, mtime=0)[:-20], "gz"),
        ("no.csv.gz", b"id,x\n1,2\n", "gz"),
        ("wide.csv", "id,x\n1,2\n".encode("utf-16"), r"is UTF-16, .*set `read: \{encoding: utf-16\}`"),
        ("wide.jsonl", '{"id": 1}\n'.encode("utf-16"), r"is UTF-16, .*set `read: \{encoding: utf-16\}`"),
        ("no.parquet", b"id,x\n1,2\n", "[Pp]arquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSource, match=complaint) as refusal:
        list(File(tmp_path / name, CASE).batches())
    assert name in str(refusal.value) and len(str(refusal.value).splitlines()) == 1
