"""Exact sums of floating-point numbers in SQLite: what is added and later taken away leaves no trace.

Every float64 is a fraction, and a sum of fractions is exact. It is stored as text, such as 5/4.
"""

from __future__ import annotations

import sqlite3
from fractions import Fraction


def exact_error(prediction: float, truth: float) -> Fraction:
    """Return the absolute error of a prediction."""
    return abs(Fraction(prediction) - Fraction(truth))


def add_functions(connection: sqlite3.Connection) -> None:
    """Give a connection the functions exact_add(sum, number), and exact_sum(sum) over rows."""
    connection.create_function("exact_add", 2, _add, deterministic=True)
    connection.create_aggregate("exact_sum", 1, _Sum)  # type: ignore[arg-type]  # typeshed asks for int results


def mean(total: str, count: int) -> float | None:
    """Return the mean of an exact sum; None when a float64 cannot hold it."""
    try:
        return float(Fraction(total) / count)
    except OverflowError:
        return None


def _add(total: str, number: str) -> str:
    return str(Fraction(total) + Fraction(number))


class _Sum:
    def __init__(self) -> None:
        self._total = Fraction()

    def step(self, total: str) -> None:
        self._total += Fraction(total)

    def finalize(self) -> str:
        return str(self._total)
