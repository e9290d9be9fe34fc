"""What each column adds to a score: against Shapley values by the book, and against the pipeline's own scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from tests.support.compiled_models import KINDS, compiled, fitted, kinds_of, tasks_of
from tests.support.mixed_frames import FRAME, TYPES, case
from updraft.learning.compile.inputs import DATE_PARTS
from updraft.learning.compile.parity import rows_of
from updraft.learning.compile.pipeline import compile_model
from updraft.learning.compile.trees import TREES_OF
from updraft.learning.estimators import ESTIMATORS
from updraft.model.compiled import explain
from updraft.model.compiled.compiled_model import CompiledModel
from updraft.model.compiled.explain import NotExplained
from updraft.model.compiled.layout import BASELINE
from updraft.model.model import Model
from updraft.usecase.blocks import EstimatorName

EACH = [(name, task) for name in ESTIMATORS for task in tasks_of(name)]
SMALL: dict[EstimatorName, dict[str, Any]] = {
    "DecisionTreeClassifier": {"max_depth": 4, "class_weight": "balanced"},
    "DecisionTreeRegressor": {"max_depth": 4},
    "RandomForestClassifier": {"max_depth": 3, "n_estimators": 3, "class_weight": "balanced"},
    "RandomForestRegressor": {"max_depth": 3, "n_estimators": 3},
    "AdaBoostClassifier": {"n_estimators": 3},
    "GradientBoostingClassifier": {"n_estimators": 3, "max_depth": 3},
    "HistGradientBoostingClassifier": {"max_iter": 3, "max_leaf_nodes": 8, "min_samples_leaf": 5},
    "HistGradientBoostingRegressor": {"max_iter": 3, "max_leaf_nodes": 8, "min_samples_leaf": 5},
}
Tree = tuple[Any, Callable[[int, Any], bool], Callable[[int], float], Callable[[int], float]]
SOME = FRAME.iloc[[0, 3, 17, 40, 111, 200]]


@pytest.mark.parametrize("kind", ["numbers", "categories", "missing"])
@pytest.mark.parametrize(("name", "task"), [each for each in EACH if each[0] in SMALL])
def test_contributions_of_trees_are_the_shapley_values_of_conditional_expectations(
    name: EstimatorName, task: str, kind: str
) -> None:
    made = case(task, {column: TYPES[column] for column in KINDS[kind]})
    model = fitted(made, name, **SMALL[name])
    found = CompiledModel(model.signature, compile_model(model, FRAME)).explain(rows_of(model.signature, SOME))
    owners = owners_of(model)
    numbers = np.asarray(model.pipeline["columns"].transform(SOME[made.feature_names]), dtype="float64")
    for row, label, contributions, baseline in zip(
        numbers, found.labels or [None] * len(SOME), found.contributions, found.baselines, strict=True
    ):
        trees, start = list(_trees(model, label)), _start(model, label)
        expected = dict.fromkeys(model.signature.names, 0.0)
        for feature, value in _shapley(trees, row).items():
            expected[owners[feature]] += value
        assert contributions == pytest.approx(list(expected.values()), rel=1e-9, abs=1e-9)
        nothing = sum(_expected(tree, 0, row, frozenset()) for tree in trees)
        assert baseline == pytest.approx(start + nothing, rel=1e-9, abs=1e-9)


@pytest.mark.usefixtures("takes_long")
@pytest.mark.parametrize(("name", "task"), EACH)
def test_contributions_add_up_to_the_margin_of_the_pipeline(name: EstimatorName, task: str) -> None:
    model, files = compiled(name, task, "all" if name in TREES_OF else kinds_of(name)[-1])
    served = CompiledModel(model.signature, files)
    found = served.explain(rows_of(model.signature, SOME))
    assert found.contributions.shape == (len(SOME), len(model.signature.columns))
    assert found.baselines + found.contributions.sum(axis=1) == pytest.approx(found.scores, rel=1e-9, abs=1e-9)
    assert found.scores == pytest.approx(_margins(model, found.labels), rel=1e-7, abs=1e-7)
    assert np.abs(found.contributions).max() > 0.001
    if "same" in model.signature.names:  # a column of one value explains nothing
        assert not found.contributions[:, model.signature.names.index("same")].any()
    assert served.most_explained > 1


def _margins(model: Model, labels: list[str] | None) -> Any:
    """Return what the model adds up, by scikit-learn: of a binary model for the positive label."""
    estimator, frame = model.pipeline["model"], SOME[list(model.signature.names)]
    if labels is None:
        return model.pipeline.predict(frame)
    probabilities = model.pipeline.predict_proba(frame)
    values = {label.name: list(estimator.classes_).index(label.value) for label in model.signature.labels}
    places = [values[label] for label in labels]
    chosen = probabilities[range(len(frame)), places]
    kind = type(estimator).__name__
    if kind.startswith(("RandomForest", "DecisionTree")):
        return chosen
    if model.signature.task == "binary":
        assert set(labels) == {"yes"}
        return np.log(chosen / (1 - chosen))
    assert places == probabilities.argmax(axis=1).tolist()
    numbers = model.pipeline["columns"].transform(frame)
    if kind == "MultinomialNB":
        return estimator.predict_joint_log_proba(numbers)[range(len(frame)), places]
    if kind == "CalibratedClassifierCV":
        [calibrated] = estimator.calibrated_classifiers_
        sums = calibrated.estimator.decision_function(numbers)
        return [
            -(it.a_ * sums[row, at] + it.b_) for row, at in enumerate(places) for it in [calibrated.calibrators[at]]
        ]
    others = len(estimator.classes_) - 1 if kind == "AdaBoostClassifier" else 1
    return estimator.decision_function(numbers)[range(len(frame)), places] / others


@pytest.mark.parametrize("name", ["LogisticRegression", "Ridge", "LinearSVC", "MultinomialNB"])
def test_a_linear_model_is_explained_by_the_difference_from_the_mean(name: EstimatorName) -> None:
    task = tasks_of(name)[0]
    model, files = compiled(name, task, kinds_of(name)[-1])
    found = CompiledModel(model.signature, files).explain(rows_of(model.signature, FRAME))
    assert found.contributions.mean(axis=0) == pytest.approx(np.zeros(len(model.signature.columns)), abs=1e-9)
    assert found.scores.mean() == pytest.approx(found.baselines[0], rel=1e-9) and len(set(found.baselines)) == 1


def owners_of(model: Model) -> list[str]:
    """Return the raw column of each column of the pipeline's matrix."""
    owners = []
    for kind, step, names in model.pipeline["columns"].transformers_:
        if isinstance(names, str):
            owners += [names] * len(step.get_feature_names_out())
            continue
        for place, name in enumerate([] if isinstance(step, str) else names):
            one_hot = type(step).__name__ == "OneHotEncoder"
            parts = len(step.categories_[place]) if one_hot else len(DATE_PARTS) if kind == "dates" else 1
            owners += [name] * parts
    return owners


