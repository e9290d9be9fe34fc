"""How far predictions lie apart: against scipy, by chance, and for models that are retrained or broken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import wasserstein_distance
from sklearn.ensemble import HistGradientBoostingClassifier

from updraft.demo.rows import generate
from updraft.monitoring.distribution import Floats, apart
from updraft.stages.monitor.rollout import MAX_APART
from updraft.usecase import load

Draw = Callable[[np.random.Generator, int], Floats]
DRAWS: dict[str, Draw] = {
    "normal": lambda random, rows: random.normal(size=rows),
    "skewed": lambda random, rows: random.exponential(size=rows),
    "rare": lambda random, rows: random.beta(0.2, 1.5, size=rows),
    "labels": lambda random, rows: random.integers(0, 3, size=rows).astype("float64"),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("rows", [(300, 300), (150, 5000)])
def test_the_distance_is_scipys_and_by_chance_it_is_what_samples_of_one_distribution_have(
    name: str, rows: tuple[int, int]
) -> None:
    random = np.random.default_rng(7)
    found = []
    for _ in range(200):
        before, now = (DRAWS[name](random, count) for count in rows)
        distance, chance = apart(before, now)
        assert distance == pytest.approx(wasserstein_distance(before, now) / before.std())
        found.append((distance, chance))
    mean, chance = np.mean(found, axis=0)
    assert mean == pytest.approx(chance, rel=0.15)


def test_constant_predictions_are_no_division_by_zero() -> None:
    ones = np.ones(3)
    assert apart(ones, np.ones(5)) == (0.0, 0.0)
    assert apart(ones, np.zeros(5)) == (np.inf, 0.0)
    distance, chance = apart(np.array([0.0, 1.0]), ones)
    assert (distance, chance > 0) == (1.0, True)


def test_a_model_that_is_trained_on_other_rows_is_near_and_a_broken_one_is_not() -> None:
    """With 12 % positives most probabilities are near 0, where any two models order them differently."""
    case = load("vehicle_insurance")
    rows = generate(case, 9200, seed=4)
    features = rows[case.feature_names].apply(lambda column: column.astype("category").cat.codes)
    halves = [slice(0, 4000), slice(4000, 8000)]
    models = [
        HistGradientBoostingClassifier(max_iter=100, learning_rate=0.06, min_samples_leaf=50, random_state=0).fit(
            features[half], rows[case.target][half]
        )
        for half in halves
    ]
    old, new = (
        model.predict_proba(features[part])[:, 1]
        for model, part in zip(models, (slice(8000, 8600), slice(8600, 9200)), strict=True)
    )
    broken = {"retrained": new, "none": new * 0, "mean": new * 0 + old.mean(), "otherwise": 1 - new, "double": 2 * new}
    found = {name: np.subtract(*apart(old, scores)) >= MAX_APART for name, scores in broken.items()}
    assert found == {"retrained": False, "none": True, "mean": True, "otherwise": True, "double": True}
