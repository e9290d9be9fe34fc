"""Load a suite of Great Expectations."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from updraft.errors import UserError
from updraft.model.columns import DATE, Column


class BadSuite(UserError):
    """The suite itself is invalid: unknown expectations, or arguments that they do not accept."""


def load_suite(path: Path) -> Any:
    """Load a suite; raise BadSuite for unknown expectations, which Great Expectations silently drops."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read once, when Great Expectations is imported
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # its findings are reported below

    raw = json.loads(path.read_text(encoding="utf-8"))
    _read_dates(raw["expectations"])
    try:
        suite = gx.ExpectationSuite(name=raw["name"], expectations=raw["expectations"])
    except Exception as error:  # its own errors have no common base
        raise BadSuite(f"{path}: {' '.join(str(error).split())}") from None
    known = {expectation.expectation_type for expectation in suite.expectations}
    if unknown := sorted({entry["type"] for entry in raw["expectations"]} - known):
        raise BadSuite(f"{path}: no expectation is called {', '.join(map(repr, unknown))}")
    if len(suite.expectations) != len(raw["expectations"]):
        raise BadSuite(f"{path}: {len(raw['expectations'])} expectations, {len(suite.expectations)} loaded")
    return suite


def _read_dates(expectations: list[dict[str, Any]]) -> None:
    """Parse the bounds of date columns, which JSON has as ISO 8601 text: Great Expectations parses only some of it."""
    typed = (entry["kwargs"] for entry in expectations if entry["type"] == "expect_column_values_to_be_of_type")
    dates = {kwargs.get("column") for kwargs in typed if kwargs.get("type_") == DATE}
    date = Column(name="", type=DATE)
    for kwargs in (entry["kwargs"] for entry in expectations if entry["kwargs"].get("column") in dates):
        for end in {"min_value", "max_value"} & kwargs.keys():
            kwargs[end] = date.convert(kwargs[end])
