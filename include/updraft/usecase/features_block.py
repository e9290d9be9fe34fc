"""The `features` block of a YAML: the feature store that has columns which requests may leave out."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from updraft.model.feature_store import StoreUrl, Timeout
from updraft.usecase.blocks import Names, Part


class Features(Part):
    """Where the service finds columns that a request leaves out: a Feast feature server, by the key in `entity`.

    `view` is the feature view, the use case's name without it; it has `columns`, all features without them.
    `timestamp` is the date of a row by which `updraft feast` exports it. Without `store` there is only the export.
    """

    store: StoreUrl | None = None
    entity: Annotated[str, Field(min_length=1)]
    view: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=100)] | None = None
    columns: Names = ()
    timeout_seconds: Timeout = 0.5
    timestamp: str | None = None
