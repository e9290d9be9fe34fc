"""Fill a MongoDB collection, atomically."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from updraft.errors import BadData
from updraft.sources.mongodb import translated
from updraft.sources.source import Progress, Source

if TYPE_CHECKING:
    from pymongo.collection import Collection


def load(source: Source, collection: Collection[Any], progress: Progress | None = None) -> int:
    """Replace the collection's content by the source's rows at one stroke: a temporary collection, then a rename.

    Rows that fit go in under the suite's names and in its types, dates to the millisecond; rows that do not fit go in
    as they were found, for `ingest` to set aside. Returns the number of documents.
    """
    from pymongo.write_concern import WriteConcern

    fresh_one = collection.database[f"{collection.name}.loading.{uuid.uuid4().hex[:8]}"]
    with translated(collection):
        try:
            count = _fill(fresh_one, source, progress)
            if not count:
                raise BadData(f"{source}: no rows; {collection.full_name} is left as it was")
            _copy_indexes(collection, fresh_one)
            on_disk = WriteConcern(w="majority", j=True)  # this, and so all that was written before it
            fresh_one.with_options(write_concern=on_disk).rename(collection.name, dropTarget=True)
        finally:
            fresh_one.drop()
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
    for name, told in old.index_information().items():
        if name != "_id_":
            options = {key: told[key] for key in told.keys() - {"key", "v", "ns"}}
            new.create_index(told["key"], name=name, **options)


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is when MongoDB can hold it, else its values as text."""
    from bson import encode
    from bson.errors import BSONError

    try:
        encode(row)
    except (BSONError, OverflowError, UnicodeError):
        return {name: str(value).encode("utf-8", "replace").decode() for name, value in row.items()}
    return row
