from __future__ import annotations

import pytest

from tests.support.small_cases import real
from updraft.model.number_format import format_difference, format_metric, format_number, format_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (2026, "2026"), (2026.0, "2026"), (10_000, "10,000"), (1e6, "1,000,000"),
        (-2_500_000.0, "-2,500,000"), (1234567.25, "1,234,567.25"), (12345.678, "12,345.7"), (0.123456789, "0.123457"),
        (0.00001, "0.00001"), (-0.0000251, "-0.0000251"), (1e-12, "1e-12"), (1e38, "1e+38"),
        (10**17 + 1, "100,000,000,000,000,001"),
    ],
)  # fmt: skip
def test_a_number_is_written_plainly(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.00004, "0.0000"),
        (0.00004, "0.0000"),
        (0.0, "0.0000"),
        (-0.00006, "-0.0001"),
        (0.25, "+0.2500"),
        (-1234.56, "-1,234.6"),
    ],
)
def test_a_difference_that_rounds_to_zero_has_no_sign(value: float, text: str) -> None:
    assert format_difference(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.58, "0.5800"), (1.0, "1.0000"), (0.0, "0.0000"), (-1e-17, "0.0000"), (0.000123456, "0.000123"),
        (0.0646, "0.0646"), (12.34567, "12.346"), (4950.5678, "4,950.6"), (49505.678, "49,506"), (-3.5, "-3.5000"),
    ],
)  # fmt: skip
def test_metrics_of_one_size_have_the_same_decimals(value: float, text: str) -> None:
    assert format_metric(value) == text


@pytest.mark.parametrize(("value", "text"), [(1e6, "1,000,000"), (True, "True"), ("x", "x"), ([1, 2], "[1, 2]")])
def test_what_is_no_number_stays_as_it_is(value: object, text: str) -> None:
    assert format_value(value) == text


def test_a_bound_in_an_error_is_written_plainly() -> None:
    violations = real("price", minimum=0, maximum=1_000_000).violations(1_500_000.0)
    assert [str(each) for each in violations] == ["1500000.0 is not between 0 and 1,000,000"]
