"""Where rows go: `DESTINATIONS` lists the kinds of source that can be filled, `open_destination` opens one.

`STORES` lists the kinds of store that hold each loaded row once, `open_store` opens one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from updraft.addresses import Connections
from updraft.destinations.destination import Destination
from updraft.destinations.keyed_rows import Cleaned, OpenStore, Store, WholeStore
from updraft.destinations.mongodb import open_collection
from updraft.destinations.upsert_dynamodb import open_dynamodb
from updraft.destinations.upsert_mongodb import open_mongodb
from updraft.destinations.upsert_s3 import open_s3
from updraft.destinations.upsert_sql import open_sql
from updraft.errors import UserError
from updraft.usecase import UseCase
from updraft.usecase.load_blocks import LoadBlock

# The kind in the YAML → how it is opened: (settings, connections) → a context manager of a Destination.
DESTINATIONS: dict[str, Callable[..., AbstractContextManager[Destination]]] = {"mongodb": open_collection}

# The kind in an ETL's YAML → how it is opened: (settings, connections, cleaned) → a context manager of a Store.
STORES: dict[str, OpenStore] = {
    "mongodb": open_mongodb,
    "sql": open_sql,
    "s3": open_s3,
    "dynamodb": open_dynamodb,
}


class NothingToFill(UserError):
    """The use case's rows lie where Updraft only reads."""


def check_can_be_filled(case: UseCase) -> None:
    """Raise NothingToFill when the use case's source is of a kind that is only read."""
    if case.source.kind not in DESTINATIONS:
        raise NothingToFill(
            f"{case.name}: its source is of kind {case.source.kind}, "
            "which is read as it is; there is nothing to load into"
        )


def open_destination(case: UseCase, connections: Connections) -> AbstractContextManager[Destination]:
    """Open the use case's source for writing; raise NothingToFill when it is only read."""
    check_can_be_filled(case)
    return DESTINATIONS[case.source.kind](case.source.settings, connections)


def open_store(
    block: LoadBlock, connections: Connections, cleaned: Cleaned
) -> AbstractContextManager[Store | WholeStore]:
    """Open a store of cleaned rows."""
    return STORES[block.kind](block.settings, connections, cleaned)
