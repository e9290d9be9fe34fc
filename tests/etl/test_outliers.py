from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from updraft.etl.outliers import handle_outliers
from updraft.etl.schema import Outliers


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([0.0] * 8 + [10.0, 20.0], {"rule": "quantile", "high": 0.75}),
        ([0.0, 1.0] + [20.0] * 8, {"rule": "quantile", "low": 0.5}),
        ([2, 3] * 3, {"rule": "quantile", "low": 0.45, "high": 0.55}),
        ([5.0] * 4, {"rule": "iqr"}),
        ([None, None], {"rule": "iqr"}),
    ],
)
def test_no_rule_wipes_a_column(values: list[Any], rule: dict[str, Any]) -> None:
    column = pa.chunked_array([pa.array(values, pa.int64() if isinstance(values[0], int) else pa.float64())])
    handled = handle_outliers("x", column, Outliers.model_validate({**rule, "then": "clip"}))
    assert handled.values.to_pylist() == values and handled.facts["outliers"] == 0
