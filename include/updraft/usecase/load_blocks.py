"""The `load` block of an ETL's YAML: one kind of store, and its settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from updraft.usecase.blocks import Part
from updraft.usecase.one_kind import OneKind
from updraft.usecase.source_blocks import ConnectionId, MongoDBSource


class MongoDBCollection(Part):
    """Documents of a MongoDB collection, in the database that the connection's URL names.

    MongoDB's dates have milliseconds: rows with microseconds are refused unless they may be cut.
    """

    collection: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
    connection: ConnectionId = "mongo_default"
    microseconds: Literal["refuse", "cut"] = "refuse"

    @property
    def address(self) -> MongoDBSource:
        """Return the collection as a source, by which its server is looked up."""
        return MongoDBSource(collection=self.collection, connection=self.connection)


class SQLStore(Part):
    """Rows of a table of PostgreSQL, MySQL, MariaDB or SQLite, which is created when it is absent."""

    table: Annotated[str, Field(min_length=1, max_length=127)]
    connection: ConnectionId = "sql_default"


class S3Store(Part):
    """An object below an s3:// URI for each set of rows, named by its content, as JSON lines or Parquet."""

    uri: Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)*/?$")]
    format: Literal["jsonl", "parquet"] = "parquet"
    connection: ConnectionId = "aws_default"


class DynamoDBStore(Part):
    """Items of a table, whose key is one attribute, a text or a number; it takes the row's key."""

    table: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$", min_length=3, max_length=255)]
    connection: ConnectionId = "aws_default"


class LoadBlock(OneKind):
    """Where cleaned rows go: a field for each kind of store, exactly one of them set.

    `destinations.STORES` says how each kind is opened.
    """

    mongodb: MongoDBCollection | None = None
    sql: SQLStore | None = None
    s3: S3Store | None = None
    dynamodb: DynamoDBStore | None = None
