from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from bson import Decimal128, Int64, ObjectId, encode, json_util
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from tests.support.servers import MONGO_LOGIN, mongo_server
from tests.support.small_cases import date, integer, real, small_case, text
from updraft.addresses import Address
from updraft.model.columns import Column
from updraft.sources.mongodb import BATCH, Documents, _stored_types, database
from updraft.sources.source import BadSource, Batch, Extent, Source

COLUMNS = [integer("id"), real("x"), text("t"), Column(name="f", type="bool")]
CASE = small_case(COLUMNS)
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
        ("x", Decimal128("12.50"), 12.5),
        ("x", Decimal128("0.1000000000000000000000000000000001"), 0.1),  # the nearest float, as from text
        ("x", Decimal128("NaN"), None),
        ("id", Decimal128("9223372036854775807"), 2**63 - 1),
        ("t", ObjectId("6b0aca79422f36c770bd0ceb"), "6b0aca79422f36c770bd0ceb"),
    ],
)
def test_a_document_that_fits_is_read_exactly(collection: Collection[Any], field: str, stored: Any, read: Any) -> None:
    collection.insert_many([dict(GOOD), GOOD | {field: stored}])
    batch = only(Documents(collection, CASE))
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
        ("x", Int64(2**53 + 1), "x: 9007199254740993 is too large for a 64-bit float"),
        ("x", Decimal128("9007199254740993"), "x: 9007199254740993 is too large for a 64-bit float"),
        ("x", Decimal128("Infinity"), "x: inf is not a finite number"),
        ("x", Decimal128("1E+6000"), "x: inf is not a finite number"),
        ("id", Decimal128("41.5"), "id: 41.5 (float) is not a whole number"),
        ("x", ObjectId("6b0aca79422f36c770bd0ceb"), "x: '6b0aca79422f36c770bd0ceb' (str) is not a number"),
        ("t", 5, "t: 5 (int) is not text"),
        ("t", {"deep": [1]}, "t: {'deep': [1]} (dict) is not text"),
        ("f", 1, "f: 1 (int) is not true or false"),
    ],
)
def test_a_document_that_does_not_fit_is_set_aside_with_its_id_and_reason(
    collection: Collection[Any], field: str, stored: Any, reason: str
) -> None:
    collection.insert_many([dict(GOOD), bad := GOOD | {field: stored}, dict(GOOD)])
    batch = only(Documents(collection, CASE))
    assert batch.table.num_rows == 2
    (reject,) = batch.rejects
    assert reject.place == f"_id {bad['_id']}"
    assert reason in reject.reason
    assert str(reject.row[field]) == str(stored)


def test_a_missing_field_is_null_where_it_may_be_and_else_set_aside(collection: Collection[Any]) -> None:
    collection.insert_many([
        dict(GOOD),
        {"id": 2, "t": "a", "f": True},
        {"x": 1, "t": "a", "f": True},
        GOOD | {"x": None},
    ])
    batch = only(Documents(collection, CASE))
    assert [reject.reason for reject in batch.rejects] == ["id: missing"]
    assert batch.table["id"].to_pylist() == [1, 2, 1] and batch.table["x"].to_pylist() == [1.5, None, None]


def test_documents_as_mongodb_holds_them_become_rows(collection: Collection[Any]) -> None:
    """Its own types, a field of a document inside, and fields that some documents leave out."""
    lines = [
        '{"cust": {"$oid": "6b0aca79422f36c770bd0ceb"}, "price": {"$numberDecimal": "12.5"}, "address": {"city": "x"}}',
        '{"cust": {"$oid": "6b0aca79422f36c770bd0cec"}, "price": {"$numberDecimal": "13"}, "address": {"city": null}}',
        '{"cust": {"$oid": "6b0aca79422f36c770bd0ced"}, "address": {"zip": {"codes": ["a", "b"]}}, "x": 2}',
        '{"cust": {"$oid": "6b0aca79422f36c770bd0cee"}, "address.city": "itself", "address": {"city": "inside"}}',
        '{"cust": {"$oid": "6b0aca79422f36c770bd0cef"}, "address": {"city": {"$oid": "6b0aca79422f36c770bd0ceb"}}}',
        '{"cust": {"$oid": "6b0aca79422f36c770bd0cf0"}, "address": {"city": 5}}',
    ]
    collection.insert_many([json_util.loads(line) for line in lines])
    rename = {"address.city": "city", "address.zip.codes.1": "second"}
    columns = [text("cust", nullable=False), real("price"), text("city"), real("x"), text("second")]
    documents = Documents(collection, small_case(columns, read={"rename": rename}))
    assert documents.absent == documents.others == []
    batch = only(documents)
    assert batch.table["price"].to_pylist() == [12.5, 13.0, None, None, None]
    assert batch.table["city"].to_pylist() == ["x", None, None, "itself", "6b0aca79422f36c770bd0ceb"]
    assert batch.table["second"].to_pylist() == [None, None, "b", None, None]
    assert batch.table["x"].to_pylist() == [None, None, 2.0, None, None]
    assert batch.table["cust"][1].as_py() == "6b0aca79422f36c770bd0cec"
    assert [reject.reason for reject in batch.rejects] == ["city: 5 (int) is not text"]
    assert set(batch.slow) == {"city"}