def _shapley(trees: list[Tree], row: Any) -> dict[int, float]:
    """Return Shapley values by their definition: over all sets of the features that the trees ask for."""
    features = sorted({feature for tree in trees for feature in tree[0]["feature"][tree[0]["left"] > 0].tolist()})
    assert len(features) < 12
    worth = {
        frozenset(known): sum(_expected(tree, 0, row, frozenset(known)) for tree in trees)
        for size in range(len(features) + 1)
        for known in combinations(features, size)
    }
    count = math.factorial(len(features))
    values = dict.fromkeys(features, 0.0)
    for known, value in worth.items():
        for feature in features:
            if feature not in known:
                orders = math.factorial(len(known)) * math.factorial(len(features) - len(known) - 1)
                values[feature] += orders / count * (worth[known | {feature}] - value)
    return values


def _expected(tree: Tree, node: int, row: Any, known: frozenset[int]) -> float:
    """Return a tree's value where only some features are known: both ways count, by their rows, at the others."""
    nodes, goes_left, value, cover = tree
    left, right = int(nodes["left"][node]), int(nodes["right"][node])
    if left <= 0:
        return value(node)
    if int(nodes["feature"][node]) in known:
        return _expected(tree, left if goes_left(node, row) else right, row, known)
    parts = [(cover(child), _expected(tree, child, row, known)) for child in (left, right)]
    return sum(weight * part for weight, part in parts) / sum(weight for weight, _ in parts)


