"""The order in which a tree's nodes are stored."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier

from updraft.learning.compile.node_order import LINE, grouped


@pytest.mark.parametrize("leaves", [2, LINE, LINE + 2, 10 * LINE])
def test_parents_come_first_and_the_first_line_is_what_most_rows_reach(leaves: int) -> None:
    x, y = make_classification(2000, flip_y=0.4, random_state=leaves)
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, random_state=0).fit(x, y).tree_
    is_leaf, covers = tree.children_left == -1, tree.weighted_n_node_samples
    order = grouped(tree.children_left, tree.children_right, is_leaf, covers)
    assert sorted(order) == list(range(tree.node_count)) and tree.n_leaves == leaves
    place = np.argsort(order)
    for children in (tree.children_left, tree.children_right):
        assert (place[children[~is_leaf]] > place[~is_leaf]).all()
    inner = [node for node in order if not is_leaf[node]]
    assert covers[inner[:LINE]].tolist() == sorted(covers[~is_leaf], reverse=True)[:LINE]


def test_a_tree_of_one_leaf() -> None:
    assert grouped(np.array([-1]), np.array([-1]), np.array([True]), np.array([7.0])) == [0]