def test_nan_is_counted_where_it_is_read_as_null(collection: Collection[Any]) -> None:
    collection.insert_many([dict(GOOD), GOOD | {"x": float("nan")}])
    batch = only(Documents(collection, CASE))
    assert (batch.nans, batch.table["x"].to_pylist()) == (1, [1.5, None])


def test_a_field_that_no_document_has_is_absent_rather_than_bad(collection: Collection[Any]) -> None:
    collection.insert_one({"id": 1, "t": "a", "f": True})
    source = Documents(collection, CASE)
    assert source.absent == ["x"]
    assert only(source).table.column_names == ["id", "t", "f"]


def test_many_batches_keep_every_row_and_the_limit_holds(collection: Collection[Any]) -> None:
    count = 2 * BATCH + 3
    collection.insert_many([GOOD | {"id": number} for number in range(count)])
    ids = pa.concat_tables([batch.table for batch in Documents(collection, CASE).batches()])["id"].to_pylist()
    assert ids == list(range(count))
    limited = Documents(collection, CASE, Extent(BATCH + 7))
    assert sum(batch.table.num_rows for batch in limited.batches()) == limited.total == BATCH + 7


def test_a_field_may_have_a_dot_in_its_name(collection: Collection[Any]) -> None:
    collection.insert_many([{"a.b": 1, "$c": 2.5}, {"a.b": 2, "$c": None, "a": {"b": 9}}])
    source = Documents(collection, small_case([integer("a.b"), real("$c"), real("a.c")]))
    assert source.absent == ["a.c"]
    assert only(source).table.to_pylist() == [{"a.b": 1, "$c": 2.5}, {"a.b": 2, "$c": None}]


def test_empty_and_missing_are_told_apart(collection: Collection[Any]) -> None:
    with pytest.raises(BadSource, match=r"rows': the collection does not exist$"):
        Documents(collection, CASE)
    collection.database.create_collection("rows")
    with pytest.raises(BadSource, match=r"rows': the collection is empty$"):
        Documents(collection, CASE)


@pytest.mark.usefixtures("starts_servers")
def test_a_collection_is_not_taken_for_empty_after_a_kill_of_the_server(tmp_path: Path) -> None:
    folder = tmp_path / "mongod"
    folder.mkdir()
    journalled = WriteConcern(j=True)
    with mongo_server(folder) as address, MongoClient[dict[str, Any]](address) as client:
        client.get_database("d", write_concern=journalled)["rows"].insert_many([dict(GOOD) for _ in range(50)])
        (mongod,) = (each for each in psutil.Process().children() if str(folder) in each.cmdline())
        mongod.kill()
    with mongo_server(folder) as address, MongoClient[dict[str, Any]](address) as client:
        rows = client["d"]["rows"]
        assert rows.estimated_document_count() == 0  # what MongoDB says then
        source = Documents(rows, CASE)
        assert (only(source).table.num_rows, source.total) == (50, None)


def test_a_wrong_password_is_one_line_without_the_password(mongo_with_login: str) -> None:
    url = f"mongodb://{MONGO_LOGIN[0]}:hidden-word@{mongo_with_login}/any?authSource=admin"
    with database(Address("MONGODB_URL", url)) as opened:
        with pytest.raises(BadSource, match=r"^MongoDB at 127\.0\.0\.1:\d+: wrong user or password$"):
            Documents(opened["rows"], CASE)


