from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from tests.support.small_cases import integer, small_case
from updraft.sources.mongodb import Documents
from updraft.sources.mongodb_query import may_pass
from updraft.sources.source import BadSource, Extent
from updraft.usecase.source_blocks import MongoDBSource

CASE = small_case([integer("id"), integer("y")])
MONDAY = datetime(2026, 11, 23, 12)


@pytest.fixture
def collection(mongodb_url: str) -> Iterator[Collection[Any]]:
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        yield client.get_default_database()["rows"]
        client.drop_database(client.get_default_database())


def documents(
    collection: Collection[Any], position: Mapping[str, Any] | None = None, limit: int | None = None, **settings: Any
) -> Documents:
    block = MongoDBSource.model_validate({"collection": collection.name, **settings})
    return Documents(collection, CASE, Extent(limit, position), block)


def ids(source: Documents) -> list[int]:
    return sorted(row for batch in source.batches() for row in batch.table["id"].to_pylist())


BAD_FILTERS = [
    {"$near": 1},
    {"y": {"$near": [0, 0]}},
    {"$text": {"$search": "x"}},
    {"$where": "this.y ==="},
    {"y": {"$regex": "("}},
    {"$expr": {"$add": ["$y", "x"]}},
    {"$nothing": 1},
    {"y": {"$in": 1}},
    {"y": {"$mod": [0, 1]}},
]


@pytest.mark.parametrize("query", BAD_FILTERS, ids=str)
def test_a_query_that_the_server_refuses_is_the_users_mistake(collection: Collection[Any], query: Any) -> None:
    collection.insert_one({"id": 1, "y": 0})
    with pytest.raises(BadSource, match=r"^source\.mongodb\.filter: "):
        documents(collection, filter=query)


def test_what_is_found_and_not_counted_is_read(collection: Collection[Any]) -> None:
    collection.insert_many({"id": number, "y": 0, "at": [number, 0], "t": "red" * (number > 1)} for number in (1, 2, 3))
    collection.create_index([("at", "2d")])
    collection.create_index([("t", "text")])
    assert ids(documents(collection, filter={"$where": "this.id > 1"})) == [2, 3]
    assert ids(documents(collection, filter={"at": {"$near": [3, 0], "$maxDistance": 1}})) == [2, 3]
    assert ids(documents(collection, filter={"$text": {"$search": "redred red"}})) == [2, 3]


def test_what_may_pass_is_told_from_what_does_not() -> None:
    assert (
        may_pass(OperationFailure("", 11600)) and may_pass(OperationFailure("", 50)) and may_pass(OperationFailure(""))
    )
    assert not may_pass(OperationFailure("", 2)) and not may_pass(OperationFailure("", 13))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"y": 1}, [2, 3]),
        ({"y": {"$gte": 0}, "id": {"$ne": 3}}, [1, 2]),
        ({"at": {"$gte": {"$date": "2026-11-24T00:00:00Z"}}}, [2, 3]),
        ({"at": {"$gte": datetime(2026, 11, 24, tzinfo=UTC)}}, [2, 3]),
        ({"at": {"$lt": datetime(2026, 11, 24).date()}}, [1]),
        ({"_id": {"$oid": "6b0aca79422f36c770bd0ceb"}}, [1]),
    ],
)
def test_only_what_matches_the_filter_is_read(
    collection: Collection[Any], query: dict[str, Any], expected: list[int]
) -> None:
    first = ObjectId("6b0aca79422f36c770bd0ceb")
    collection.insert_many([
        {"_id": first, "id": 1, "y": 0, "at": MONDAY},
        {"id": 2, "y": 1, "at": MONDAY + timedelta(days=1)},
        {"id": 3, "y": 1, "at": MONDAY + timedelta(days=2), "other": "x"},
    ])
    source = documents(collection, filter=query)
    assert (ids(source), source.total) == (expected, len(expected))
    assert source.provenance()["filter"]


def test_a_column_that_only_others_have_is_absent(collection: Collection[Any]) -> None:
    collection.insert_many([{"id": 1, "kind": "a"}, {"id": 2, "kind": "b", "y": 1}])
    assert documents(collection, filter={"kind": "a"}).absent == ["y"]


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ({"y": 7}, r'rows.: no document matches the filter {"y": 7}'),
        ({"$foo": 1}, r"source\.mongodb\.filter: unknown top level operator: \$foo"),
        ({"y": {"$foo": 1}}, r"source\.mongodb\.filter: unknown operator: \$foo"),
        ({"_id": {"$oid": "x"}}, r"source\.mongodb\.filter: .*expected a query in MongoDB's Extended JSON"),
    ],
)
def test_a_filter_that_finds_nothing_or_is_none_is_said(
    collection: Collection[Any], query: dict[str, Any], complaint: str
) -> None:
    collection.insert_one({"id": 1, "y": 0})
    with pytest.raises(BadSource, match=complaint):
        documents(collection, filter=query)


