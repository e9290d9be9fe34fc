"""Rows of a MongoDB collection.

pymongoarrow is fast and not strict: it cuts 41.5 to 41 in an integer column, reads true as 1, and NaN and a missing
field as null. So each batch is checked against its raw BSON, and one that is not plainly clean is decoded again,
document by document.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from updraft.addresses import Address, Connections, variable_of
from updraft.defaults import DATABASE
from updraft.model.columns import DATE, Column, Type
from updraft.model.reading import UNDECODED
from updraft.sources.by_column import Values, as_column, read_by_column
from updraft.sources.documents import flat_document
from updraft.sources.mongodb_query import Query, filter_of, may_pass
from updraft.sources.rows import ARROW, RowConverter, is_lossless
from updraft.sources.source import CONTENT, EVERYTHING, BadSource, Batch, Extent
from updraft.usecase.rows_definition import RowsDefinition
from updraft.usecase.source_blocks import MongoDBSource

if TYPE_CHECKING:
    from bson import CodecOptions
    from pymongo.collection import Collection
    from pymongo.database import Database

BATCH, SOME = 25_000, 20
NEAR = 1 << 16  # bytes
MISSING = object()
URL_VARIABLE = "MONGODB_URL"  # of the default connection
SERVER_SELECTION = {"serverSelectionTimeoutMS": 10_000}  # a third of pymongo's default
LOGIN_REFUSED = (18, 8000)  # 8000 is Atlas's
DOUBLE, BOOLEAN, NULL = 0x01, 0x08, 0x0A
FLOAT = Column(name="", type="float64")
BSON = ARROW | {DATE: pa.timestamp("ms")}


@contextmanager
def open_collection(
    settings: MongoDBSource, case: RowsDefinition, connections: Connections, extent: Extent
) -> Iterator[Documents]:
    """Open a collection as a source of rows."""
    with database(address_of(settings, connections)) as opened:
        yield Documents(opened[settings.collection], case, extent, settings)


def count_documents(settings: MongoDBSource, connections: Connections) -> int:
    """Count the documents that match the filter; without one, by the collection's own statistics."""
    with database(address_of(settings, connections)) as opened, translated(collection := opened[settings.collection]):
        query = filter_of(settings.filter)
        return collection.count_documents(query) if query else collection.estimated_document_count()


def address_of(settings: MongoDBSource, connections: Connections) -> Address:
    """Look up the server; the default connection's environment variable is MONGODB_URL."""
    is_default = settings.connection == MongoDBSource.model_fields["connection"].default
    return connections(settings.connection, URL_VARIABLE if is_default else variable_of(settings.connection))