def test_a_server_that_does_not_answer_is_an_error_that_may_pass() -> None:
    with database(Address("MONGODB_URL", "mongodb://127.0.0.1:1/any?serverSelectionTimeoutMS=200")) as opened:
        with pytest.raises(ConnectionError, match=r"^MongoDB at 127\.0\.0\.1:1: no server answers$"):
            Documents(opened["rows"], CASE)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "expected mongodb://"),
        ("127.0.0.1/any", "expected mongodb://"),
        ("http://me:s3cr3t@there/any", "expected mongodb://"),
        ("mongodb://me:s3c r3t@:::/any", "expected mongodb://"),
        ("mongodb://me:s3cr3t@/any", "Empty host"),
        ("mongodb://me:s3c/r3t@there/any", "expected mongodb://"),
        ("mongodb://me:s3c/b?r3t=a@there/any", "expected mongodb://"),
        ("mongodb://me:s3cr3t@there/any?tls=maybe", "options after '?': The value of tls must be"),
        ("mongodb://me:s3cr3t@there/any?nonsense", "options after '?'"),
    ],
)
def test_a_malformed_url_is_one_line_without_the_password(url: str, expected: str) -> None:
    with pytest.raises(BadSource) as refusal, database(Address("connection 'atlas'", url)):
        pass
    message = str(refusal.value)
    assert message.startswith(f"connection 'atlas': {expected}")
    assert not any(part in message for part in ("s3c", "r3t")) and len(message.splitlines()) == 1


def test_the_options_of_an_atlas_url_reach_the_driver(mongo: str) -> None:
    options = {"maxIdleTimeMS": 10000, "replicaSet": "rs0"}
    with database(Address("connection 'atlas'", "mongodb://h1:27017,h2:27018/db?tls=true", options)) as opened:
        assert opened.client.options.pool_options.max_idle_time_seconds == 10
        assert opened.client.options.replica_set_name == "rs0"
        assert opened.client.options.pool_options._ssl_context is not None
        assert set(opened.client._topology_settings.seeds) == {("h1", 27017), ("h2", 27018)}


@pytest.mark.parametrize(
    ("url", "options", "seconds"),
    [
        ("mongodb://h/db", {}, 10),
        ("mongodb://h/db?serverSelectionTimeoutMS=200", {}, 0.2),
        ("mongodb://h/db", {"serverselectiontimeoutms": 300}, 0.3),
    ],
)
def test_a_servers_choice_takes_ten_seconds_unless_the_user_sets_it(
    url: str, options: dict[str, Any], seconds: float
) -> None:
    with database(Address("MONGODB_URL", url, options)) as opened:
        assert opened.client.options.server_selection_timeout == seconds


def test_a_url_without_a_database_means_updraft() -> None:
    with database(Address("MONGODB_URL", "mongodb://a:secret@h/?retryWrites=true")) as opened:
        assert opened.name == "updraft"


def test_a_host_that_dns_does_not_know_is_an_error_that_may_pass() -> None:
    url = "mongodb+srv://a:hidden-word@nowhere.invalid/db?connectTimeoutMS=500"
    with pytest.raises(ConnectionError, match=r"^MONGODB_URL: ") as failure, database(Address("MONGODB_URL", url)):
        pass
    assert "hidden-word" not in str(failure.value)


CAST = small_case(
    [real("price"), text("kind"), date("sold")],
    read={
        "rename": {"Price ": "price", "Sold": "sold"},
        "casts": {"price": "number_from_text", "kind": ["strip", "lower"]},
        "dates": {"sold": "%d/%m/%Y"},
    },
)


def test_documents_are_renamed_and_cast_as_the_yaml_says(collection: Collection[Any]) -> None:
    collection.insert_many([
        {"Price ": "£8,000", "kind": " Petrol", "Sold": "31/12/2025"},
        {"Price ": "9 GBP", "kind": "DIESEL", "Sold": "01/02/2026"},
        {"Price ": None, "kind": " ", "Sold": None},
    ])
    batch = only(Documents(collection, CAST))
    assert batch.table.to_pylist() == [
        {"price": 8000.0, "kind": "petrol", "sold": datetime(2025, 12, 31)},
        {"price": 9.0, "kind": "diesel", "sold": datetime(2026, 2, 1)},
        {"price": None, "kind": None, "sold": None},
    ]
    assert not batch.rejects


def test_documents_that_are_cast_already_may_lie_beside_raw_ones(collection: Collection[Any]) -> None:
    raw = {"Price ": "£8,000", "kind": " Petrol", "Sold": "31/12/2025"}
    ours = {"price": 8000.0, "kind": "petrol", "sold": datetime(2025, 12, 31)}
    bad = {"Price ": "8 or 9", "price": 5.0, "kind": "petrol", "Sold": "31/12/2025"}
    collection.insert_many([raw, dict(ours), bad])
    batch = only(Documents(collection, CAST))
    assert batch.table.to_pylist() == [ours, ours]
    assert [reject.reason for reject in batch.rejects] == ["price: '8 or 9' holds 2 numbers, expected one"]


