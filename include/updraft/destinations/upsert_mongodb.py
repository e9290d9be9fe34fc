"""Load rows into a MongoDB collection, each once: `_id` is the row's key."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from updraft.addresses import Connections
from updraft.destinations.keyed_rows import Cleaned, KeyedRow
from updraft.errors import BadData
from updraft.model.columns import DATE
from updraft.sources.mongodb import address_of, database, translated
from updraft.sources.source import CONTENT
from updraft.usecase.load_blocks import MongoDBCollection

if TYPE_CHECKING:
    from pymongo import InsertOne, ReplaceOne
    from pymongo.collection import Collection

log = logging.getLogger(__name__)

BATCH = 25_000
DUPLICATE_KEY = 11000


@contextmanager
def open_mongodb(settings: MongoDBCollection, connections: Connections, cleaned: Cleaned) -> Iterator[MongoDBStore]:
    """Open a collection; it need not exist."""
    from pymongo.write_concern import WriteConcern

    if settings.microseconds == "refuse":
        _require_milliseconds(cleaned, settings.collection)
    with database(address_of(settings.address, connections)) as opened:
        on_disk = WriteConcern(w="majority", j=True)
        store = MongoDBStore(opened[settings.collection].with_options(write_concern=on_disk))
        store.warn_of_others()
        yield store


def _require_milliseconds(cleaned: Cleaned, collection: str) -> None:
    """Raise BadData for the first date that MongoDB would cut."""
    names = [column.name for column in cleaned.columns if column.type == DATE]
    with pq.ParquetFile(cleaned.parquet) as parquet:
        for batch in parquet.iter_batches(BATCH, columns=names) if names else ():
            for name in names:
                for value in batch[name].drop_null().to_pylist():
                    if value.microsecond % 1000:
                        raise BadData(
                            f"MongoDB collection {collection!r}: column {name!r} holds {value.isoformat()}, and "
                            "MongoDB's dates have milliseconds; `microseconds: cut` in its block cuts them"
                        )


class MongoDBStore:
    """A collection that holds each row once."""

    size = 5_000

    def __init__(self, collection: Collection[Any]) -> None:
        self._collection = collection
        self.name = f"MongoDB collection {collection.full_name!r}"

    def warn_of_others(self) -> None:
        """Warn of documents that no ETL wrote: rows of the same content may be there twice then."""
        with translated(self._collection):
            others = self._collection.count_documents({"_id": {"$type": "objectId"}})
        if others:
            log.warning("%s holds %s documents that were not loaded by an ETL (their _id is an ObjectId); they stay, "
                        "also where they equal a loaded row", self.name, f"{others:,}")  # fmt: skip

    def there(self, rows: Sequence[KeyedRow]) -> dict[int | str, str | None]:
        with translated(self._collection):
            found = self._collection.find({"_id": {"$in": [row.key for row in rows]}}, {CONTENT: 1})
            return {document["_id"]: document.get(CONTENT) for document in found}

    def write(self, new: Sequence[KeyedRow], changed: Sequence[KeyedRow]) -> None:
        """Insert new rows, which takes a third of the time, and replace changed ones."""
        from bson.errors import BSONError
        from pymongo import InsertOne, ReplaceOne

        rows = [*new, *changed]
        documents = [{"_id": row.key, **row.values, CONTENT: row.sha256} for row in rows]
        inserts = [InsertOne(document) for document in documents[: len(new)]]
        replacements = [ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in documents[len(new) :]]
        try:
            faults = self._bulk_write([*inserts, *replacements])
        except (BSONError, OverflowError, UnicodeError) as error:  # too large, or nothing that BSON holds
            raise BadData(f"{self.name}: {' '.join(str(error).split())}") from None
        if others := [fault for fault in faults if fault["code"] != DUPLICATE_KEY]:
            raise BadData(f"{self.name}: _id {rows[others[0]['index']].key!r}: {others[0]['errmsg']}")
        if faults:  # inserted by another load at the same time
            self.write([], [rows[fault["index"]] for fault in faults])

    def _bulk_write(
        self, operations: Sequence[InsertOne[dict[str, Any]] | ReplaceOne[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        """Send operations, and return the faults of those that the server did not take."""
        from pymongo.errors import BulkWriteError

        with translated(self._collection):
            try:
                self._collection.bulk_write(operations, ordered=False)
            except BulkWriteError as error:  # an OperationFailure, too
                faults: list[dict[str, Any]] = error.details["writeErrors"]
                if not faults:
                    concern = error.details["writeConcernErrors"]
                    raise ConnectionError(f"{self.name}: not written to disk: {concern[0]['errmsg']}") from None
                return faults
        return []
