"""`Etl`: the keys of include/etl/NAME.yaml as attributes, and the columns of its suite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from updraft.model.columns import Column, Type
from updraft.usecase.blocks import Part, Scalar, Share
from updraft.usecase.load import ETL_PREFIX
from updraft.usecase.load_blocks import LoadBlock
from updraft.usecase.notify_block import EtlNotify
from updraft.usecase.rows_definition import RowsDefinition, ScheduleBlock


class Outliers(Part):
    """Which numbers of a column are outliers, and what becomes of them.

    `iqr`: those more than `factor` interquartile ranges below the first or above the third quartile. `quantile`: those
    below the quantile `low` or above the quantile `high`.
    """

    rule: Literal["iqr", "quantile"] = "iqr"
    factor: Annotated[float, Field(gt=0)] = 1.5
    low: Share | None = None
    high: Share | None = None
    then: Annotated[  # in YAML, null without quotes is no text
        Literal["clip", "null", "quarantine"], BeforeValidator(lambda value: "null" if value is None else value)
    ]

    @model_validator(mode="after")
    def _complete(self) -> Outliers:
        if self.rule == "iqr" and (self.low is not None or self.high is not None):
            raise ValueError("rule 'iqr' takes factor, not low and high")
        if self.rule == "quantile" and ("factor" in self.model_fields_set or self.low is self.high is None):
            raise ValueError("rule 'quantile' takes low, high or both, and no factor")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("expected low < high")
        return self


class Fill(Part):
    """The value that takes the place of nulls."""

    fill: Scalar


class Clean(Part):
    """What becomes of the rows that were read, in this order.

    For each column, as soon as it is there: `outliers`, `nulls` (filled, or their rows quarantined). Then columns that
    are derived from others, one after the other, with the same rules; then `labels`, whose texts become values; then
    all columns but the suite's are left out, and of equal rows, always counted, one is kept or all.
    """

    outliers: dict[str, Outliers] = Field(default_factory=dict)
    nulls: dict[str, Fill | Literal["quarantine"]] = Field(default_factory=dict)
    derive: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, Annotated[dict[Scalar, Scalar], Field(min_length=1)]] = Field(default_factory=dict)
    duplicates: Literal["keep", "drop"] = "keep"


class Etl(RowsDefinition):
    """One ETL: `columns` are the suite's, those of the cleaned rows; `raw_columns` are types of columns as they come.

    `id` is the column that identifies a row; without it a row is identified by its content and how often that came.
    """

    schedule: ScheduleBlock | None = None
    notify: EtlNotify | None = None
    raw_columns: dict[str, Type] = Field(default_factory=dict)
    clean: Clean = Clean()
    load: Annotated[
        tuple[LoadBlock, ...],
        BeforeValidator(lambda value: [value] if isinstance(value, dict) else value),
        Field(min_length=1),
    ]

    @property
    def dag_id(self) -> str:
        """Name the ETL's DAG, its suite and the folder of its runs."""
        return f"{ETL_PREFIX}{self.name}"

    @property
    def extracted(self) -> RowsDefinition:
        """Define the rows as `extract` reads them: with the columns that `clean` derives from, under the DAG's name."""
        return self.renamed().model_copy(update={"columns": tuple(self._raw()), "id": None})

    def renamed(self) -> Etl:
        """Return the ETL under the name of its DAG, as messages of its stages name it."""
        return self.model_copy(update={"name": self.dag_id})

    def _raw(self) -> Iterator[Column]:
        """Yield the columns that are read: only their types, as bounds are a matter of the cleaned rows."""
        for column in self.columns:
            if column.name not in self.raw_columns and column.name not in self.clean.derive:
                yield column.model_copy(update={"nullable": column.nullable or column.name in self.clean.nulls})
        for name, type_ in self.raw_columns.items():
            yield Column(name=name, type=type_)


class DraftEtl(Etl):
    """An ETL as far as it could be read: what is missing is empty."""

    title: str = ""
    source: Any = None
    load: Any = ()
