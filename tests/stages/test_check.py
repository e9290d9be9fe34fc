"""`updraft check`: what scikit-learn and Great Expectations would say, before anything runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.shop import Write, expectation, shop_suite, write_shop
from updraft.stages.check import check, require_valid, unread_files
from updraft.usecase import paths

FOREST = "estimator: RandomForestClassifier, params: {n_estimators: 10}"


@pytest.fixture
def shop(tmp_path: Path) -> Write:
    """Give a function that writes a small use case, its YAML edited, and returns the root."""
    return partial(write_shop, tmp_path)


def told(root: Path) -> list[str]:
    return [fault.format(root) for fault in check("shop", root)]


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_nothing_is_wrong_with_a_shipped_use_case(path: Path) -> None:
    assert check(path.stem) == []


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            "estimator: RandomForestClassifier, params: {n_estimatorz: 10}",
            "params.n_estimatorz: RandomForestClassifier has no such parameter (did you mean 'n_estimators'?)",
        ),
        (
            "estimator: RandomForestClassifier, params: {max_depth: -3}",
            "params.max_depth: The 'max_depth' parameter of RandomForestClassifier must be an int in the range "
            "[1, inf) or None. Got -3 instead.",
        ),
        (
            "estimator: LinearSVC, search: {grid: {C: [1, many]}}",
            "search.grid.C: The 'C' parameter of LinearSVC must be a float in the range (0.0, inf). "
            "Got 'many' instead.",
        ),
        (
            "estimator: MultinomialNB, search: {grid: {depth: [1]}}",
            "search.grid.depth: MultinomialNB has no such parameter; there are: alpha, class_prior, fit_prior, "
            "force_alpha",
        ),
    ],
)
def test_a_parameter_that_the_estimator_does_not_take_is_told(shop: Write, new: str, message: str) -> None:
    root = shop((FOREST, new))
    assert told(root) == [f"include/usecases/shop.yaml:12: candidates.forest.{message}"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            expectation("column_values_to_be_betwen", column="size", min_value=0),
            "no expectation is called 'expect_column_values_to_be_betwen' "
            "(did you mean 'expect_column_values_to_be_between'?)",
        ),
        (
            expectation("column_values_to_be_between", column="size", min_value=0, max_valu=1),
            "expect_column_values_to_be_between: max_valu: extra fields not permitted",
        ),
        (expectation("column_values_to_be_in_set", column="colour"), "expect_column_values_to_be_in_set: value_set: "),
    ],
)
def test_an_expectation_that_great_expectations_refuses_is_told_with_its_line(
    shop: Write, entry: dict[str, Any], message: str
) -> None:
    suite = [*shop_suite(), entry | {"severity": "warning"}]
    (line,) = told(shop(suite=suite))
    assert line.startswith(f"expectations/shop.json:{len(suite) + 1}: {message}")


def test_faults_of_all_kinds_are_told_together(shop: Write) -> None:
    suite = [*shop_suite(), expectation("column_to_be", column="size")]
    root = shop(("id: key", "id: kee"), ("roc_auc", "auc"), ("n_estimators", "n_trees"), suite=suite)
    assert [line.split(" ")[0] for line in told(root)] == [
        "include/usecases/shop.yaml:4:",
        "include/usecases/shop.yaml:12:",
        "include/usecases/shop.yaml:13:",
        "expectations/shop.json:14:",
    ]


def test_files_that_nobody_reads_are_told(shop: Write) -> None:
    root = shop()
    (root / "include/usecases/other.yml").write_text("")
    assert [fault.format(root) for fault in unread_files(root)] == [
        "include/usecases/other.yml: not read: the name must end in .yaml"
    ]


def test_an_etl_of_the_schedule_that_does_not_exist_is_named(shop: Write) -> None:
    root = shop(("target: sold", "schedule: {cron: 0 5 * * 1, after: [etl_shopp, etl_shop]}\ntarget: sold"))
    (root / "include/etl").mkdir()
    (root / "include/etl/shop.yaml").write_text("")
    assert told(root) == ["include/usecases/shop.yaml:3: schedule.after: no ETL 'etl_shopp' (did you mean 'etl_shop'?)"]
    (root / "include/etl/shop.yaml").unlink()
    assert [line.rpartition(": ")[2] for line in told(root)] == ["none", "none"]
    require_valid("shop", root)  # of a run that began while it existed
