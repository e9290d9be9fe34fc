"""The `load` block of an ETL's YAML: one kind of store, and its settings."""

from __future__ import annotations

from updraft.usecase.one_kind import OneKind
from updraft.usecase.source_blocks import MongoDBSource


class LoadBlock(OneKind):
    """Where cleaned rows go: a field for each kind of store, exactly one of them set.

    `destinations.STORES` says how each kind is opened.
    """

    mongodb: MongoDBSource | None = None
