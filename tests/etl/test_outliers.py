from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from updraft.etl.outliers import Bounds, find_bounds, handle_outliers
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
    bounds = find_bounds("x", column, Outliers.model_validate({**rule, "then": "clip"}))
    assert bounds == Bounds(-math.inf, math.inf)
    assert not any(bounds.outside(column).to_pylist()) and bounds.clip(column).to_pylist() == values


def test_clipping_on_one_side_leaves_large_integers_exact() -> None:
    column = pa.chunked_array([pa.array([2**53 + 1, None, *range(10)], pa.int64())])
    rule = Outliers.model_validate({"rule": "quantile", "low": 0.3, "then": "clip"})
    bounds = find_bounds("x", column, rule)
    handled = handle_outliers(column, bounds.outside(column), bounds, rule)
    assert handled.to_pylist() == [2**53 + 1, None, 3, 3, 3, *range(3, 10)]
