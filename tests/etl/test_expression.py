"""Expressions of derived columns: what they compute, and what is refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from updraft.etl.compute import FUNCTIONS, compute, compute_by_row
from updraft.etl.expression import ARITIES, LONGEST, BadExpression, parse_expression

DAYS = pa.array([datetime(2024, 2, 29, 13), None, datetime(2025, 1, 1)], pa.timestamp("us"))
TABLE = pa.table({
    "a": pa.array([1, None, 2**62]), "b": [1.5, 2.0, None], "s": ["x", " Y", None], "odd name": [1, 2, 3], "d": DAYS,
})  # fmt: skip


def values(text: str) -> list[Any]:
    result: list[Any] = compute(parse_expression(text, TABLE.column_names), TABLE).to_pylist()
    return result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + 1", [2, None, 2**62 + 1]),
        ("`odd name` / 2", [0.5, 1.0, 1.5]),
        ("b ** 2 - 1", [1.25, 3.0, None]),
        ("-b", [-1.5, -2.0, None]),
        ("s in ('x', 'z')", [True, False, None]),
        ("`odd name` not in (1, 3)", [False, True, False]),
        ("where(b > 1.6, 'much', 'little')", ["little", "much", None]),
        ("not (b > 1.6) or s == 'x'", [True, False, None]),
        ("b > 1 and is_null(a)", [False, True, False]),
        ("min(b, `odd name`)", [1.0, 2.0, None]),
        ("max(coalesce(b, 0), 1.7)", [1.7, 2.0, 1.7]),
        ("lower(trim(s)) + '!'", ["x!", "y!", None]),
        ("round(b / 7, 2)", [0.21, 0.29, None]),
        ("int(floor(b))", [1, 2, None]),
        ("year(d) * 100 + month(d)", [202402, None, 202501]),
        ("days_between(d, d)", [0.0, None, 0.0]),
        ("starts_with(s, 'x')", [True, False, None]),
        ("'same'", ["same"] * 3),
    ],
)
def test_it_computes(text: str, expected: list[Any]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a * 4", "overflow"),
        ("s + 1", "no kernel"),
        ("int(b)", "truncated"),
        ("where(a, 1, 2)", "no kernel"),
        ("a in (1, 'x')", "'x'"),
    ],
)
def test_values_that_do_not_go_together_are_an_error_and_no_other_value(text: str, message: str) -> None:
    with pytest.raises(BadExpression, match=message):
        values(text)


@pytest.mark.parametrize(
    ("text", "expected", "failed"),
    [
        ("a * 4", [4, None, None], [2]),
        ("int(b)", [None, 2, None], [0]),
        ("int(s)", [None, None, None], [0, 1]),
        ("int('7')", [7, 7, 7], []),
    ],
)
def test_by_row_it_says_which_rows_have_no_result(text: str, expected: list[Any], failed: list[int]) -> None:
    found, indices = compute_by_row(parse_expression(text, TABLE.column_names), TABLE)
    assert (found.to_pylist(), indices) == (expected, failed)
    with pytest.raises(BadExpression, match="no kernel"):
        compute_by_row(parse_expression("s + 1"), TABLE)
    assert compute_by_row(parse_expression(text), TABLE.slice(0, 0))[0].to_pylist() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.__class__", "is not allowed"),
        ("__import__('os')", "no function '__import__'"),
        ("(lambda: 1)()", "is not allowed"),
        ("[x for x in b]", "is not allowed"),
        ("s[0]", "is not allowed"),
        ("f'{a}'", "is not allowed"),
        ("b if a else 1", "is not allowed"),
        ("a < b < 3", "is not allowed"),
        ("s in b", "in brackets"),
        ("round(b, a)", "whole number"),
        ("contains(s, s)", "a text"),
        ("sqrt(a, b)", "takes 1 arguments, found 2"),
        ("where(a, b, c=1)", "is not allowed"),
        ("a +", "not an expression"),
        ("", "not an expression"),
        ("a\0", "not an expression"),
        ("(" * 900 + "a" + ")" * 900, "not an expression"),
        ("-" * 900 + "a", "nested deeper"),
        ("a" * (LONGEST + 1), "characters"),
    ],
)
def test_what_is_not_on_the_white_list_is_refused_before_a_row_is_read(text: str, message: str) -> None:
    with pytest.raises(BadExpression, match=message):
        parse_expression(text)


def test_a_long_sum_is_not_nested() -> None:
    assert values(" + ".join(["b"] * 300)) == [450.0, 600.0, None]
    assert values(" - ".join(["b"] * 41)) == [-58.5, -78.0, None]
    assert values("b / 2 / 2 * 4 - b + b ** 1") == [1.5, 2.0, None]


def test_it_names_its_columns() -> None:
    assert parse_expression("min(a, `odd name`) + a").names == ["a", "odd name"]


def test_each_function_is_computed_and_its_arguments_are_counted() -> None:
    assert FUNCTIONS.keys() == ARITIES.keys()


def test_a_backtick_in_a_text_is_a_backtick() -> None:
    table = pa.table({"t": ["xa`b`c", "x"]})
    expression = parse_expression('where(contains(t, "a`b`c"), "yes", \'no`\')', table.column_names)
    assert compute(expression, table).to_pylist() == ["yes", "no`"] and expression.names == ["t"]


def test_a_name_that_python_would_read_as_another_stands_in_backticks() -> None:
    table = pa.table({"find": [1], "\ufb01nd": [2]})
    with pytest.raises(BadExpression, match="expected it in backticks"):
        parse_expression("\ufb01nd + 0", table.column_names)
    assert compute(parse_expression("`\ufb01nd` + 0", table.column_names), table).to_pylist() == [2]


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(BadExpression, match="half of a surrogate pair"):
        parse_expression(r'a == "\ud800"', ["a"])
