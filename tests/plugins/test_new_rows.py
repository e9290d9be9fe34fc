from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("count", "waited", "rows", "hours", "expected"),
    [
        (1099, 0, 100, None, False),
        (1100, 0, 100, None, True),
        (1001, 23.9, None, 24, False),
        (1001, 24.1, None, 24, True),
        (1000, 100, None, 24, False),  # nothing is new
        (1001, 24.1, 5000, 24, True),
        (6000, 0.1, 5000, 24, True),
        (900, 100, 1, 1, False),
    ],
)
def test_training_is_due(
    starts_airflow: None, count: int, waited: float, rows: int | None, hours: float | None, expected: bool
) -> None:
    from new_rows import due

    at = datetime.now(UTC) - timedelta(hours=waited)
    assert due(count - 1000, at.isoformat(), rows, hours) is expected


@pytest.mark.parametrize("name", ["NewRows", "NewPredictions"])
def test_airflow_restores_the_trigger_from_what_it_stores(starts_airflow: None, name: str) -> None:
    from airflow.sdk.module_loading import import_string

    import new_rows

    kind = getattr(new_rows, name)
    trigger = kind("shop", 5, None, 2.5)
    path, arguments = trigger.serialize()
    restored: Any = import_string(path)(**arguments)
    assert type(restored) is kind and restored.serialize() == trigger.serialize()