class Documents:
    """A MongoDB collection, streamed: memory does not grow with it.

    Raises BadSource when the collection is empty, missing or not to be read, no document matches the filter, or the
    login is refused; ConnectionError when no server answers.
    """

    is_log = False

    def __init__(
        self,
        collection: Collection[Any],
        case: RowsDefinition,
        extent: Extent = EVERYTHING,
        settings: MongoDBSource | None = None,
    ) -> None:
        self._collection, self._limit = collection, extent.limit or 0
        self._settings = settings or MongoDBSource(collection=collection.name)
        with translated(collection):
            self._require_documents()
            self._query = Query(collection, self._settings, extent.position)
            converter = RowConverter(case.columns, case.read)
            has = {column.name: self._has(converter.source_names(column)) for column in case.columns}
            lenient = collection.with_options(codec_options=_lenient())
            some = {name for document in lenient.find(self._query.filter, limit=SOME) for name in document}
            there_are = self._query.count()
        self.columns = [column for column in case.columns if has[column.name]]
        self.absent = [name for name, there in has.items() if not there]
        ours = {name for column in case.columns for name in converter.source_names(column)}
        self.others = sorted(some - ours - {"_id", CONTENT})
        self._converter = RowConverter(self.columns, case.read)
        self._paths = [name for column in self.columns for name in converter.source_names(column) if _is_path(name)]
        self.others = sorted(set(self.others) - {path.partition(".")[0] for path in self._paths})
        self.total: int | None = min(there_are, self._limit) if there_are and self._limit else there_are

    def __str__(self) -> str:
        return f"MongoDB collection {self._collection.full_name!r}"

    def provenance(self) -> dict[str, Any]:
        stated = self._settings.model_dump(mode="json", include={"filter", "watermark"}, exclude_defaults=True)
        return {"kind": "mongodb", "collection": self._collection.full_name, **stated}

    def position(self) -> dict[str, Any] | None:
        return None if self._limit else self._query.position

    def batches(self) -> Iterator[Batch]:
        """Yield batches in the collection's natural order; the next is fetched while one is decoded."""
        names = [name for column in self.columns for name in self._converter.source_names(column)]
        projection = None if any(map(_is_path, names)) else dict.fromkeys(names, 1)
        find = self._collection.find_raw_batches
        with (
            translated(self._collection),
            find(self._query.documents, projection, batch_size=BATCH, limit=self._limit) as cursor,
            ThreadPoolExecutor(max_workers=1) as ahead,
        ):
            raw = ahead.submit(next, cursor, None)
            while (batch := raw.result()) is not None:
                raw = ahead.submit(next, cursor, None)
                if batch:
                    yield self._decode(batch)

    def _require_documents(self) -> None:
        if self._collection.find_one(projection={"_id": 1}) is None:
            there = self._collection.name in self._collection.database.list_collection_names()
            raise BadSource(f"{self}: the collection {'is empty' if there else 'does not exist'}")

    def _has(self, names: list[str]) -> bool:
        there = {"$or": [_exists(name) for name in names]}
        return self._collection.find_one(self._query.matching(there), {"_id": 1}) is not None

    def _decode(self, raw: bytes) -> Batch:
        names = {column.name: self._name(column, raw) for column in self.columns}
        if any(map(_is_path, names.values())):  # in a projection and in pymongoarrow, a dot leads into a document
            return self._sort_out(raw)
        stored_types = _stored_types({names[column.name]: column for column in self.columns}, raw)
        types = {name: BSON[stored] for name, stored in stored_types.items()}
        table = _table(types, raw)
        if table is None:  # texts where the suite has another type: that is what casts are for
            cast = {names[c.name]: pa.string() for c in self.columns if self._converter.needs_parsing(c)}
            table = _table(types | cast, raw) if cast else None
        boolean = _field(BOOLEAN, [names[c.name] for c in self.columns if c.type in ("int64", "float64")])
        if table is None or UNDECODED.encode() in raw or (boolean and boolean.search(raw)):
            return self._sort_out(raw)
        arrays = []
        for column in self.columns:
            stored = table[names[column.name]]
            plain = _as_stored(names[column.name], table, raw)
            array = self._converter.convert_column(column, stored) if plain else None
            if array is None:
                return self._sort_out(raw)
            arrays.append(array)
        return self._converter.to_batch(arrays)

    def _name(self, column: Column, raw: bytes) -> str:
        """Choose the name that a column has in these documents; where it has two, they are read one by one."""
        names = self._converter.source_names(column)
        return next((name for name in names if name.encode() + b"\0" in raw), column.name)

    def _sort_out(self, raw: bytes) -> Batch:
        """Read documents in Python: what pymongoarrow does not know, bends, or reads as null though it is not there."""
        from bson import decode_all

        documents = [flat_document(document, self._paths) for document in decode_all(raw, _lenient())]
        optional: dict[str, Any] = {column.name: None for column in self.columns if column.nullable}
        odd = set()
        columns: list[Values] = []
        for column in self.columns:
            names = self._converter.source_names(column)
            values = [next((d[name] for name in names if name in d), MISSING) for d in documents]
            if not column.nullable:
                odd |= {index for index, value in enumerate(values) if value is MISSING}
            columns.append(as_column([None if value is MISSING else value for value in values]))

        def placed(indices: Sequence[int]) -> list[tuple[str, dict[str, Any]]]:
            return [(f"_id {documents[index]['_id']}", optional | documents[index]) for index in indices]

        return read_by_column(self._converter, columns, placed, odd, torn=True)


def _lenient() -> CodecOptions[Any]:
    """Read dates beyond Python's too."""
    from bson import CodecOptions
    from bson.codec_options import DatetimeConversion

    return CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


def _is_path(name: str) -> bool:
    return "." in name or name.startswith("$")


def _exists(name: str) -> dict[str, Any]:
    if not _is_path(name):
        return {name: {"$exists": True}}
    itself = {"$expr": {"$ne": [{"$type": {"$getField": {"$literal": name}}}, "missing"]}}
    leads_inside = not name.startswith("$") and all(name.split("."))
    return {"$or": [itself, {name: {"$exists": True}}]} if leads_inside else itself


