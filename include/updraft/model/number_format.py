"""Numbers as people write them, in messages and on pages."""

from __future__ import annotations

from decimal import Decimal

GROUPED = 10_000  # numbers from here on have thousands separators: a year has none
EXPONENT_FROM, EXPONENT_BELOW = 1e15, 1e-9  # what is larger or smaller is easier to read with a power of ten


def format_number(value: float) -> str:
    """Format a number for humans: thousands separators, at most six significant digits for fractions."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < EXPONENT_FROM):
        return f"{int(value):,}" if abs(value) >= GROUPED else str(int(value))
    if 1e6 <= abs(value) < EXPONENT_FROM:
        return f"{value:,.2f}"
    text = f"{value:,.6g}"
    return f"{Decimal(text):f}" if EXPONENT_BELOW <= abs(value) < 1e-4 else text


def format_metric(value: float) -> str:
    """Format a metric, so that metrics of one size can be compared: four decimals below 10, fewer above."""
    if EXPONENT_BELOW <= value < 0.001:  # the error of a tiny target
        return f"{Decimal(f'{value:.3g}'):f}"
    return f"{value:z,.{_decimals(abs(value))}f}"


def format_difference(value: float) -> str:
    """Format by how much two metrics differ: with its sign, and decimals as metrics of its size; zero has no sign."""
    text = f"{value:+z,.{_decimals(abs(value))}f}"
    return text.removeprefix("+") if not text.strip("+0.") else text


def _decimals(size: float) -> int:
    return 4 if size < 10 else 3 if size < 100 else 1 if size < 10_000 else 0


def format_hours(hours: float) -> str:
    """Format a time in hours, such as "1 hour" and "0.5 hours"."""
    return f"{hours:g} hour{'' if hours == 1 else 's'}"


def format_value(value: object) -> str:
    """Format a number by `format_number`, and what is none as `str` does."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return format_number(value)
