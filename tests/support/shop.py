"""A small use case, right in all it says, for tests to spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

YAML = """\
title: What sells?
source: {mongodb: {collection: shop}}
target: sold
id: key
categorical: [colour]
labels:
  - {value: 0, name: "no"}
  - {value: 1, name: "yes"}
positive: 1
split: {by: hash}
candidates:
  forest: {estimator: RandomForestClassifier, params: {n_estimators: 10}}
floors: {roc_auc: 0.7}
gate: {metric: f1}
"""
TYPES = {"key": "int64", "colour": "str", "size": "float64", "sold": "int64", "day": "datetime64[us]"}
Write = Callable[..., Path]


def expectation(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs, "severity": "critical"}


def shop_suite() -> list[dict[str, Any]]:
    """Give the suite of the shop: an expectation on each line of its file, the column set on line 2."""
    made = [expectation("table_columns_to_match_set", column_set=list(TYPES), exact_match=True)]
    made += [expectation("column_values_to_be_of_type", column=name, type_=type_) for name, type_ in TYPES.items()]
    made += [expectation("column_values_to_not_be_null", column=name) for name in TYPES]
    return [*made, expectation("column_values_to_be_in_set", column="sold", value_set=[0, 1])]


def write_shop(
    root: Path, *edits: tuple[str, str], suite: list[dict[str, Any]] | None = None, name: str = "shop"
) -> Path:
    """Write the shop's two files below `root`, its YAML edited (old, new), and return the root."""
    text = YAML
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    for folder in ("include/usecases", "expectations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "include/usecases" / f"{name}.yaml").write_text(text)
    lines = ",\n".join(json.dumps(each) for each in suite or shop_suite())
    (root / "expectations" / f"{name}.json").write_text(f'{{"name": "{name}", "expectations": [\n{lines}\n]}}\n')
    return root
