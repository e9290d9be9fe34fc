from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from updraft.learning.metrics import METRICS, NoThreshold, bootstrap_gain, find_threshold, gain, measure, measure_all
from updraft.usecase.blocks import METRICS_OF, MetricName, Threshold

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.random(1000) < 0.2
SCORES = np.clip(0.3 * TRUTH + RANDOM.random(1000) * 0.7, 0, 1).round(2)
CANDIDATES = [*np.unique(SCORES), np.nextafter(SCORES.max(), np.inf)]


def test_every_metric_of_every_task_is_there() -> None:
    assert set(itertools.chain.from_iterable(METRICS_OF.values())) == set(METRICS)


def test_best_f1_has_the_best_f1_of_all_thresholds() -> None:
    found = find_threshold(Threshold(), TRUTH, SCORES)
    best = max(f1_score(TRUTH, threshold <= SCORES) for threshold in CANDIDATES)
    assert f1_score(TRUTH, found <= SCORES) == pytest.approx(best)


@pytest.mark.parametrize(
    ("rule", "kept", "other"), [("precision", precision_score, recall_score), ("recall", recall_score, precision_score)]
)
def test_a_target_is_kept_with_the_best_of_the_other(rule: str, kept: object, other: object) -> None:
    found = find_threshold(Threshold(rule=rule, at_least=0.6), TRUTH, SCORES)  # type: ignore[arg-type]
    decided = found <= SCORES
    assert kept(TRUTH, decided) >= 0.6  # type: ignore[operator]
    allowed = [t for t in CANDIDATES[:-1] if kept(TRUTH, t <= SCORES) >= 0.6]  # type: ignore[operator]
    assert other(TRUTH, decided) == pytest.approx(max(other(TRUTH, t <= SCORES) for t in allowed))  # type: ignore[operator]


def test_a_target_out_of_reach_is_refused_with_what_is_in_reach() -> None:
    with pytest.raises(NoThreshold, match=r"no precision of 0.999 on the training rows, 0\.\d+ at most"):
        find_threshold(Threshold(rule="precision", at_least=0.999), TRUTH, RANDOM.random(1000))


@pytest.mark.parametrize(("false_positive", "false_negative"), [(1, 1), (1, 10), (10, 1), (1000, 1)])
def test_the_cost_is_the_least_of_all_thresholds(false_positive: float, false_negative: float) -> None:
    def cost(threshold: float) -> float:
        (_, fp), (fn, _) = confusion_matrix(TRUTH, threshold <= SCORES)
        return float(fp * false_positive + fn * false_negative)

    rule = Threshold(rule="cost", false_positive=false_positive, false_negative=false_negative)
    assert cost(find_threshold(rule, TRUTH, SCORES)) == min(cost(threshold) for threshold in CANDIDATES)


def test_metrics_with_nothing_called_positive_are_zero_rather_than_an_error() -> None:
    nothing = np.zeros(len(TRUTH), dtype=bool)
    found = measure_all(METRICS_OF["binary"], TRUTH, SCORES, nothing)
    assert (found["f1"], found["precision"], found["recall"]) == (0, 0, 0)
    assert set(found) == set(METRICS_OF["binary"])


def test_rows_of_one_label_have_no_ranking_metrics() -> None:
    ones = np.ones(50, dtype=bool)
    assert set(METRICS_OF["binary"]) - set(measure_all(METRICS_OF["binary"], ones, SCORES[:50], ones)) == {
        "roc_auc",
        "pr_auc",
    }


def test_a_lower_error_is_a_gain() -> None:
    assert gain("brier", 0.1, 0.2) == pytest.approx(0.1)
    assert gain("rmse", 2.0, 1.5) == pytest.approx(-0.5)
    assert gain("f1", 0.1, 0.2) == pytest.approx(-0.1)


def shares(sharpness: float) -> np.ndarray:
    raw = RANDOM.random((800, 3)) + sharpness * np.eye(3)[LABELS]
    return raw / raw.sum(axis=1, keepdims=True)


LABELS = RANDOM.integers(3, size=800)
SHARP, DULL = shares(0.6), shares(0.3)
NUMBERS = RANDOM.normal(10, 3, 800)
NEAR, FAR = NUMBERS + RANDOM.normal(0, 1, 800), NUMBERS + RANDOM.normal(0, 1.2, 800)
WORSE = np.clip(SCORES + RANDOM.normal(0, 0.2, len(SCORES)), 0, 1)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize(
    ("name", "truth", "new", "old"),
    [
        ("f1", TRUTH, (SCORES, SCORES >= 0.45), (WORSE, WORSE >= 0.45)),
        ("roc_auc", TRUTH, (SCORES, SCORES >= 0.45), (WORSE, WORSE >= 0.45)),
        ("f1_macro", LABELS, (SHARP, SHARP.argmax(1)), (DULL, DULL.argmax(1))),
        ("log_loss", LABELS, (SHARP, SHARP.argmax(1)), (DULL, DULL.argmax(1))),
        ("r2", NUMBERS, (NEAR, NEAR), (FAR, FAR)),
        ("mape", NUMBERS, (NEAR, NEAR), (FAR, FAR)),
    ],
)
def test_the_bootstrap_agrees_with_drawing_the_rows_one_by_one(
    name: MetricName,
    truth: np.ndarray,
    new: tuple[np.ndarray, np.ndarray],
    old: tuple[np.ndarray, np.ndarray],
) -> None:
    low, high = bootstrap_gain(name, truth, new, old, seed=1)
    drawn = []
    for _ in range(200):
        rows = RANDOM.integers(len(truth), size=len(truth))
        drawn.append(gain(name, *(measure(name, truth[rows], s[rows], d[rows]) for s, d in (new, old))))
    expected = np.quantile(drawn, [0.025, 0.975])
    width = expected[1] - expected[0]
    assert abs(low - expected[0]) < 0.35 * width and abs(high - expected[1]) < 0.35 * width


@pytest.mark.usefixtures("takes_long")
def test_a_model_against_itself_gains_nothing() -> None:
    same = (SCORES, SCORES >= 0.5)
    assert bootstrap_gain("f1", TRUTH, same, same, seed=0) == (0, 0)


def test_a_share_of_the_truth_is_not_defined_where_the_truth_is_zero() -> None:
    truth = np.where(np.arange(800) == 5, 0.0, NUMBERS)
    assert "mape" not in measure_all(METRICS_OF["regression"], truth, NEAR, NEAR)
    assert "mape" in measure_all(METRICS_OF["regression"], NUMBERS, NEAR, NEAR)
