"""The `engine` key of a YAML: where the fits of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, model_validator

from updraft.usecase.blocks import Part
from updraft.usecase.source_blocks import ConnectionId


class EngineBlock(Part):
    """Where fits run: in threads of the task's own process, or on the workers of a Dask cluster. Models are the same.

    `connection` names the cluster's scheduler.
    """

    name: Literal["threads", "dask"] = "threads"
    connection: ConnectionId = "dask_default"

    @model_validator(mode="after")
    def _connection_of_dask(self) -> EngineBlock:
        if self.name != "dask" and "connection" in self.model_fields_set:
            raise ValueError(f"{self.name!r} takes no connection; only dask does")
        return self


# `engine: dask` is short for `engine: {name: dask}`.
Engine = Annotated[EngineBlock, BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)]