def test_dates_are_read_to_the_millisecond_and_numbers_are_no_dates(collection: Collection[Any]) -> None:
    when = datetime(2026, 1, 31, 8, 0, 0, 123000)
    collection.insert_many([{"d": when}, {"d": None}])
    case = small_case([date("d")])
    assert only(Documents(collection, case)).table["d"].to_pylist() == [when, None]
    far, *_ = collection.insert_many([{"d": DatetimeMS(2**60)}]).inserted_ids
    assert [reject.place for reject in only(Documents(collection, case)).rejects] == [f"_id {far}"]
    collection.delete_one({"_id": far})
    collection.insert_many([{"d": 5}, {"d": "2026-01-31T10:00:00+02:00"}, {"d": DatetimeMS(2**60)}])
    batch = only(Documents(collection, case))
    assert batch.table["d"].to_pylist() == [when, None, datetime(2026, 1, 31, 8)]
    assert [reject.reason.partition(")")[0] for reject in batch.rejects] == [
        "d: 5 (int",
        "d: DatetimeMS(1152921504606846976",
    ]


def test_a_document_whose_text_could_not_be_decoded_is_set_aside(collection: Collection[Any]) -> None:
    collection.insert_many([dict(GOOD), GOOD | {"t": "\ufffd1.50"}])
    batch = only(Documents(collection, CASE))
    assert batch.table.num_rows == 1
    assert "holds U+FFFD" in batch.rejects[0].reason


def test_64_bit_integers_and_one_bad_document_are_sorted_out_at_once(collection: Collection[Any]) -> None:
    """Int64 is a subclass of int: `in range(...)` would walk through 2**64 numbers to find it."""
    collection.insert_many([*(GOOD | {"id": Int64(number)} for number in range(5)), GOOD | {"id": "forty"}])
    batch = only(Documents(collection, CASE))
    assert batch.table["id"].to_pylist() == [0, 1, 2, 3, 4]
    assert [reject.row["id"] for reject in batch.rejects] == ["forty"]


def test_whole_numbers_that_are_stored_as_doubles_are_read_as_doubles_and_cast(collection: Collection[Any]) -> None:
    """As the mongo shell stores them; were they declared integers, each batch of them would go the slow way."""
    collection.insert_many([GOOD | {"id": float(number)} for number in range(5)])
    assert only(Documents(collection, CASE)).table["id"].to_pylist() == [0, 1, 2, 3, 4]
    both = {name: CASE.column("id") for name in ("id", "a.b")}
    whole, double = encode({"id": 1, "a.b": 2}), encode({"id": 1, "a.b": 2.0})
    assert _stored_types(both, whole + double + whole) == {"id": "int64", "a.b": "float64"}
    assert _stored_types(both, double + encode({"id": 1.0})) == {"id": "float64", "a.b": "float64"}
    assert _stored_types(both, encode({"a_b": 2.0, "id": 1})) == {"id": "int64", "a.b": "int64"}


def test_a_text_that_looks_like_a_null_hides_no_missing_field(collection: Collection[Any]) -> None:
    collection.insert_many([GOOD | {"t": "ends so\nid"}, {"x": 2, "t": "a", "f": True}])
    batch = only(Documents(collection, CASE))
    assert [reject.reason for reject in batch.rejects] == ["id: missing"]


def test_fields_that_no_suite_names_are_told(collection: Collection[Any]) -> None:
    collection.insert_one(GOOD | {"extra": 1})
    assert Documents(collection, CASE).others == ["extra"]


def test_a_collection_that_is_replaced_while_it_is_read_is_an_error_that_may_pass(collection: Collection[Any]) -> None:
    collection.insert_many([GOOD | {"id": number} for number in range(2 * BATCH + 3)])
    batches = Documents(collection, CASE).batches()
    next(batches)
    collection.drop()
    with pytest.raises(ConnectionError, match="MongoDB at "):
        list(batches)


def test_an_id_that_was_renamed_is_found_before_and_after_a_load(collection: Collection[Any]) -> None:
    """`load` stores it under our name, and MongoDB adds an `_id` of its own."""
    case = small_case([integer("key")], read={"rename": {"_id": "key"}})
    collection.insert_one({"_id": 7})
    assert only(Documents(collection, case)).table["key"].to_pylist() == [7]
    collection.delete_many({})
    collection.insert_one({"key": 8})
    assert only(Documents(collection, case)).table["key"].to_pylist() == [8]
