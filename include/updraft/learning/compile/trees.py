"""From scikit-learn's trees to nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.node_order import grouped
from updraft.learning.compile.result import Result
from updraft.model.compiled.layout import Link, Trees
from updraft.model.compiled.nodes import NODE, TINY, WORDS, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from updraft.model.prediction import Floats


class Gathered:
    """Trees that are gathered one by one."""

    def __init__(self) -> None:
        self.leaves: list[int] = []
        self._nodes: list[NDArray[Any]] = []
        self._values: list[NDArray[Any]] = []
        self._bitsets: list[NDArray[Any]] = []
        self._covers: list[NDArray[Any]] = []

    def add(self, fields: dict[str, Any], is_leaf: Any, values: Any, covers: Any, bitsets: Sequence[Any] = ()) -> None:
        """Add a tree: arrays by node as scikit-learn has them, each node's values, the weight of the training rows in
        it, and its bitsets in pairs.

        `bitset` in `fields` counts the tree's own pairs. The nodes are put in an order where parents come first.
        """
        order = np.array(grouped(fields["left"], fields["right"], is_leaf, np.asarray(covers)))
        inner, leaves = order[~is_leaf[order]], order[is_leaf[order]]
        place = np.empty(len(is_leaf), dtype="int64")
        place[inner], place[leaves] = np.arange(len(inner)), -np.arange(1, len(leaves) + 1)
        nodes = np.zeros(len(inner), dtype=NODE)
        for name, array in fields.items():
            nodes[name] = place[array[inner]] if name in ("left", "right") else array[inner]
        nodes["bitset"][nodes["bitset"] >= 0] += len(self._bitsets) // 2
        nodes["threshold"] = np.clip(nodes["threshold"], -LARGEST, LARGEST)
        near = np.abs(nodes["threshold"])
        if ((near > 0) & (near < TINY)).any():
            raise NotCompiled("a threshold is so near to 0 that LightGBM would take it for 0")
        self.leaves.append(len(leaves))
        self._nodes.append(nodes)
        self._values.append(np.asarray(values, dtype="float64")[leaves])
        self._covers.append(np.asarray(covers, dtype="float64")[leaves])
        self._bitsets += bitsets

    def constant(self, value: float) -> None:
        """Add a tree of one leaf, where the sum begins."""
        self.leaves.append(1)
        self._values.append(np.array([[value]]))
        self._covers.append(np.ones(1))

    def nodes(self) -> Nodes:
        """Return all trees' nodes."""
        bitsets = np.array(self._bitsets, dtype="uint32").reshape(-1, WORDS)
        return Nodes(np.concatenate([np.empty(0, NODE), *self._nodes]), bitsets, np.concatenate(self._values))

    def covers(self) -> Floats:
        """Return the weights of the training rows in each leaf."""
        return np.concatenate(self._covers)


def _add_tree(into: Gathered, tree: Any, values: Any) -> None:
    """Add a tree of scikit-learn's forests; thresholds are compared with float32 numbers."""
    fields = {
        "feature": tree.feature,
        "left": tree.children_left,
        "right": tree.children_right,
        "bitset": np.full(tree.node_count, -1),
        "threshold": tree.threshold,
        "missing_left": tree.missing_go_to_left,
    }
    into.add(fields, tree.children_left == -1, values, tree.weighted_n_node_samples)


def _forest(estimator: Any, outputs: list[int]) -> Result:
    gathered = Gathered()
    for tree in estimator.estimators_:
        _add_tree(gathered, tree.tree_, tree.tree_.value[:, 0, outputs])
    trees = Trees(dtype="float32", leaves=gathered.leaves, outputs=None, divisor=len(estimator.estimators_))
    return Result(trees, len(outputs), "identity", gathered.nodes(), covers=gathered.covers())


def _tree(estimator: Any, outputs: list[int]) -> Result:
    gathered = Gathered()
    _add_tree(gathered, estimator.tree_, estimator.tree_.value[:, 0, outputs])
    trees = Trees(dtype="float32", leaves=gathered.leaves, outputs=None)
    return Result(trees, len(outputs), "identity", gathered.nodes(), covers=gathered.covers())


