"""The `source` block of a YAML: one kind of source, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import AfterValidator, Field, ValidationInfo

from updraft.usecase.blocks import Part
from updraft.usecase.one_kind import OneKind

ROOT_OF_PATHS = "root"  # in pydantic's context: the folder that relative paths start from
ConnectionId = Annotated[str, Field(pattern=r"^[\w.-]+$")]


def _local_path(value: str, info: ValidationInfo) -> str:
    """Resolve a path or a file:// URI against the context's root; without one it stays as it is."""
    uri = urlsplit(value)
    if "://" in value and (uri.scheme != "file" or uri.netloc not in ("", "localhost")):
        raise ValueError(f"{value!r} is neither a path nor a file:// URI of this machine")
    path = Path(url2pathname(uri.path) if "://" in value else value)
    root = (info.context or {}).get(ROOT_OF_PATHS)
    return str(root / path if root else path)


class MongoDBSource(Part):
    """Documents of a MongoDB collection, in the database that the connection's URL names."""

    collection: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$")]
    connection: ConnectionId = "mongo_default"


class FileSource(Part):
    """A file of rows on this machine. A relative path starts at the repository's root."""

    path: Annotated[str, Field(min_length=1), AfterValidator(_local_path)]


class SourceBlock(OneKind):
    """Where rows come from: a field for each kind of source, exactly one of them set.

    `sources.SOURCES` says how each kind is opened.
    """

    mongodb: MongoDBSource | None = None
    file: FileSource | None = None
