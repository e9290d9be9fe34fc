"""Fill a MongoDB collection, atomically."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from updraft.addresses import Connections
from updraft.destinations.destination import Destination
from updraft.errors import BadData
from updraft.sources.mongodb import address_of, database, translated
from updraft.sources.source import Progress, Source
from updraft.usecase.source_blocks import MongoDBSource

if TYPE_CHECKING:
    from pymongo.collection import Collection


@contextmanager
def open_collection(settings: MongoDBSource, connections: Connections) -> Iterator[Destination]:
    """Open a collection for writing; no server is asked before its first row."""
    address = address_of(settings, connections)
    with database(address) as opened:
        collection = opened[settings.collection]
        name = f"MongoDB collection {collection.full_name!r}"
        yield Destination(name, address.origin, lambda source, progress: load(source, collection, progress))


def load(source: Source, collection: Collection[Any], progress: Progress | None = None) -> int:
    """Atomically replace the collection's contents with the source's rows: a temporary collection, then a rename.

    Rows that fit are stored under the suite's names and in its types, dates to the millisecond; rows that do not fit
    are stored unchanged, for `ingest` to quarantine. Returns the number of documents.
    """
    from pymongo.write_concern import WriteConcern

    temporary = collection.database[f"{collection.name}.loading.{uuid.uuid4().hex[:8]}"]
    with translated(collection):
        try:
            count = _fill(temporary, source, progress)
            if not count:
                raise BadData(f"{source}: no rows; {collection.full_name} is left as it was")
            _copy_indexes(collection, temporary)
            on_disk = WriteConcern(w="majority", j=True)  # covers the rename and every write before it
            temporary.with_options(write_concern=on_disk).rename(collection.name, dropTarget=True)
        finally:
            temporary.drop()
    return count


def _fill(collection: Collection[Any], source: Source, progress: Progress | None) -> int:
    count = 0
    for batch in source.batches():
        documents = batch.table.to_pylist() + [_storable(reject.row) for reject in batch.rejects]
        if documents:
            collection.insert_many(documents, ordered=False)
        count += len(documents)
        if progress:
            progress(count, source.total)
    return count


def _copy_indexes(old: Collection[Any], new: Collection[Any]) -> None:
    for name, index in old.index_information().items():
        if name != "_id_":
            options = {key: index[key] for key in index.keys() - {"key", "v", "ns"}}
            new.create_index(index["key"], name=name, **options)


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is when MongoDB can hold it, else its values as text."""
    from bson import encode
    from bson.errors import BSONError

    try:
        encode(row)
    except (BSONError, OverflowError, UnicodeError):
        return {name: str(value).encode("utf-8", "replace").decode() for name, value in row.items()}
    return row
