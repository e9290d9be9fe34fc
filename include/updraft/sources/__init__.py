"""Where rows come from: `SOURCES` lists the kinds, `open_source` opens a use case's own.

A kind's module imports its driver (pymongo, …) when a source is opened, not at its top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from updraft.addresses import Connections
from updraft.sources.files import open_files
from updraft.sources.kafka import open_kafka
from updraft.sources.mongodb import open_collection
from updraft.sources.rest import open_rest
from updraft.sources.source import Extent, Source
from updraft.sources.sql import open_sql
from updraft.usecase.rows_definition import RowsDefinition

# The kind in the YAML → how it is opened: (settings, case, connections, extent) → a context manager of a Source.
SOURCES: dict[str, Callable[..., AbstractContextManager[Source]]] = {
    "mongodb": open_collection,
    "file": open_files,
    "sql": open_sql,
    "kafka": open_kafka,
    "rest": open_rest,
}


def open_source(
    case: RowsDefinition, connections: Connections, limit: int | None = None, position: Mapping[str, Any] | None = None
) -> AbstractContextManager[Source]:
    """Open the source of a use case's rows, at most `limit` of them, after a former read's `position`.

    Raises BadSource, or ConnectionError where a second try may help.
    """
    return SOURCES[case.source.kind](case.source.settings, case, connections, Extent(limit, position))
