"""How many rows a source holds, asked often: without reading them."""

from __future__ import annotations

from collections.abc import Callable

from updraft.addresses import Connections
from updraft.sources import sql
from updraft.sources.kafka import count_messages
from updraft.sources.mongodb import count_documents
from updraft.usecase.rows_definition import RowsDefinition

# The kind in the YAML → how its rows are counted: (settings, connections) → their number.
COUNTS: dict[str, Callable[..., int]] = {
    "mongodb": count_documents,
    "sql": sql.count_rows,
    "kafka": count_messages,
}


def count_rows(case: RowsDefinition, connections: Connections) -> int:
    """Count the rows of a use case's source. Raises BadSource, or ConnectionError where a second try may help."""
    return COUNTS[case.source.kind](case.source.settings, connections)
