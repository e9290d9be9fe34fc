"""Where rows come from. A source yields batches in which every row either fits the suite's types or is set aside.

pymongoarrow is fast and not strict: it cuts 41.5 to 41 in an integer column, reads true as 1, and NaN and a missing
field as null. So a batch is held against its raw BSON, and one that is not plainly clean is read again by document.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from updraft.errors import UserError
from updraft.suite import Column
from updraft.usecase import DATABASE

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

BATCH = 25_000
ARROW = {"int64": pa.int64(), "float64": pa.float64(), "str": pa.string(), "bool": pa.bool_()}
PATIENCE = {"serverSelectionTimeoutMS": 10_000}
EXACT = 2**53  # integers beyond this have no exact float64


class BadSource(UserError):
    """The source cannot give rows, and trying again would not help: empty, missing, refused, unreadable."""


@dataclass(frozen=True)
class Reject:
    """A row that does not fit: where it lies (`_id` or row), what was found, why it was refused."""

    place: str
    row: dict[str, Any]
    reason: str


@dataclass(frozen=True)
class Batch:
    """Rows that fit, as a table of the suite's columns, the rows set aside, and how many NaN were read as null."""

    table: pa.Table
    rejects: list[Reject] = field(default_factory=list)
    nans: int = 0


class Source(Protocol):
    """A place that rows come from. `columns` are those of the suite that it has at all, `absent` the others."""

    columns: list[Column]
    absent: list[str]
    total: int | None

    def batches(self) -> Iterator[Batch]: ...
    def __str__(self) -> str: ...


class Documents:
    """A MongoDB collection, streamed: memory does not grow with it.

    Raises BadSource when the collection is empty or missing or the login is refused, ConnectionError when no server
    answers.
    """

    def __init__(self, collection: Collection[Any], columns: Sequence[Column], limit: int | None = None) -> None:
        self._collection, self._limit = collection, limit or 0
        with translated(collection):
            there_are = collection.estimated_document_count()
            if not there_are:
                there = collection.name in collection.database.list_collection_names()
                raise BadSource(f"{self}: the collection {'is empty' if there else 'does not exist'}")
            has = {c.name: bool(collection.find_one({c.name: {"$exists": True}}, {"_id": 1})) for c in columns}
        self.columns = [column for column in columns if has[column.name]]
        self.absent = [name for name, there in has.items() if not there]
        self.total: int | None = min(there_are, limit) if limit else there_are

    def __str__(self) -> str:
        return f"MongoDB collection {self._collection.full_name!r}"

    def batches(self) -> Iterator[Batch]:
        """Yield batches in the collection's natural order; the next is fetched while one is decoded."""
        projection = {column.name: 1 for column in self.columns}
        with translated(self._collection), ThreadPoolExecutor(max_workers=1) as ahead:
            cursor = self._collection.find_raw_batches({}, projection, batch_size=BATCH, limit=self._limit)
            raw = ahead.submit(next, cursor, None)
            while (batch := raw.result()) is not None:
                raw = ahead.submit(next, cursor, None)
                if batch:
                    yield self._decode(batch)

    def _decode(self, raw: bytes) -> Batch:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "pyarrow.* size changed", RuntimeWarning)
            from pymongoarrow.context import PyMongoArrowContext
            from pymongoarrow.schema import Schema
        context = PyMongoArrowContext(Schema({c.name: ARROW[c.type] for c in self.columns}))
        try:
            context.process_bson_stream(raw)
            table: pa.Table = context.finish()
        except TypeError:
            return self._sort_out(raw)
        clean = all(_as_stored(column, table[column.name], raw) for column in self.columns)
        return Batch(table) if clean else self._sort_out(raw)

    def _sort_out(self, raw: bytes) -> Batch:
        from bson import decode_all

        return _sorted_out(self.columns, [(f"_id {document['_id']}", document) for document in decode_all(raw)])


