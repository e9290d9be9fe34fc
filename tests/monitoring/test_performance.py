"""Metrics on labels that came later, against what the evaluation promised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.small_cases import SHARED_DATA
from updraft.learning.metrics import bootstrap, measure, measure_all
from updraft.monitoring.performance import Labelled, Performance, measure_performance
from updraft.usecase.blocks import MetricName
from updraft.usecase.monitor_block import PerformanceLimits

LIMITS = PerformanceLimits()
pytestmark = pytest.mark.usefixtures("takes_long")  # each interval is some hundred metrics


def labelled(rows: int, wrong: float, seed: int = 0, **columns: Any) -> Labelled:
    """Return labels of which a share is the opposite of what was decided."""
    random = np.random.default_rng(seed)
    decisions = random.random(rows) < 0.4
    scores = np.where(decisions, 0.8, 0.2) + random.uniform(-0.1, 0.1, rows)
    truth = decisions ^ (random.random(rows) < wrong)
    return Labelled(truth, scores, decisions, {name: pd.Series(values, name=name) for name, values in columns.items()})


def measured(rows: Labelled, promised: Mapping[str, float], metric: MetricName = "accuracy") -> Performance:
    return measure_performance(rows, metric, LIMITS, {"metrics": promised})


@pytest.mark.parametrize("seed", range(5))
def test_labels_as_good_as_the_held_out_rows_are_no_alarm(seed: int) -> None:
    overall = measured(labelled(1000, 0.1, seed), {"accuracy": 0.9}).overall
    assert overall.verdict == "as promised" and overall.loss is not None and abs(overall.loss) < LIMITS.loss


def test_a_loss_is_an_alarm_with_its_size_and_interval() -> None:
    found = measured(labelled(1000, 0.3), {"accuracy": 0.9, "f1": 0.8})
    assert found.overall.verdict == "worse" and found.overall.loss == pytest.approx(0.2, abs=0.05)
    assert "0.9000 promised" in found.overall.reason and "1,000 labels" in found.overall.reason
    assert found.metrics.keys() == {"roc_auc", "pr_auc", "f1", "precision", "recall", "brier", "accuracy"}


def test_neither_a_small_loss_nor_one_that_may_be_chance_is_an_alarm() -> None:
    many = measured(labelled(100_000, 0.12), {"accuracy": 0.9}).overall
    assert many.verdict == "as promised" and many.interval and many.interval[1] < 0.9
    few = labelled(60, 0.0)
    few.truth[:9] = ~few.truth[:9]
    found = measure_performance(few, "accuracy", PerformanceLimits(min_labels=60), {"metrics": {"accuracy": 0.92}})
    assert (found.overall.verdict, found.overall.loss) == ("as promised", pytest.approx(0.07))


def test_few_labels_are_no_evidence() -> None:
    overall = measured(labelled(199, 1.0), {"accuracy": 0.9}).overall
    assert (overall.verdict, overall.reason) == ("not enough labels", "199 labels, 200 are needed")
    assert measured(labelled(0, 0.0), {"accuracy": 0.9}).overall.verdict == "not enough labels"


def test_one_label_alone_leaves_a_ranking_undefined() -> None:
    rows = labelled(500, 0.0)
    alike = Labelled(np.ones(500, dtype=bool), rows.scores, rows.decisions, {})
    assert measured(alike, {"roc_auc": 0.9}, "roc_auc").overall.verdict == "not defined"
    assert measured(alike, {"f1": 0.9}, "f1").overall.verdict == "worse"


def test_an_error_is_worse_when_it_grows() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(0, 1, 1000)
    guesses = truth + random.normal(0, 0.5, 1000)
    rows = Labelled(truth, guesses, guesses, {})
    assert measured(rows, {"rmse": 0.2}, "rmse").overall.verdict == "worse"
    assert measured(rows, {"rmse": 0.5}, "rmse").overall.verdict == "as promised"
    assert measured(rows, {"rmse": 0.9}, "rmse").overall.verdict == "as promised"


def test_of_many_labels_the_likeliest_counts() -> None:
    random = np.random.default_rng(0)
    scores = random.dirichlet([1, 1, 1], 900)
    truth = scores.argmax(axis=1)
    truth[:300] = (truth[:300] + 1) % 3
    found = measured(Labelled(truth, scores, scores.argmax(axis=1), {}), {"f1_macro": 0.9}, "f1_macro")
    assert found.overall.verdict == "worse" and found.metrics["accuracy"] == pytest.approx(2 / 3, abs=1e-4)


def test_slices_are_measured_against_the_same_slices_of_the_evaluation() -> None:
    good, bad = labelled(1000, 0.05), labelled(400, 0.5, seed=1)
    both = Labelled(
        *(np.concatenate(pair) for pair in zip(
            (good.truth, good.scores, good.decisions), (bad.truth, bad.scores, bad.decisions), strict=True
        )),
        {"city": pd.Series(["Oslo"] * 1000 + ["Rome"] * 400, name="city")},
    )  # fmt: skip
    slices = {"city": {"Oslo": {"metrics": {"accuracy": 0.95}}, "Rome": {"metrics": {"accuracy": 0.9}}}, "age": {}}
    found = measure_performance(both, "accuracy", LIMITS, {"metrics": {"accuracy": 0.85}, "slices": slices})
    assert {value: each.verdict for value, each in found.slices["city"].items()} == {
        "Oslo": "as promised",
        "Rome": "worse",
    }
    assert found.left_out == {"age": "it is not known of these rows"}
    assert measure_performance(both, "accuracy", LIMITS, {}).overall.verdict == "nothing promised"


def test_the_interval_holds_the_metric_and_narrows_with_more_labels() -> None:
    widths = []
    for rows in (100, 1000, 10000):
        each = labelled(rows, 0.2)
        low, high = bootstrap("f1", each.truth, each.scores, each.decisions, seed=1)
        assert low < measure("f1", each.truth, each.scores, each.decisions) < high
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2]


def test_houses_elsewhere_are_predicted_worse_and_those_of_the_reference_are_not(shared_data: None) -> None:
    then, now = (pd.read_csv(SHARED_DATA / "drift" / f"california_{part}.csv") for part in ("reference", "analysis"))
    parts = [then.iloc[0::2], then.iloc[1::2], now]
    held_out, same, other = (
        Labelled(part["clf_target"].to_numpy(bool), part["y_pred_proba"].to_numpy(), part["y_pred"].to_numpy(bool), {})
        for part in parts
    )
    names: tuple[MetricName, ...] = ("roc_auc", "f1")
    promised = dict(measure_all(names, held_out.truth, held_out.scores, held_out.decisions))
    assert measured(same, promised, "roc_auc").overall.verdict == "as promised"
    found = measured(other, promised, "roc_auc").overall
    assert found.verdict == "worse" and found.loss and 0.05 <= found.loss < 0.09, found.reason
