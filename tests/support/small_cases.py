"""Use cases made in code: a suite out of columns, and the least YAML around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from updraft.defaults import ROOT
from updraft.model.columns import Column
from updraft.usecase import UseCase

SHARED_DATA = ROOT.parent / "shared" / "data"
SOURCE = {"mongodb": {"collection": "small"}}
NOT_THERE = "the public data sets are not in ../shared/data"


def integer(name: str, **more: Any) -> Column:
    return Column(name=name, type="int64", **{"nullable": False} | more)


def real(name: str, **more: Any) -> Column:
    return Column(name=name, type="float64", **more)


def text(name: str, **more: Any) -> Column:
    return Column(name=name, type="str", **more)


def date(name: str, **more: Any) -> Column:
    return Column(name=name, type="datetime64[us]", **more)


def small_case(columns: list[Column], target: str = "y", folder: Path | None = None, **yaml: Any) -> UseCase:
    """Make a use case around columns; with a folder, its suite is written there."""
    suite = (folder or Path("absent")) / "suite.json"
    if folder:
        suite.write_text(json.dumps({"name": "small", "expectations": expectations(columns)}, default=str))
    regression = yaml.get("task") == "regression"
    estimator = "Ridge" if regression else "LogisticRegression"
    yaml = {"candidates": {"simple": {"estimator": estimator}}, "title": "Small", "source": SOURCE} | yaml
    if yaml.get("task", "binary") == "binary":
        yaml = {"labels": [{"value": 0, "name": "no"}, {"value": 1, "name": "yes"}], "positive": 1} | yaml
    return UseCase(name="small", suite=suite, columns=tuple(columns), target=target, **yaml)


def expectations(columns: list[Column]) -> list[dict[str, Any]]:
    """Write what columns say as Great Expectations has it."""
    found = [("expect_table_columns_to_match_set", {"column_set": [column.name for column in columns]})]
    for column in columns:
        told: dict[str, dict[str, Any]] = {
            "values_to_be_of_type": {"type_": column.type},
            "values_to_be_in_set": {"value_set": column.allowed and list(column.allowed)},
            "values_to_be_between": {
                "min_value": column.earliest or column.minimum,
                "max_value": column.latest or column.maximum,
            },
            "values_to_match_regex": {"regex": column.pattern},
            "value_lengths_to_be_between": {"min_value": column.shortest, "max_value": column.longest},
        }
        if not column.nullable:
            found.append(("expect_column_values_to_not_be_null", {"column": column.name}))
        for rule, kwargs in told.items():
            given = {key: value for key, value in kwargs.items() if value is not None}
            if given:
                found.append((f"expect_column_{rule}", {"column": column.name, **given}))
    return [{"type": rule, "kwargs": kwargs, "severity": "critical"} for rule, kwargs in found]