def _adaboost(estimator: Any, outputs: list[int]) -> Result:
    """Compile the votes: each tree's weight for the label that is its likeliest, a share against each other one."""
    gathered, labels = Gathered(), len(estimator.classes_)
    order = sorted(range(labels), key=lambda place: outputs == [place])  # of two labels the one that counts comes last
    for tree, weight in zip(estimator.estimators_, estimator.estimator_weights_.tolist(), strict=False):
        if type(tree).__name__ != "DecisionTreeClassifier" or list(tree.classes_) != list(estimator.classes_):
            raise NotCompiled("it votes with other models than trees of all labels")
        votes = tree.tree_.value[:, 0, :].argmax(axis=1)[:, None] == np.array(order)
        _add_tree(gathered, tree.tree_, np.where(votes, weight, -1 / (labels - 1) * weight))
    divisor = float(estimator.estimator_weights_.sum())
    model = Trees(dtype="float32", leaves=gathered.leaves, outputs=None, divisor=divisor)
    return Result(model, labels, "votes", gathered.nodes(), covers=gathered.covers())


def _gradient_boosting(estimator: Any, outputs: list[int]) -> Result:
    if estimator.loss != "log_loss":
        raise NotCompiled(f"there is no compiled form of the loss {estimator.loss!r}")
    gathered, of = Gathered(), []
    for output, start in enumerate(estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))[0].tolist()):
        gathered.constant(start)
        of.append(output)
    for stage in estimator.estimators_:
        for output, tree in enumerate(stage):
            _add_tree(gathered, tree.tree_, estimator.learning_rate * tree.tree_.value[:, 0, :1])
            of.append(output)
    return _boosted("float32", gathered, of, "expit" if max(of) == 0 else "softmax")


def _hist_gradient_boosting(estimator: Any, outputs: list[int]) -> Result:
    loss = estimator._loss.__class__.__name__
    links: dict[str, Link] = {
        "HalfBinomialLoss": "expit", "HalfMultinomialLoss": "softmax", "HalfSquaredError": "identity",
        "AbsoluteError": "identity", "PinballLoss": "identity", "HalfPoissonLoss": "exp", "HalfGammaLoss": "exp",
    }  # fmt: skip
    if loss not in links:
        raise NotCompiled(f"there is no compiled form of the loss {loss!r}")
    gathered, of = Gathered(), []
    for output, start in enumerate(np.ravel(estimator._baseline_prediction).tolist()):
        gathered.constant(start)
        of.append(output)
    known, index = estimator._bin_mapper.make_known_categories_bitsets()
    for stage in estimator._predictors:
        for output, predictor in enumerate(stage):
            _add_predictor(gathered, predictor, known, index)
            of.append(output)
    return _boosted("float64", gathered, of, links[loss])


def _add_predictor(into: Gathered, predictor: Any, known: Any, index: Any) -> None:
    nodes = predictor.nodes
    categorical = nodes["is_categorical"].astype(bool) & ~nodes["is_leaf"].astype(bool)
    pairs: list[Any] = []
    bitset = np.full(len(nodes), -1)
    for node in np.flatnonzero(categorical):
        bitset[node] = len(pairs) // 2
        pairs += [predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]], known[index[nodes["feature_idx"][node]]]]
    fields = {
        "feature": nodes["feature_idx"],
        "left": nodes["left"],
        "right": nodes["right"],
        "bitset": bitset,
        "threshold": np.where(categorical, 0.0, nodes["num_threshold"]),
        "missing_left": nodes["missing_go_to_left"],
    }
    into.add(fields, nodes["is_leaf"].astype(bool), nodes["value"][:, None], nodes["count"], pairs)


def _boosted(dtype: Literal["float32", "float64"], gathered: Gathered, of: list[int], link: Link) -> Result:
    outputs = max(of) + 1
    trees = Trees(dtype=dtype, leaves=gathered.leaves, outputs=of)
    return Result(trees, outputs, link, gathered.nodes(), covers=gathered.covers(), of_second=outputs == 1)


LARGEST = 1e300  # for a threshold of infinity, which separates missing numbers from all others
TREES_OF: dict[str, Callable[[Any, list[int]], Result]] = {
    "RandomForestClassifier": _forest,
    "RandomForestRegressor": _forest,
    "DecisionTreeClassifier": _tree,
    "DecisionTreeRegressor": _tree,
    "AdaBoostClassifier": _adaboost,
    "GradientBoostingClassifier": _gradient_boosting,
    "HistGradientBoostingClassifier": _hist_gradient_boosting,
    "HistGradientBoostingRegressor": _hist_gradient_boosting,
}