def _trees(model: Model, label: str | None) -> Iterator[Tree]:
    """Yield scikit-learn's trees, of an ensemble with their factors, as far as they count for a label."""
    estimator, name = model.pipeline["model"], type(model.pipeline["model"]).__name__
    place = 0
    if label is not None:
        value = next(each.value for each in model.signature.labels if each.name == label)
        place = list(estimator.classes_).index(value)
    if name.startswith("HistGradient"):
        for stage in estimator._predictors:
            yield _hist_tree(estimator, stage[place if len(stage) > 1 else 0])
    elif name.startswith("GradientBoosting"):
        for stage in estimator.estimators_:
            tree = stage[place if len(stage) > 1 else 0].tree_
            yield _tree(tree, estimator.learning_rate * tree.value[:, 0, 0])
    elif name.startswith("AdaBoost"):
        labels, total = len(estimator.classes_), estimator.estimator_weights_.sum()
        for each, weight in zip(estimator.estimators_, estimator.estimator_weights_, strict=False):
            votes = each.tree_.value[:, 0, :].argmax(axis=1) == place
            one, other = (2.0, -2.0) if labels == 2 else (1 / (labels - 1), -1 / (labels - 1) ** 2)
            yield _tree(each.tree_, np.where(votes, one, other) * weight / total)
    elif name.startswith("RandomForest"):
        for each in estimator.estimators_:
            yield _tree(each.tree_, each.tree_.value[:, 0, place] / len(estimator.estimators_))
    else:
        yield _tree(estimator.tree_, estimator.tree_.value[:, 0, place])


def _tree(tree: Any, values: Any) -> Tree:
    nodes = {"feature": tree.feature, "left": tree.children_left, "right": tree.children_right}

    def goes_left(node: int, row: Any) -> bool:
        number = np.float32(row[tree.feature[node]])
        return bool(tree.missing_go_to_left[node]) if np.isnan(number) else bool(number <= tree.threshold[node])

    return nodes, goes_left, lambda node: float(values[node]), lambda node: float(tree.weighted_n_node_samples[node])


def _hist_tree(estimator: Any, predictor: Any) -> Tree:
    nodes = predictor.nodes
    known, index = estimator._bin_mapper.make_known_categories_bitsets()

    def goes_left(node: int, row: Any) -> bool:
        it = nodes[node]
        number = row[it["feature_idx"]]
        if np.isnan(number):
            return bool(it["missing_go_to_left"])
        if not it["is_categorical"]:
            return bool(number <= it["num_threshold"])
        word, bit = divmod(int(number), 32)
        if not known[index[it["feature_idx"]]][word] >> bit & 1:
            return bool(it["missing_go_to_left"])
        return bool(predictor.raw_left_cat_bitsets[it["bitset_idx"]][word] >> bit & 1)

    shape = {"feature": nodes["feature_idx"], "left": nodes["left"].astype(int), "right": nodes["right"].astype(int)}
    return shape, goes_left, lambda node: float(nodes["value"][node]), lambda node: float(nodes["count"][node])


def _start(model: Model, label: str | None) -> float:
    """Return where a boosted sum begins."""
    estimator, name = model.pipeline["model"], type(model.pipeline["model"]).__name__
    place = 0
    if label is not None and len(estimator.classes_) > 2:
        place = list(estimator.classes_).index(next(it.value for it in model.signature.labels if it.name == label))
    if name.startswith("HistGradient"):
        return float(np.ravel(estimator._baseline_prediction)[place])
    if name.startswith("GradientBoosting"):
        return float(estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))[0][place])
    return 0.0


def test_what_is_not_explained_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    model, files = compiled("RandomForestClassifier", "binary")
    rows = rows_of(model.signature, SOME)
    older = CompiledModel(model.signature, {name: files[name] for name in files if name != BASELINE})
    broken = CompiledModel(model.signature, files | {BASELINE: files[BASELINE][8:]})
    zero = CompiledModel(model.signature, files | {BASELINE: bytes(len(files[BASELINE]))})
    for served, reason in [(older, "train it again"), (broken, r"baseline\.bin: expected"), (zero, "above 0")]:
        assert served.predict_rows(rows) == CompiledModel(model.signature, files).predict_rows(rows)
        with pytest.raises(NotExplained, match=reason):
            served.explain(rows)
        with pytest.raises(NotExplained, match=reason):
            _ = served.most_explained
    monkeypatch.setattr(explain, "MAX_LEAVES", 10)
    with pytest.raises(NotExplained, match=r"leaves, and 10 at most"):
        CompiledModel(model.signature, files).explain(rows)


def test_how_many_rows_are_explained_at_once_hangs_on_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    linear, trees = (_served(name) for name in ("LogisticRegression", "RandomForestClassifier"))
    columns = len(linear.signature.columns)
    assert linear.most_explained == explain.MAX_NUMBERS // columns > trees.most_explained > 10
    monkeypatch.setattr(explain, "MAX_WORK", 1000)
    with pytest.raises(NotExplained, match="too large"):
        _ = trees.most_explained
    assert linear.most_explained == explain.MAX_NUMBERS // columns


def _served(name: EstimatorName) -> CompiledModel:
    model, files = compiled(name, "binary")
    return CompiledModel(model.signature, files)
