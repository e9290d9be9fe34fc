from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from updraft.metrics import METRICS, best_f1_threshold, bootstrap_gain, gain, measure, measure_all

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.random(1000) < 0.2
SCORES = np.clip(0.3 * TRUTH + RANDOM.random(1000) * 0.7, 0, 1)


def test_the_threshold_has_the_best_f1_of_all_thresholds() -> None:
    found = best_f1_threshold(TRUTH, SCORES)
    best = max(f1_score(TRUTH, threshold <= SCORES) for threshold in SCORES)
    assert f1_score(TRUTH, found <= SCORES) == pytest.approx(best)


def test_metrics_with_nothing_called_positive_are_zero_rather_than_an_error() -> None:
    nothing = np.zeros(len(TRUTH), dtype=bool)
    found = measure_all(TRUTH, SCORES, nothing)
    assert (found["f1"], found["precision"], found["recall"]) == (0, 0, 0)
    assert set(found) == set(METRICS)


def test_a_lower_brier_score_is_a_gain() -> None:
    assert gain("brier", 0.1, 0.2) == pytest.approx(0.1)
    assert gain("f1", 0.1, 0.2) == pytest.approx(-0.1)


@pytest.mark.parametrize("name", ["f1", "roc_auc", "brier"])
def test_the_bootstrap_agrees_with_drawing_the_rows_one_by_one(name: str) -> None:
    worse = np.clip(SCORES + RANDOM.normal(0, 0.2, len(SCORES)), 0, 1)
    new, old = (SCORES, SCORES >= 0.45), (worse, worse >= 0.45)
    low, high = bootstrap_gain(name, TRUTH, new, old, seed=1)  # type: ignore[arg-type]
    drawn = []
    for _ in range(500):
        rows = RANDOM.integers(len(TRUTH), size=len(TRUTH))
        drawn.append(gain(name, *(measure(name, TRUTH[rows], s[rows], d[rows]) for s, d in (new, old))))  # type: ignore[arg-type]
    expected = np.quantile(drawn, [0.025, 0.975])
    width = expected[1] - expected[0]
    assert abs(low - expected[0]) < 0.25 * width and abs(high - expected[1]) < 0.25 * width


def test_a_model_against_itself_gains_nothing() -> None:
    same = (SCORES, SCORES >= 0.5)
    assert bootstrap_gain("f1", TRUTH, same, same, seed=0) == (0, 0)