def _table(types: dict[str, pa.DataType], raw: bytes) -> pa.Table | None:
    """Decode documents; None when a value is of another type than its column."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "pyarrow.* size changed", RuntimeWarning)
        from pymongoarrow.context import PyMongoArrowContext
        from pymongoarrow.schema import Schema
    context = PyMongoArrowContext(Schema(types))
    try:
        context.process_bson_stream(raw)
        return context.finish()
    except TypeError:
        return None


@contextmanager
def database(address: Address) -> Iterator[Database[Any]]:
    """Open the database that a MongoDB URL names, for a while. The URL may hold a password: it is never repeated.

    Raises BadSource when the URL is malformed, ConnectionError when DNS does not know an SRV host.
    """
    from pymongo import MongoClient
    from pymongo.errors import ConfigurationError, InvalidURI

    expected = "expected mongodb://user:password@host/database, with / : @ in user and password as %2F %3A %40"
    scheme, _, rest = address.url.partition("://")
    path = rest.partition("/")[2]
    if scheme not in ("mongodb", "mongodb+srv") or "@" in path:  # @: the end of a password with an unquoted /
        raise BadSource(f"{address.origin}: {expected}")
    _check_options(address.origin, path.partition("?")[2])
    try:
        set_by_user = any("serverselectiontimeoutms" in text.lower() for text in (path, *address.options))
        options = {**({} if set_by_user else SERVER_SELECTION), **address.options}
        client: MongoClient[Any] = MongoClient(address.url, **options)
        opened = client.get_default_database(DATABASE)
    except (InvalidURI, ValueError):
        raise BadSource(f"{address.origin}: {expected}") from None
    except ConfigurationError as error:
        if scheme == "mongodb+srv":  # is resolved by DNS at once; a second try may succeed
            raise ConnectionError(f"{address.origin}: {error}") from None
        raise BadSource(f"{address.origin}: {error}") from None
    with client:
        yield opened


def _check_options(origin: str, query: str) -> None:
    """Raise BadSource that names a wrong option of a URL."""
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser_shared import split_options

    try:
        split_options(query) if query else None
    except (PyMongoError, ValueError) as error:
        raise BadSource(f"{origin}: options after '?': {error}") from None


@contextmanager
def translated(collection: Collection[Any]) -> Iterator[None]:
    """Turn the driver's errors into one line each: BadSource where trying again is no use, else ConnectionError."""
    from pymongo.errors import ConnectionFailure, OperationFailure

    host = ", ".join(
        f"{name}:{port}" for name, port in collection.database.client.topology_description.server_descriptions()
    )
    try:
        yield
    except OperationFailure as error:
        if error.code in LOGIN_REFUSED:
            raise BadSource(f"MongoDB at {host}: wrong user or password") from None
        told = f"MongoDB at {host}: {(error.details or {}).get('errmsg', error.code)}"
        raise ConnectionError(told) if may_pass(error) else BadSource(told) from None
    except ConnectionFailure:
        raise ConnectionError(f"MongoDB at {host}: no server answers") from None


def _stored_types(columns: dict[str, Column], raw: bytes) -> dict[str, Type]:
    """Read whole numbers that are stored as doubles, as the mongo shell does, as doubles: they are cast afterwards."""
    stored: dict[str, Type] = {name: column.type for name, column in columns.items()}
    start = 0
    while field := _field(DOUBLE, [name for name in stored if stored[name] == "int64"]):
        if not (first := field.search(raw, start)):
            break
        start = first.start() + 1
        near = field.finditer(raw, first.start(), first.end() + NEAR)  # its document most likely has the others, too
        stored |= dict.fromkeys((each[1].decode() for each in (first, *near)), "float64")
    return stored


def _field(kind: int, names: Sequence[str]) -> re.Pattern[bytes] | None:
    """Return what finds a field of a BSON type with one of these names: it begins with the type's byte, name and NUL.

    One pass tells whether there is any; a text that happens to hold those bytes only costs the slow way.
    """
    if not names:
        return None
    return re.compile(re.escape(bytes([kind])) + b"(%b)\0" % b"|".join(re.escape(name.encode()) for name in names))


def _as_stored(name: str, table: pa.Table, raw: bytes) -> bool:
    """Tell whether a decoded column holds exactly the fields in `raw`: nothing missing read as null."""
    array = table[name]
    if pa.types.is_floating(array.type) and not is_lossless(FLOAT, array):
        return False
    if array.null_count == 0:
        return True
    texts = [each for each in table.columns if pa.types.is_string(each.type)]  # one that ends so looks like a null
    if any(pc.any(pc.match_substring(text, f"\n{name}")).as_py() for text in texts):
        return False
    return bool(array.null_count == raw.count(bytes([NULL]) + name.encode() + b"\0"))
