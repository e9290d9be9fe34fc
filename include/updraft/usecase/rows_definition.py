"""What a use case and an ETL have in common: rows with a source, reading rules and a suite that gives them types."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from updraft.model.columns import Column
from updraft.usecase.blocks import Names, Part, Reading, Retry
from updraft.usecase.source_blocks import SourceBlock

TICKS = 400  # of a schedule that are looked at: more than a year of days


def _cron(value: str) -> str:
    from croniter import croniter

    if not croniter.is_valid(value):
        raise ValueError(f"{value!r} is not a cron expression such as '0 3 * * 1'")
    return value


Cron = Annotated[str, AfterValidator(_cron)]


class CronSchedule(Part):
    """When a DAG runs by itself: by a cron expression, in UTC; subclasses add more. Something has to be set."""

    cron: Cron | None = None

    def least_hours(self) -> float | None:
        """Return how many hours lie between two runs by the cron expression, at the least; None without one."""
        if self.cron is None:
            return None
        from croniter import croniter

        ticks = croniter(self.cron, datetime(2026, 1, 1, tzinfo=UTC))
        times = [ticks.get_next(float) for _ in range(TICKS)]
        return min(later - earlier for earlier, later in pairwise(times)) / 3600

    @model_validator(mode="after")
    def _require_when(self) -> Self:
        *others, last = names = list(type(self).model_fields)
        if not any(getattr(self, name) for name in names):
            raise ValueError(f"expected {', '.join(others)} or {last}")
        return self


class Schedule(CronSchedule):
    """Also after loads of ETLs that changed something."""

    after: Names = ()


class Counting(Part):
    """Also once so many `rows` are new since the last run, or any is after so many `hours`."""

    rows: Annotated[int, Field(ge=1)] | None = None
    hours: Annotated[float, Field(gt=0)] | None = None

    @property
    def counts_rows(self) -> bool:
        """Whether rows are counted."""
        return self.rows is not None or self.hours is not None


class TrainingSchedule(Counting, Schedule):
    """When training starts by itself; what is counted are the source's rows."""


class MonitorSchedule(Counting, CronSchedule):
    """When a monitor runs by itself; what is counted are shipped predictions."""


def _cron_alone(value: Any) -> Any:
    """A plain text is a cron expression."""
    return {"cron": value} if isinstance(value, str) else value


ScheduleBlock = Annotated[Schedule, BeforeValidator(_cron_alone)]
TrainingScheduleBlock = Annotated[TrainingSchedule, BeforeValidator(_cron_alone)]
MonitorScheduleBlock = Annotated[MonitorSchedule, BeforeValidator(_cron_alone)]


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
