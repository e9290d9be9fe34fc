from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient
from pymongo.collection import Collection

from tests.conftest import MONGO_LOGIN
from updraft.sources import BATCH, BadSource, Batch, Documents, File, Source, database
from updraft.suite import Column

COLUMNS = [
    Column(name="id", type="int64", nullable=False),
    Column(name="x", type="float64"),
    Column(name="t", type="str"),
    Column(name="f", type="bool"),
]
GOOD = {"id": 1, "x": 1.5, "t": "a", "f": True}


@pytest.fixture
def collection(mongodb_url: str) -> Iterator[Collection[Any]]:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        yield client.get_default_database()["rows"]
        client.drop_database(client.get_default_database())


def only(source: Source) -> Batch:
    (batch,) = source.batches()
    return batch


@pytest.mark.parametrize(
    ("field", "stored", "read"),
    [
        ("id", 41.0, 41),
        ("id", Int64(2**60 + 1), 2**60 + 1),
        ("id", 2**63 - 1, 2**63 - 1),
        ("x", 2, 2.0),
        ("x", None, None),
        ("t", None, None),
        ("t", "\nid\x00", "\nid\x00"),
    ],
)
def test_a_document_that_fits_is_read_exactly(collection: Collection[Any], field: str, stored: Any, read: Any) -> None:
    collection.insert_many([dict(GOOD), GOOD | {field: stored}])
    batch = only(Documents(collection, COLUMNS))
    assert batch.table[field].to_pylist() == [GOOD[field], read]
    assert not batch.rejects


@pytest.mark.parametrize(
    ("field", "stored", "reason"),
    [
        ("id", 41.5, "id: 41.5 (float) is not a whole number"),
        ("id", True, "id: True (bool) is not a whole number"),
        ("id", "forty", "id: 'forty' (str) is not a whole number"),
        ("x", float("inf"), "x: inf is not a finite number"),
        ("x", True, "x: True (bool) is not a number"),
        ("x", Int64(2**60 + 1), "x: 1152921504606846977 is too large for a 64-bit float"),
        ("x", Decimal128("1.5"), "x: Decimal128('1.5') (Decimal128) is not a number"),
        ("t", 5, "t: 5 (int) is not text"),
        ("t", {"deep": [1]}, "t: {'deep': [1]} (dict) is not text"),
        ("f", 1, "f: 1 (int) is not true or false"),
    ],
)
def test_a_document_that_does_not_fit_is_set_aside_with_its_id_and_reason(
    collection: Collection[Any], field: str, stored: Any, reason: str
) -> None:
    collection.insert_many([dict(GOOD), bad := GOOD | {field: stored}, dict(GOOD)])
    batch = only(Documents(collection, COLUMNS))
    assert batch.table.num_rows == 2
    (reject,) = batch.rejects
    assert reject.place == f"_id {bad['_id']}"
    assert reason in reject.reason
    assert reject.row[field] == stored


def test_a_missing_field_is_set_aside_and_a_null_is_not(collection: Collection[Any]) -> None:
    collection.insert_many([dict(GOOD), {"id": 2, "t": "a", "f": True}, GOOD | {"x": None}])
    batch = only(Documents(collection, COLUMNS))
    assert [reject.reason for reject in batch.rejects] == ["x: missing"]
    assert batch.table["x"].to_pylist() == [1.5, None]


def test_nan_is_counted_where_it_is_read_as_null(collection: Collection[Any]) -> None:
    collection.insert_many([dict(GOOD), GOOD | {"x": float("nan")}])
    batch = only(Documents(collection, COLUMNS))
    assert (batch.nans, batch.table["x"].to_pylist()) == (1, [1.5, None])


def test_a_field_that_no_document_has_is_absent_rather_than_bad(collection: Collection[Any]) -> None:
    collection.insert_one({"id": 1, "t": "a", "f": True})
    source = Documents(collection, COLUMNS)
    assert source.absent == ["x"]
    assert only(source).table.column_names == ["id", "t", "f"]


