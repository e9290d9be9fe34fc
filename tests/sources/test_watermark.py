from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from updraft.sources.source import BadSource
from updraft.sources.watermark import Greatest
from updraft.usecase.watermark import Watermark


def position(*values: Any) -> Any:
    greatest = Greatest(Watermark(column="at"), None)
    for value in values:
        greatest.add([value], "the table")
    return (greatest.position() or {}).get("watermark")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((1, math.inf, math.nan, 2.5), 2.5),
        ((Decimal("NaN"), Decimal("Infinity"), Decimal(7)), 7),
        (("2026-01-01", "n/a", "2026-01-02"), "2026-01-02"),
        (("2026-01-01", "9999-12-31"), "2026-01-01"),
        (("2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"), "2026-01-01T11:00:00Z"),
        (("n/a", None), None),
    ],
)
def test_what_has_no_order_is_passed_over(values: tuple[Any, ...], expected: Any) -> None:
    assert position(*values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ("2026-01-01T10:00:00", "2026-01-01 11:00:00"),
        ("2026-01-01T10:00:00+01:00", "2026-01-01T11:00:00+02:00"),
        (1, "2026-01-01"),
    ],
)
def test_texts_in_several_formats_are_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(BadSource, match="expected only numbers, only dates, or texts in one format of ISO 8601"):
        position(*values)
