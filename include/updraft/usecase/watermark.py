"""The `watermark` of a source: the column that says when a row was written or changed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from updraft.usecase.blocks import Part

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def read_duration(value: Any) -> Any:
    """Read a number with a unit, such as 2d or 90m."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no duration; expected a number with s, m, h or d, such as 2d")
    try:
        return timedelta(**{UNITS[match[2]]: float(match[1])})
    except OverflowError:
        raise ValueError(f"{value!r} is longer than a duration can be") from None


Duration = Annotated[timedelta, BeforeValidator(read_duration)]


class Watermark(Part):
    """Read only rows that are new or were changed since the last validated dataset, and add them to its rows by id.

    `column` is the source's name of a column that grows: a time, a number. Rows may come `late`: that much is read
    again each time.
    """

    column: Annotated[str, Field(min_length=1)]
    late: Duration = timedelta(0)