def test_many_batches_keep_every_row_and_the_limit_holds(collection: Collection[Any]) -> None:
    count = 2 * BATCH + 3
    collection.insert_many([GOOD | {"id": number} for number in range(count)])
    ids = pa.concat_tables([batch.table for batch in Documents(collection, COLUMNS).batches()])["id"].to_pylist()
    assert ids == list(range(count))
    limited = Documents(collection, COLUMNS, limit=BATCH + 7)
    assert sum(batch.table.num_rows for batch in limited.batches()) == limited.total == BATCH + 7


def test_empty_and_missing_are_told_apart(collection: Collection[Any]) -> None:
    with pytest.raises(BadSource, match=r"rows': the collection does not exist$"):
        Documents(collection, COLUMNS)
    collection.database.create_collection("rows")
    with pytest.raises(BadSource, match=r"rows': the collection is empty$"):
        Documents(collection, COLUMNS)


def test_a_wrong_password_is_one_line_without_the_password(mongo_with_login: str) -> None:
    with database(f"mongodb://{MONGO_LOGIN[0]}:hidden-word@{mongo_with_login}/any?authSource=admin") as opened:
        with pytest.raises(BadSource, match=r"^MongoDB at 127\.0\.0\.1:\d+: wrong user or password$"):
            Documents(opened["rows"], COLUMNS)


def test_a_server_that_does_not_answer_is_an_error_that_may_pass() -> None:
    with database("mongodb://127.0.0.1:1/any?serverSelectionTimeoutMS=200") as opened:
        with pytest.raises(ConnectionError, match=r"^MongoDB at 127\.0\.0\.1:1: no server answers$"):
            Documents(opened["rows"], COLUMNS)


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1/any", "http://me:hidden-word@there/any", "mongodb://me:hidden word@:::/any"]
)
def test_a_malformed_url_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(BadSource, match=r"^MONGODB_URL: expected mongodb://") as refusal, database(url):
        pass
    assert "hidden" not in str(refusal.value) and len(str(refusal.value).splitlines()) == 1


def write(path: Path, *lines: str) -> Path:
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_a_file_is_read_in_the_suites_types(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, "\ufefft,id,x,f,more", '"a,b",1,1,true,9', ",9007199254740993,,false,9")
    batch = only(File(path, COLUMNS))
    assert batch.table.to_pylist() == [
        {"id": 1, "x": 1.0, "t": "a,b", "f": True},
        {"id": 2**53 + 1, "x": None, "t": None, "f": False},
    ]


def test_rows_that_do_not_fit_are_set_aside_with_their_number(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.csv",
        "id,x,t,f",
        "1,1.5,a,true",
        "2.5,1,a,true",
        "3,1",
        "4,inf,a,true",
        "5.0,1,a,yes",
        "6.0,2,b,false",
    )
    batch = only(File(path, COLUMNS))
    assert batch.table["id"].to_pylist() == [1, 6]
    assert {reject.place: reject.reason.partition(" (")[0] for reject in batch.rejects} == {
        "row 3": "id: 2.5",
        "row 4": "2 fields where the header has 4",
        "row 5": "x: inf is not a finite number",
        "row 6": "f: 'yes'",
    }


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("absent.csv", None, "no such file"),
        ("rows.xlsx", b"id", r"ends in \.csv or \.csv\.gz"),
        ("empty.csv", b"", "Empty CSV file"),
        ("other.csv", b"a,b\n1,2\n", "no column of the suite in its header"),
        ("twice.csv", b"id,x,x\n1,2,3\n", "header names 'x' more than once"),
        ("latin.csv", "id,t\n1,\xe9\n".encode("latin-1"), "invalid UTF8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSource, match=complaint) as refusal:
        only(File(tmp_path / name, COLUMNS))
    assert name in str(refusal.value) and len(str(refusal.value).splitlines()) == 1
