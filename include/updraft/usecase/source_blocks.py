"""The `source` block of a YAML: one kind of source, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from updraft.usecase.blocks import Part
from updraft.usecase.one_kind import OneKind
from updraft.usecase.page_blocks import PagesBlock, Pointer
from updraft.usecase.watermark import Watermark

REMOTE = ("s3", "http", "https")  # schemes of URIs that are no paths
ROOT_OF_PATHS = "root"  # in pydantic's context: the folder that relative paths start from
ConnectionId = Annotated[str, Field(pattern=r"^[\w.-]+$")]


def _place(value: str, info: ValidationInfo) -> str:
    """Resolve a path or a file:// URI against the context's root; without one it stays as it is, as do other URIs."""
    uri = urlsplit(value)
    if uri.scheme in REMOTE and "://" in value:
        return value
    if "://" in value and (uri.scheme != "file" or uri.netloc not in ("", "localhost")):
        raise ValueError(f"{value!r} is neither a path, nor a file:// URI of this machine, s3:// or http(s)://")
    path = Path(url2pathname(uri.path) if "://" in value else value)
    root = (info.context or {}).get(ROOT_OF_PATHS)
    return str(root / path if root else path)


class MongoDBSource(Part):
    """Documents of a MongoDB collection, in the database that the connection's URL names.

    `filter` is a query in MongoDB's Extended JSON.
    """

    collection: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
    connection: ConnectionId = "mongo_default"
    filter: dict[str, Any] = Field(default_factory=dict)
    watermark: Watermark | None = None


class FileSource(Part):
    """Files of rows: one, those of a folder, or those that match a pattern. A relative path starts at the repository.

    Without a connection s3:// takes `aws_default`, and http(s):// sends no login.
    """

    path: Annotated[str, Field(min_length=1), AfterValidator(_place)]
    connection: ConnectionId | None = None


class SQLSource(Part):
    """Rows of a table, or of a query that only reads, in the database that the connection's URL names."""

    table: Annotated[str, Field(min_length=1)] | None = None
    query: Annotated[str, Field(min_length=1)] | None = None
    connection: ConnectionId = "sql_default"
    watermark: Watermark | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> SQLSource:
        if (self.table is None) == (self.query is None):
            raise ValueError("expected either table or query")
        return self


class KafkaSource(Part):
    """Messages of a topic, each a JSON object. Another number at `restart` reads all that it holds anew."""

    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)]
    connection: ConnectionId = "kafka_default"
    restart: Annotated[int, Field(ge=0)] = 0


class RestSource(Part):
    """Rows of a JSON API: a list at the JSON Pointer `rows`, on one page or several.

    The password of the connection is sent as a bearer token, with a user as HTTP Basic, or in the header `header`.
    `rate` is the greatest number of requests in a second.
    """

    url: Annotated[str, Field(min_length=1)]
    rows: Pointer = ""
    pages: PagesBlock | None = None
    connection: ConnectionId | None = None
    header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    rate: Annotated[float, Field(gt=0)] | None = None


class SourceBlock(OneKind):
    """Where rows come from: a field for each kind of source, exactly one of them set.

    `sources.SOURCES` says how each kind is opened.
    """

    mongodb: MongoDBSource | None = None
    file: FileSource | None = None
    sql: SQLSource | None = None
    kafka: KafkaSource | None = None
    rest: RestSource | None = None
