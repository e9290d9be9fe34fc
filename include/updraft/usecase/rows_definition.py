"""What a use case and an ETL have in common: rows with a source, reading rules and a suite that gives them types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from updraft.model.columns import Column
from updraft.usecase.blocks import Names, Part, Reading, Retry
from updraft.usecase.source_blocks import SourceBlock


def _cron(value: str) -> str:
    from croniter import croniter

    if not croniter.is_valid(value):
        raise ValueError(f"{value!r} is not a cron expression such as '0 3 * * 1'")
    return value


Cron = Annotated[str, AfterValidator(_cron)]


class Schedule(Part):
    """When a DAG runs by itself: by a cron expression, in UTC, and after loads of ETLs that changed something."""

    cron: Cron | None = None
    after: Names = ()

    @model_validator(mode="after")
    def _says_when(self) -> Schedule:
        if self.cron is None and not self.after:
            raise ValueError("expected cron, after, or both")
        return self


# A plain text is a cron expression.
ScheduleBlock = Annotated[Schedule, BeforeValidator(lambda value: {"cron": value} if isinstance(value, str) else value)]


class RowsDefinition(Part):
    """Rows: where they come from, how they are read, and the `columns` that their suite names and types.

    `configuration_sha256` is that of YAML and suite, `id` the column that identifies a row.
    """

    name: str
    title: str
    suite: Path
    columns: tuple[Column, ...]
    configuration_sha256: str = ""
    source: SourceBlock
    read: Reading = Reading()
    id: str | None = None
    owner: str = "updraft"
    quarantine_budget: Annotated[float, Field(ge=0, le=1)] = 0.01
    retry: Retry = Retry()