WATERMARKS = [
    [MONDAY + timedelta(hours=hour) for hour in range(4)],
    [1, 2.5, 2**53 + 1, 2**60],
    ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"],
    [ObjectId(f"6b0aca79422f36c770bd0ce{digit}") for digit in "abcd"],
]


@pytest.mark.parametrize("values", WATERMARKS, ids=["dates", "numbers", "texts", "object ids"])
def test_what_came_since_the_watermark_is_read(collection: Collection[Any], values: list[Any]) -> None:
    collection.insert_many([{"id": number, "y": 0, "at": value} for number, value in enumerate(values[:2])])
    first = documents(collection, watermark={"column": "at"})
    assert ids(first) == [0, 1]
    collection.insert_one({"id": 2, "y": 0, "at": values[2]})
    second = documents(collection, first.position(), watermark={"column": "at"})
    assert (ids(second), second.total) == ([1, 2], 2)  # 1 once more: another row might have the same value
    collection.update_one({"id": 0}, {"$set": {"at": values[3]}})
    third = documents(collection, second.position(), watermark={"column": "at"})
    assert ids(third) == [0, 2]
    assert documents(collection, third.position(), watermark={"column": "at"}).position() == third.position()


def test_late_rows_and_those_without_a_watermark_are_read_again(collection: Collection[Any]) -> None:
    collection.insert_many([
        {"id": 1, "y": 0, "at": MONDAY},
        {"id": 2, "y": 0},
        {"id": 3, "y": 0, "at": None},
        {"id": 4, "y": 0, "at": "x"},
    ])
    watermark = {"column": "at", "late": "2d"}
    position = documents(collection, watermark=watermark).position()
    collection.insert_many([
        {"id": 5, "y": 0, "at": MONDAY - timedelta(days=1)},
        {"id": 6, "y": 0, "at": MONDAY - timedelta(days=3)},
    ])
    assert ids(documents(collection, position, watermark=watermark)) == [1, 2, 3, 4, 5]


def test_what_is_written_while_it_is_read_is_read_the_next_time(collection: Collection[Any]) -> None:
    collection.insert_one({"id": 1, "y": 0, "at": 1})
    first = documents(collection, watermark={"column": "at"})
    collection.insert_one({"id": 2, "y": 0, "at": 2})  # after the watermark was noted
    assert ids(first) == [1, 2]
    assert ids(documents(collection, first.position(), watermark={"column": "at"})) == [1, 2]


def test_a_date_in_the_future_does_not_keep_later_rows_out(
    collection: Collection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    collection.insert_many([{"id": 1, "y": 0, "at": datetime(2999, 1, 1)}, {"id": 2, "y": 0, "at": MONDAY}])
    first = documents(collection, watermark={"column": "at"})
    assert "at is 2999-01-01T00:00:00 in some documents, in the future" in caplog.text
    collection.insert_one({"id": 3, "y": 0, "at": MONDAY + timedelta(hours=1)})
    assert ids(documents(collection, first.position(), watermark={"column": "at"})) == [1, 2, 3]


def test_nothing_new_is_no_error_and_a_limit_moves_nothing(collection: Collection[Any]) -> None:
    collection.insert_many([{"id": number, "y": 0, "at": number} for number in range(3)])
    first = documents(collection, watermark={"column": "at"})
    collection.delete_one({"id": 2})
    second = documents(collection, first.position(), watermark={"column": "at"})
    assert (ids(second), second.position(), second.absent) == ([], first.position(), [])
    assert documents(collection, limit=2, watermark={"column": "at"}).position() is None


def test_a_watermark_without_values_has_no_position(collection: Collection[Any]) -> None:
    collection.insert_one({"id": 1, "y": 0})
    assert documents(collection, watermark={"column": "at"}).position() is None


def test_late_is_for_dates(collection: Collection[Any]) -> None:
    collection.insert_one({"id": 1, "y": 0, "at": 7})
    watermark = {"column": "at", "late": "2h"}
    position = documents(collection, watermark=watermark).position()
    with pytest.raises(BadSource, match=r"source.mongodb.watermark.late: at holds no dates but int"):
        documents(collection, position, watermark=watermark)


@pytest.mark.parametrize(("junk", "known", "later"), [(float("inf"), 5, 6), ("n/a", "2026-01-01", "2026-01-02")])
def test_a_value_beyond_all_others_does_not_keep_later_rows_out(
    collection: Collection[Any], junk: Any, known: Any, later: Any
) -> None:
    collection.insert_many([{"id": 1, "y": 0, "at": junk}, {"id": 2, "y": 0, "at": known}])
    first = documents(collection, watermark={"column": "at"})
    collection.insert_one({"id": 3, "y": 0, "at": later})
    assert 3 in ids(documents(collection, first.position(), watermark={"column": "at"}))
