"""The `monitor` block of a YAML: what is watched of a model in production, and what follows when it goes bad."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from updraft.usecase.blocks import MetricName, Part
from updraft.usecase.rows_definition import MonitorSchedule, MonitorScheduleBlock
from updraft.usecase.watermark import Duration

Action = Literal["warn", "retrain", "roll_back"]
Signal = Literal["schema_break", "covariate", "prediction", "target", "performance"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
UpToOne = Annotated[float, Field(gt=0, le=1)]


def _not_zero(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("expected a duration longer than 0")
    return value


class Limits(Part):
    """Effect sizes from which a column has drifted. With fewer than `min_rows` rows nothing is said.

    `psi` is what is above the one to expect by chance. `nulls`, `unseen` and `unknown_words` are differences of shares,
    `refused` is the share of rows that did not fit.
    """

    min_rows: Annotated[int, Field(ge=1)] = 200
    psi: Positive = 0.2
    nulls: UpToOne = 0.1
    unseen: UpToOne = 0.05
    unknown_words: UpToOne = 0.2
    refused: UpToOne = 0.05


class PerformanceLimits(Part):
    """By how much `metric` may be worse than the evaluation's; without a metric it is that of the gate."""

    metric: MetricName | None = None
    loss: Positive = 0.05
    min_labels: Annotated[int, Field(ge=30)] = 200


class Act(Part):
    """What follows a signal: `warn` in the report, `retrain`, or `roll_back` to the version before."""

    schema_break: Action = "warn"
    covariate: Action = "warn"
    prediction: Action = "warn"
    target: Action = "warn"
    performance: Action = "warn"

    def of(self, signal: Signal) -> Action:
        """Return what follows a signal."""
        action: Action = getattr(self, signal)
        return action


class Monitor(Part):
    """What the DAG `monitor_<use case>` watches: the predictions of the last `window`, and the labels known of them.

    Within `cool_down` after a training was asked for there is no other.
    """

    schedule: MonitorScheduleBlock = MonitorSchedule(cron="0 * * * *")
    window: Annotated[Duration, AfterValidator(_not_zero)] = timedelta(days=7)
    drift: Limits = Limits()
    performance: PerformanceLimits = PerformanceLimits()
    act: Act = Act()
    cool_down: Duration = timedelta(days=1)
