from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import pytest

from updraft.model.casts import CASTS, Cast, apply, dated


def test_every_cast_that_a_yaml_may_name_is_there_and_says_what_it_does() -> None:
    assert set(CASTS) == set(get_args(Cast))
    assert all(rule.__doc__ for rule in CASTS.values())


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("23.4 kmpl", 23.4),
        ("1248 CC", 1248),
        ("74bhp", 74),
        ("£8,000", 8000),
        (" £13,400 ", 13400),
        ("USD 1,234,567.89", 1234567.89),
        ("12", 12),
        (".5 l", 0.5),
        ("5 %", 5),
        ("-£5", -5),
        ("£-5.5", -5.5),
        ("- 3 °C", -3),
        ("1e3", 1000.0),
        ("about 7.", 7),
        ("", None),
        ("  ", None),
    ],
)
def test_the_one_number_in_a_text_is_read(text: str, number: float | None) -> None:
    found = apply(["number_from_text"], text)
    assert (found, type(found)) == (number, type(number))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("190Nm@ 2000rpm", "holds 2 numbers"),
        (" bhp", "holds no number"),
        ("n/a", "holds no number"),
        ("1,5", "is not plainly a number"),
        ("1.234,5", "is not plainly a number"),
        ("12.05.2019", "is not plainly a number"),
        ("12,34,567", "is not plainly a number"),
        ("1 234", "holds 2 numbers"),
        ("(£500)", "is not plainly a number"),
        ("£5k", "counts in 'k'"),
        ("2 lakh", "counts in 'lakh'"),
        ("model-5", "may be negative or not"),
        ("\u0665", "is not plainly a number"),
    ],
)
def test_a_text_that_is_not_plainly_one_number_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refusal:
        apply(["number_from_text"], text)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("rules", "value", "found"),
    [
        (["strip"], " a b ", "a b"),
        (["strip"], " \t", None),
        (["strip", "lower"], " Ford", "ford"),
        (["strip", "lower"], " ", None),
        (["boolean_from_text"], " YES", True),
        (["boolean_from_text"], "0", False),
        (["boolean_from_text"], "", None),
        (["number_from_text"], 8000.0, 8000.0),
        (["boolean_from_text"], True, True),
        (["strip"], None, None),
    ],
)
def test_text_is_cast_and_every_other_value_is_left_alone(rules: list[Cast], value: Any, found: Any) -> None:
    assert apply(rules, value) is found or apply(rules, value) == found


def test_a_date_is_read_by_its_pattern() -> None:
    assert dated("%d/%m/%Y", " 31/01/2026 ") == datetime(2026, 1, 31)
    assert dated("%d/%m/%Y", "") is None
    assert dated("%d/%m/%Y", datetime(2026, 1, 31)) == datetime(2026, 1, 31)
    with pytest.raises(ValueError, match="'2026-01-31' is not a date like %d/%m/%Y"):
        dated("%d/%m/%Y", "2026-01-31")
    assert dated("%d/%m/%Y", "2026-01-31", or_iso=True) == "2026-01-31"
    assert dated("%Y-%d-%m", "2026-02-01T00:00:00", or_iso=True) == "2026-02-01T00:00:00"
    with pytest.raises(ValueError, match="'2026-01-31' is not a date like %Y-%d-%m"):
        dated("%Y-%d-%m", "2026-01-31", or_iso=True)
