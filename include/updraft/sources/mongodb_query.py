"""Which documents of a collection are read: those that match the YAML's `filter` and came since the watermark."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from updraft.sources.source import BadSource
from updraft.sources.watermark import CLOCKS_DIFFER
from updraft.usecase.source_blocks import MongoDBSource
from updraft.usecase.watermark import Watermark

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.errors import OperationFailure

log = logging.getLogger(__name__)

# What the server's list of error codes calls retriable, of the network, an interruption, a change of the primary, a
# shutdown, a cursor that is gone, or a time limit; every other answer stays the same when it is asked again.
PASSING = {
    *(6, 7, 89, 9001),
    *(43, 237, 11601, 136, 175),
    *(10107, 13435, 13436, 189, 10058, 11602),
    *(91, 11600),
    *(24, 46, 50, 64, 112, 134, 202, 246, 251, 262, 290, 384, 402, 462, 50915),
}
NOT_ALLOWED = 13
COUNT_MS = 5_000
# The types that a watermark may have; in an index and in a comparison, each is a range of its own.
TYPES = ("date", "number", "objectId", "string")
# What would keep out all later documents: infinity, and texts that are no date.
LIMITS: dict[str, dict[str, Any]] = {"number": {"$lt": math.inf}, "string": {"$regex": r"^\d{4}-\d\d-\d\d"}}


class Query:
    """The documents to read, and the position up to which they were there when the read began.

    The greatest value of the watermark is noted before the first document is read: what is written meanwhile is read by
    the next read, if perhaps for the second time. Documents whose watermark is missing, or of another type than the
    greatest, are always read.
    """

    def __init__(
        self, collection: Collection[Any], settings: MongoDBSource, position: Mapping[str, Any] | None
    ) -> None:
        self._collection = collection
        self.filter = filter_of(settings.filter)
        self._require_match(settings)
        self.position: dict[str, Any] | None = None
        self.documents = self.filter
        if settings.watermark:
            former = _decode(position) if position else None
            self.documents = _both(self.filter, _since(settings.watermark, former)) if position else self.filter
            latest = _latest(collection, self.documents, settings.watermark)
            self.position = _encode(former if latest is None else latest)

    def matching(self, condition: Mapping[str, Any]) -> dict[str, Any]:
        """Return what finds documents that match the filter, new or not, and a condition."""
        return _both(self.filter, condition)

    def count(self) -> int | None:
        """Count the documents to read; None where that takes long, or is not known."""
        from pymongo.errors import OperationFailure

        if not self.documents:
            return self._collection.estimated_document_count() or None  # 0, full as it is, after a kill of mongod
        try:
            return self._collection.count_documents(self.documents, maxTimeMS=COUNT_MS)
        except OperationFailure:  # it takes long, or the filter has what is found but not counted, such as $near
            return None

    def _require_match(self, settings: MongoDBSource) -> None:
        from pymongo.errors import OperationFailure

        try:
            matches = self._collection.find_one(self.filter, {"_id": 1})
        except OperationFailure as error:
            if may_pass(error) or error.code == NOT_ALLOWED or not settings.filter:
                raise
            raise BadSource(f"source.mongodb.filter: {(error.details or {}).get('errmsg', error.code)}") from None
        if matches is None:
            place = f"MongoDB collection {self._collection.full_name!r}"
            raise BadSource(f"{place}: no document matches the filter {json.dumps(settings.filter, default=str)}")


def may_pass(error: OperationFailure) -> bool:
    """Whether what a server could not do now, it may do later."""
    return error.code is None or error.code in PASSING or error.has_error_label("RetryableWriteError")


def filter_of(written: Mapping[str, Any]) -> dict[str, Any]:
    """Read MongoDB's Extended JSON, such as {$oid: …} and {$date: …}; dates of YAML are dates."""
    from bson import json_util
    from bson.errors import BSONError

    try:
        read: dict[str, Any] = json_util.loads(json.dumps(written, default=_extended))
    except (BSONError, TypeError, ValueError, OverflowError) as error:
        raise BadSource(f"source.mongodb.filter: {error}; expected a query in MongoDB's Extended JSON") from None
    return read


def _extended(value: Any) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"$date": (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()}
    if isinstance(value, date):
        return {"$date": f"{value.isoformat()}T00:00:00Z"}
    raise TypeError(f"{value!r} is nothing that MongoDB holds")


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {"$and": [one, other]} if one else dict(other)


def _since(watermark: Watermark, former: Any) -> dict[str, Any]:
    start = former
    if watermark.late:
        if not isinstance(former, datetime):
            kind = type(former).__name__
            raise BadSource(f"source.mongodb.watermark.late: {watermark.column} holds no dates but {kind}")
        start = former - watermark.late
    of_its_type = {"$type": _type_of(former)}
    return {"$or": [{watermark.column: {"$gte": start}}, {watermark.column: {"$not": of_its_type}}]}


def _latest(collection: Collection[Any], documents: Mapping[str, Any], watermark: Watermark) -> Any:
    """Return the greatest value; a date in the future, which would keep all later rows out, does not count."""
    column = watermark.column

    def greatest(condition: Mapping[str, Any]) -> Any:
        query = _both(documents, {column: condition})
        found = collection.find_one(query, {column: 1}, sort=[(column, -1)])
        return _follow(found, column) if found else None

    for type_ in TYPES:
        value = greatest({"$type": type_, **LIMITS.get(type_, {})})
        if isinstance(value, datetime) and value > _now():
            log.warning("watermark: %s is %s in some documents, in the future", column, value.isoformat())
            value = greatest({"$lte": _now(), "$type": type_}) or _now()
        if value is not None:
            return value
    return None


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0) + CLOCKS_DIFFER


def _follow(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document


def _type_of(value: Any) -> str:
    from bson import ObjectId

    kinds = {datetime: "date", ObjectId: "objectId", str: "string"}
    return kinds.get(type(value), "number")


def _encode(value: Any) -> dict[str, Any] | None:
    from bson import json_util

    return None if value is None else {"watermark": json.loads(json_util.dumps(value))}


def _decode(position: Mapping[str, Any]) -> Any:
    from bson import json_util
    from bson.json_util import JSONOptions

    naive = JSONOptions(tz_aware=False)
    return json_util.loads(json.dumps(position["watermark"]), json_options=naive)
