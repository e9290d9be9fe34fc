"""`UseCase`: a YAML's keys as attributes, and the columns of its suite."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from updraft.errors import UserError
from updraft.model.columns import Column
from updraft.model.signature import Label, Task
from updraft.run_params import Promote
from updraft.usecase.blocks import (
    METRICS_OF,
    Approve,
    Candidate,
    Card,
    Datasets,
    Gate,
    GroupSplit,
    HashSplit,
    Impute,
    MetricName,
    Names,
    RandomSplit,
    Rollout,
    Scalar,
    Serving,
    Slice,
    Tfidf,
    Threshold,
    TimeSplit,
    Title,
    Validation,
)
from updraft.usecase.demo_block import Demo
from updraft.usecase.engine_block import Engine, EngineBlock
from updraft.usecase.features_block import Features
from updraft.usecase.monitor_block import Monitor
from updraft.usecase.notify_block import Notify
from updraft.usecase.rows_definition import RowsDefinition, TrainingScheduleBlock
from updraft.usecase.source_blocks import MongoDBSource, SourceBlock

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


FOLDS_UP_TO, AUTOMATIC_HOLDOUT = 1_000_000, 0.2  # rows of a dataset; above, this share is validated on
NAME_RULE = "lower-case letters, digits and _, a letter first, 63 at most"


class BadUseCase(UserError):
    """A use case's YAML or suite is invalid; the message lists every fault, one per line."""


class UseCase(RowsDefinition):
    """One use case: the YAML's keys as attributes, and the `columns` that its suite names and types."""

    schedule: TrainingScheduleBlock | None = None

    task: Task = "binary"
    target: str
    text: Names = ()
    categorical: Names = ()
    ignored: Names = ()
    labels: tuple[Label, ...] = ()
    positive: int | str | None = None

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    split_seed: Annotated[int, Field(ge=0, lt=2**32)]
    split: Annotated[HashSplit | RandomSplit | TimeSplit | GroupSplit, Field(discriminator="by")] = HashSplit()
    deduplicate: bool = False
    folds: Annotated[int, Field(ge=2)] = 3
    validation: Validation | None = None

    impute: Impute | None = None
    tfidf: Tfidf = Tfidf()
    candidates: Annotated[dict[str, Candidate], Field(min_length=1)]
    engine: Engine = EngineBlock()
    choose_by: MetricName
    threshold: Annotated[Threshold, BeforeValidator(lambda v: {"rule": v} if isinstance(v, str) else v)] = Threshold()
    floors: dict[MetricName, float] = Field(default_factory=dict)
    max_gap: dict[MetricName, float] = Field(default_factory=dict)
    slices: dict[str, Slice] = Field(default_factory=dict)
    gate: Gate
    promote: Promote = "auto"
    approve: Approve = Approve()
    rollout: Rollout = Rollout()
    serving: Serving = Serving()
    features: Features | None = None
    card: Card = Card()
    titles: dict[str, Title] = Field(default_factory=dict)
    values: dict[str, dict[Scalar, Title]] = Field(default_factory=dict)
    monitor: Monitor | None = None
    datasets: Datasets = Datasets()
    notify: Notify | None = None
    demo: Demo = Demo()

    def holdout(self, rows: int) -> float | None:
        """Return the share of the training rows that candidates are validated on; None where there are folds.

        `rows` is the number of rows of the dataset: where the YAML says nothing, many of them need no folds.
        """
        if self.validation:
            return self.validation.holdout
        return None if "folds" in self.model_fields_set or rows <= FOLDS_UP_TO else AUTOMATIC_HOLDOUT

    @property
    def feature_columns(self) -> list[Column]:
        """Columns a model learns from, in the suite's order."""
        left_out = {self.target, self.id, *self.ignored}
        return [column for column in self.columns if column.name not in left_out]

    @property
    def feature_names(self) -> list[str]:
        """Names of the features."""
        return [column.name for column in self.feature_columns]

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """Names of the features that the feature store has: those that its block lists, else all but the key."""
        if self.features is None:
            return ()
        return self.features.columns or tuple(name for name in self.feature_names if name != self.features.entity)

    def column(self, name: str) -> Column:
        """Return a column by name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def metrics(self) -> tuple[MetricName, ...]:
        """Metrics of the use case's task."""
        return METRICS_OF[self.task]

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, raw: dict[str, Any]) -> dict[str, Any]:
        metric = {"multiclass": "f1_macro", "regression": "r2"}.get(str(raw.get("task")))
        gate = raw.get("gate", {})
        values = {"choose_by": metric or "pr_auc"} | raw
        values |= {"gate": {"metric": metric or "f1"} | gate if isinstance(gate, dict) else gate}
        return {"split_seed": raw.get("seed", 42)} | values  # a run's own seed does not change the split


class Draft(UseCase):
    """A use case as far as it could be read: what is missing is empty."""

    title: str = ""
    source: SourceBlock = SourceBlock(mongodb=MongoDBSource(collection="-"))
    target: str = ""
    candidates: dict[str, Candidate] = Field(default_factory=dict)


def sides(case: UseCase) -> list[str]:
    """Return what words may be typical of: the labels' names, or the lower and upper half of a number."""
    return [label.name for label in case.labels] or ["low", "high"]
