"""A column that grows: where a read begins, and the greatest value that it has seen."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from updraft.sources.source import BadSource
from updraft.usecase.watermark import Watermark

KEY = "watermark"
OFFSET = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
CLOCKS_DIFFER = timedelta(minutes=5)


class Greatest:
    """The greatest value of a watermark's column, from a former read's position on.

    What has no order is passed over, for it would keep out all later rows: what is not finite, and texts that are no
    date of ISO 8601, or one of the future.
    """

    def __init__(self, settings: Watermark, position: Mapping[str, Any] | None) -> None:
        self._settings = settings
        self.former: Any = (position or {}).get(KEY)
        self._value: Any = None

    def add(self, values: Iterable[Any], place: str) -> None:
        """Take the values of further rows into account; raise BadSource where they have no order."""
        known = [value for value in values if value is not None and _has_order(value)]
        try:
            if len({_spelling(value) for value in known} | {_spelling(self._value)} - {None}) > 1:
                raise TypeError("texts of several formats")
            self._value = max(known if self._value is None else [*known, self._value], default=None)
            _as_json(self._value)
        except TypeError:
            column = self._settings.column
            raise BadSource(
                f"{place}: watermark {column!r}: expected only numbers, only dates, or texts in one format of ISO 8601"
            ) from None

    def start(self, example: Any, place: str) -> Any:
        """Return the value that a read begins at, in the type of a value of the column; None where it takes all rows.

        Raises BadSource where `late` is said of anything but dates, or the former value is none of the column's type.
        """
        column, late = self._settings.column, self._settings.late
        if late and not isinstance(example, date | None):
            raise BadSource(
                f"{place}: watermark {column!r}: late is for dates, the column holds {type(example).__name__}"
            )
        if self.former is None or example is None:
            return None
        try:
            former = _of_type(self.former, example)
        except (TypeError, ValueError, ArithmeticError):
            raise BadSource(
                f"{place}: watermark {column!r}: the last read ended at {self.former!r}, which is none of "
                f"the column's {type(example).__name__} values; has it another type now?"
            ) from None
        if not late:
            return former
        return former - (late if isinstance(former, datetime) else timedelta(days=-(-late // timedelta(days=1))))

    def position(self) -> dict[str, Any] | None:
        """Return the greatest value, as JSON has it; a former read's where there was no greater one.

        A date in the future counts as now: it would keep out all rows that come before it.
        """
        greatest = _not_after_now(self._value)
        value = _as_json(greatest)
        if value is None or (self.former is not None and _of_type(self.former, greatest) > greatest):
            value = self.former
        return None if value is None else {KEY: value}


def _has_order(value: Any) -> bool:
    if isinstance(value, float | Decimal):
        return math.isfinite(value)
    if not isinstance(value, str):
        return True
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return False
    return bool(found == _not_after_now(found))


def _spelling(value: Any) -> str | None:
    """Return the format of a text, in which texts have the order of their dates: its offset from UTC is part of it."""
    if not isinstance(value, str):
        return None
    offset = OFFSET.search(value) if ":" in value else None
    clock = value[: offset.start()] if offset else value
    return re.sub(r"\d", "9", clock) + (offset[0] if offset else "")


def _not_after_now(value: Any) -> Any:
    if isinstance(value, datetime):
        now = datetime.now(value.tzinfo or UTC) + CLOCKS_DIFFER
        return min(value, now if value.tzinfo else now.replace(tzinfo=None))
    return min(value, datetime.now(UTC).date()) if isinstance(value, date) else value


def _as_json(value: Any) -> int | float | str | None:
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _of_type(former: Any, example: Any) -> Any:
    if isinstance(example, datetime):
        found = datetime.fromisoformat(former)
        return found.replace(tzinfo=found.tzinfo or example.tzinfo) if example.tzinfo else found.replace(tzinfo=None)
    if isinstance(example, date):
        return date.fromisoformat(former[:10])
    if isinstance(example, Decimal | int | float) and not isinstance(example, bool):
        number = Decimal(str(former))
        return number if isinstance(example, Decimal) else type(example)(number)
    if isinstance(example, str) and isinstance(former, str):
        return former
    raise TypeError(type(former).__name__)