class File:
    """A CSV file with a header, plain or gzipped, UTF-8; an empty field is null.

    Raises BadSource when it cannot be read.
    """

    def __init__(self, path: Path, columns: Sequence[Column], limit: int | None = None) -> None:
        self._path, self._limit = path, limit
        if not path.is_file():
            raise BadSource(f"{self}: no such file")
        if not path.name.endswith((".csv", ".csv.gz")):
            raise BadSource(f"{self}: expected a name that ends in .csv or .csv.gz")
        with self._translated():
            header: list[str] = pyarrow.csv.open_csv(path, parse_options=_PARSE).schema.names
        self.columns = [column for column in columns if column.name in header]
        self.absent = [column.name for column in columns if column.name not in header]
        self.total = limit
        if not self.columns:
            raise BadSource(f"{self}: no column of the suite in its header; expected {', '.join(self.absent)}")
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise BadSource(f"{self}: header names {', '.join(map(repr, twice))} more than once")

    def __str__(self) -> str:
        return f"file {str(self._path)!r}"

    def batches(self) -> Iterator[Batch]:
        """Yield batches in the file's order; a row's place counts from the header, which is row 1."""
        broken: list[Reject] = []
        left = self._limit
        numbers = count(2)
        skipped: set[str] = set()
        with self._translated():
            for record in self._read(broken):
                skipped |= {reject.place for reject in broken}
                places = list(islice((place for n in numbers if (place := f"row {n}") not in skipped), len(record)))
                batch = self._decode(pa.table(record).slice(0, left), places)
                yield Batch(batch.table, batch.rejects + broken, batch.nans)
                broken.clear()
                left = None if left is None else left - batch.table.num_rows - len(batch.rejects)
                if left == 0:
                    return
        if broken:
            yield Batch(pa.table({c.name: pa.array([], ARROW[c.type]) for c in self.columns}), broken)

    def _read(self, broken: list[Reject]) -> Iterator[pa.RecordBatch]:
        """Read every column as text: what a text means is the suite's matter, not the reader's guess."""

        def set_aside(row: Any) -> str:
            reason = f"{row.actual_columns} fields where the header has {row.expected_columns}"
            broken.append(Reject(f"row {row.number}", {"text": row.text}, reason))
            return "skip"

        names = [column.name for column in self.columns]
        yield from pyarrow.csv.open_csv(
            self._path,
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=4 << 20),  # threads: no row numbers
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )

    def _decode(self, texts: pa.Table, places: list[str]) -> Batch:
        try:
            arrays = [texts[column.name].cast(ARROW[column.type]) for column in self.columns]
        except pa.ArrowInvalid:
            arrays = []
        if arrays and all(_finite(column, array) for column, array in zip(self.columns, arrays, strict=True)):
            return Batch(pa.table(arrays, names=texts.column_names))
        types = {column.name: column.type for column in self.columns}
        rows = [{name: _typed(text, types[name]) for name, text in row.items()} for row in texts.to_pylist()]
        return _sorted_out(self.columns, list(zip(places, rows, strict=False)))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
            raise BadSource(f"{self}: {' '.join(str(error).split())}") from None


_PARSE = pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip")


@contextmanager
def database(url: str) -> Iterator[Database[Any]]:
    """Open the database that a MongoDB URL names, for a while."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        patience: dict[str, Any] = {} if "serverselectiontimeoutms" in url.lower() else PATIENCE
        client: MongoClient[Any] = MongoClient(url, **patience)
        found = client.get_default_database(DATABASE)
    except (PyMongoError, ValueError) as error:  # the URL itself may hold a password
        raise BadSource(f"MONGODB_URL: expected mongodb://user:password@host/database: {error}") from None
    with client:
        yield found


@contextmanager
def translated(collection: Collection[Any]) -> Iterator[None]:
    """Turn the driver's errors into one line each: BadSource for a refused login, ConnectionError for no server."""
    from pymongo.errors import ConnectionFailure, OperationFailure

    host = ", ".join(
        f"{name}:{port}" for name, port in collection.database.client.topology_description.server_descriptions()
    )
    try:
        yield
    except OperationFailure as error:
        if error.code == 18:
            raise BadSource(f"MongoDB at {host}: wrong user or password") from None
        raise BadSource(f"MongoDB at {host}: {(error.details or {}).get('errmsg', error.code)}") from None
    except ConnectionFailure:
        raise ConnectionError(f"MongoDB at {host}: no server answers") from None


def _sorted_out(columns: Sequence[Column], placed: list[tuple[str, dict[str, Any]]]) -> Batch:
    """Read rows one by one, with their places: those that fit the columns' types become the table."""
    fit: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    nans = 0
    for place, row in placed:
        missing = [column.name for column in columns if column.name not in row]
        empty = [name for name, value in row.items() if isinstance(value, float) and math.isnan(value)]
        try:
            if missing:
                raise ValueError(f"{', '.join(missing)}: missing")
            fit.append({column.name: _convert(column, row[column.name]) for column in columns})
            nans += len(empty)
        except ValueError as error:
            rejects.append(Reject(place, row, str(error)))
    schema = pa.schema([(column.name, ARROW[column.type]) for column in columns])
    return Batch(pa.Table.from_pylist(fit, schema=schema), rejects, nans)


def _convert(column: Column, value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    try:
        return column.convert(value)
    except ValueError as error:
        raise ValueError(f"{column.name}: {error}") from None


def _as_stored(column: Column, array: pa.ChunkedArray, raw: bytes) -> bool:
    """Tell whether `array` holds exactly the fields in `raw`.

    A BSON element is a type byte, the field's name and a NUL, so one substring search tells whether a type occurs. A
    text that happens to hold those bytes only costs the slow way.
    """

    def element(kind: int) -> bytes:
        return bytes([kind]) + column.name.encode() + b"\0"

    double, boolean, null = 0x01, 0x08, 0x0A
    bent = {"int64": (double, boolean), "float64": (boolean,)}.get(column.type, ())
    if any(element(kind) in raw for kind in bent) or not _finite(column, array):
        return False
    return array.null_count == 0 or bool(array.null_count == raw.count(element(null)))


def _finite(column: Column, array: pa.ChunkedArray) -> bool:
    """Tell whether all numbers of a float64 column are finite and small enough to have come from an exact integer."""
    return column.type != "float64" or not pc.any(pc.invert(pc.less_equal(pc.abs(array), EXACT))).as_py()


def _typed(text: str | None, type_: str) -> Any:
    """Read a text as the column's type, else as a number, else leave it as it is: `Column.convert` judges it."""
    for arrow in (ARROW[type_], pa.float64()) if text is not None and type_ != "str" else ():
        try:
            return pa.scalar(text).cast(arrow).as_py()
        except pa.ArrowInvalid:
            continue
    return text
