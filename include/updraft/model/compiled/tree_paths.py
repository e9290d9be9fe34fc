"""What each column adds to a sum of trees: path-dependent TreeSHAP, exact, over all leaves at a time.

A leaf counts for a set of known columns by the product of a factor for each column on its way: a known one has 1 where
the row goes this way and 0 elsewhere, an unknown one the share of the training rows that went this way. The Shapley
value of column i is the integral, over t from 0 to 1, of the product of the other columns' (1 - t) * share + t * goes,
times goes - share of column i. That is a polynomial in t, which Gauss's quadrature integrates exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from updraft.model.compiled.nodes import WORDS, Nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from updraft.model.prediction import Floats

CHUNK = 200_000  # steps on ways to leaves that exist at a time: 20 MB or so


@dataclass(frozen=True)
class Paths:
    """The ways to the leaves of some trees: of each leaf its `steps`, and its `pairs`, one for each column on its way.

    `pair_starts` has the first step of each pair, `leaf_starts` the first pair of each leaf that has any.
    """

    nodes: NDArray[np.intp]  # of each step, by leaf and column
    goes_left: NDArray[np.bool_]
    pair_starts: NDArray[np.intp]
    shares: Floats
    columns: NDArray[np.intp]  # of each pair
    leaves: NDArray[np.intp]  # of each pair, counted from the first leaf of these trees
    leaf_starts: NDArray[np.intp]
    longest: int


class TreeShap:
    """Shapley values of the sums of trees. `weights` are those of the training rows in each leaf, all above 0.

    `outputs` says for which output each tree counts, None that each leaf has a value for all of them; `column_of` has
    the column of each feature.
    """

    def __init__(
        self, found: Nodes, leaves: Sequence[int], outputs: Sequence[int] | None, weights: Floats, column_of: Any
    ) -> None:
        if len(weights) != len(found.values) or not (np.isfinite(weights) & (weights > 0)).all():
            raise ValueError(f"expected {len(found.values)} weights of leaves, above 0")
        self._found, self._weights, self._column_of = found, weights, np.asarray(column_of)
        self._leaf_starts = np.array(list(accumulate(leaves, initial=0)))
        self._node_starts = self._leaf_starts - np.arange(len(leaves) + 1)
        self._outputs = None if outputs is None else np.repeat(outputs, leaves)  # of each leaf
        self._parents, self._leaf_parents = _parents(found, leaves)
        self._covers = _sums_below(self._parents, self._leaf_parents, weights)
        depths = _depths(self._parents, self._leaf_parents)
        self._groups = list(_groups(np.add.reduceat(depths, self._leaf_starts[:-1]).tolist()))
        self.steps, self.deepest = int(depths.sum()), int(depths.max(initial=0))

    def means(self, outputs: int) -> Floats:
        """Return the mean of each output's sum over the training rows."""
        starts = self._leaf_starts[:-1]
        roots = np.repeat(np.add.reduceat(self._weights, starts), np.diff(self._leaf_starts))
        values = self._found.values * (self._weights / roots)[:, None]
        each = [values.sum(axis=0)] if self._outputs is None else np.bincount(self._outputs, values[:, 0], outputs)
        return np.ravel(each).astype("float64")

    def contributions(self, matrix: NDArray[Any], factors: Floats, columns: int) -> Floats:
        """Return what each of the `columns` adds to the sum of each row's outputs times its `factors`."""
        result = np.zeros((len(matrix), columns))
        for first, last in self._groups:
            paths = self._paths(first, last)
            if len(paths.pair_starts):
                leaves = slice(self._leaf_starts[first], self._leaf_starts[last])
                nodes = slice(self._node_starts[first], self._node_starts[last])
                for row, numbers in enumerate(matrix):
                    went_left = self._decide(numbers, nodes)
                    result[row] += _add_up(paths, went_left, self._values(leaves, factors[row]), columns)
        return result

    def _values(self, leaves: slice, factors: Floats) -> Floats:
        values = self._found.values[leaves]
        return values @ factors if self._outputs is None else values[:, 0] * factors[self._outputs[leaves]]

    def _paths(self, first: int, last: int) -> Paths:
        """Follow the ways up from the leaves of the trees from `first` to before `last`."""
        nodes, sides, shares, leaves = self._climb(self._leaf_starts[first], self._leaf_starts[last])
        features = self._found.nodes["feature"][nodes]
        order = np.argsort(leaves * len(self._column_of) + features, kind="stable")
        nodes, sides, shares, leaves, features = (each[order] for each in (nodes, sides, shares, leaves, features))
        pair_starts = np.flatnonzero((np.diff(leaves, prepend=-1) != 0) | (np.diff(features, prepend=-1) != 0))
        leaves = leaves[pair_starts]
        leaf_starts = np.flatnonzero(np.diff(leaves, prepend=-1))
        return Paths(
            nodes=nodes - self._node_starts[first],
            goes_left=sides,
            pair_starts=pair_starts,
            shares=np.multiply.reduceat(shares, pair_starts) if len(pair_starts) else shares,
            columns=self._column_of[features[pair_starts]],
            leaves=leaves,
            leaf_starts=leaf_starts,
            longest=int(np.diff(leaf_starts, append=len(pair_starts)).max(initial=0)),
        )

    def _climb(self, start: int, end: int) -> tuple[Any, Any, Any, Any]:
        """Return node, side, share and leaf of each step, from these leaves up to the roots."""
        leaves = np.arange(end - start)
        at, covers = self._leaf_parents[start:end], self._weights[start:end]
        steps = []
        while len(leaves):
            inside = at >= 0
            leaves, at, covers = leaves[inside], at[inside], covers[inside]
            node, is_left = at >> 1, (at & 1) == 0
            steps.append((node, is_left, covers / self._covers[node], leaves))
            at, covers = self._parents[node], self._covers[node]
        nodes, sides, shares, owners = (np.concatenate(each) for each in zip(*steps, strict=True))
        return nodes, sides, shares, owners

    def _decide(self, numbers: NDArray[Any], among: slice) -> NDArray[np.bool_]:
        """Return which of these nodes a row leaves to the left."""
        nodes = self._found.nodes[among]
        values = numbers[nodes["feature"]]
        missing_left = nodes["missing_left"] == 1
        left = np.where(np.isnan(values), missing_left, values <= nodes["threshold"])
        categorical = np.flatnonzero(nodes["bitset"] >= 0)
        if len(categorical):
            left[categorical] = self._decide_categories(nodes[categorical], values[categorical])
        return np.asarray(left, dtype=bool)

    def _decide_categories(self, nodes: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
        codes = np.where((values >= 0) & (values < WORDS * 32), values, 0).astype("int64")
        pairs, word, bit = nodes["bitset"].astype("int64") * 2, codes >> 5, (codes & 31).astype("uint32")
        goes_left, known = ((self._found.bitsets[pairs + n, word] >> bit) & 1 == 1 for n in (0, 1))
        known &= (values >= 0) & (values < WORDS * 32)
        result: NDArray[np.bool_] = np.where(known, goes_left, nodes["missing_left"] == 1)
        return result


def _add_up(paths: Paths, went_left: NDArray[np.bool_], values: Floats, columns: int) -> Floats:
    """Return what each column adds to one row's sum of these leaves' `values`."""
    followed = went_left[paths.nodes] == paths.goes_left
    goes = np.logical_and.reduceat(followed, paths.pair_starts).astype("float64")
    lengths = np.diff(paths.leaf_starts, append=len(goes))
    total = np.zeros(len(goes))
    points, weights = np.polynomial.legendre.leggauss((paths.longest + 1) // 2)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        factors = paths.shares * (1 - point)
        factors += goes * point
        products = np.multiply.reduceat(factors, paths.leaf_starts) * weight
        total += np.repeat(products, lengths) / factors
    total *= (goes - paths.shares) * values[paths.leaves]
    result: Floats = np.bincount(paths.columns, total, columns).astype("float64", copy=False)
    return result


def _parents(found: Nodes, leaves: Sequence[int]) -> tuple[Any, Any]:
    """Return the parents of inner nodes and of leaves.

    A parent is its place among all nodes times 2, and 1 more where the child is on its right; a root's is -1.
    """
    nodes = found.nodes
    trees = np.repeat(np.arange(len(leaves)), np.array(leaves) - 1)
    leaf_starts = np.array(list(accumulate(leaves, initial=0)))[trees]
    node_starts = leaf_starts - trees
    parents, leaf_parents = np.full(len(nodes), -1), np.full(len(found.values), -1)
    for right, name in enumerate(("left", "right")):
        child, places = nodes[name].astype("int64"), np.arange(len(nodes)) * 2 + right
        inner = child >= 0
        parents[(child + node_starts)[inner]] = places[inner]
        leaf_parents[(leaf_starts - child - 1)[~inner]] = places[~inner]
    return parents, leaf_parents


def _sums_below(parents: NDArray[Any], leaf_parents: NDArray[Any], weights: Floats) -> Floats:
    """Return the sum of the weights of the leaves below each node."""
    sums, at = np.zeros(len(parents)), leaf_parents
    while len(at):
        inside = at >= 0
        nodes, weights = at[inside] >> 1, weights[inside]
        if len(nodes):
            sums += np.bincount(nodes, weights, len(parents))
        at = parents[nodes]
    return sums


def _depths(parents: NDArray[Any], leaf_parents: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of steps to each leaf."""
    depths, places, at = np.zeros(len(leaf_parents), dtype="int64"), np.arange(len(leaf_parents)), leaf_parents
    while len(at):
        inside = at >= 0
        places = places[inside]
        depths[places] += 1
        at = parents[at[inside] >> 1]
    return depths


def _groups(steps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first tree, and the one after the last, of groups with about CHUNK steps."""
    start, total = 0, 0
    for tree, count in enumerate(steps):
        if total and total + count > CHUNK:
            yield start, tree
            start, total = tree, 0
        total += count
    yield start, len(steps)
