"""The nodes of trees in `trees.bin`, checked before they become the text that LightGBM reads.

First the inner nodes of all trees, each tree's in an order in which children follow their parents; then the bitsets, 8
words each; then the leaves' values. A child below 0 is a leaf: -1 is the first of its tree. A number goes left when it
is not above the threshold, a category when its bit is set; missing and unknown go where `missing_left` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from updraft.model.compiled.layout import Trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from updraft.model.prediction import Floats

NODE = np.dtype([
    ("feature", "<i4"), ("left", "<i4"), ("right", "<i4"), ("bitset", "<i4"), ("threshold", "<f8"),
    ("missing_left", "u1"),
])  # fmt: skip
WORDS = 8  # of a bitset: categories 0 to 255
TINY = 1e-34  # LightGBM reads what is within 1e-35 of 0 as 0: no threshold stands there, see `booster.py`


@dataclass(frozen=True)
class Nodes:
    """The nodes, bitsets (known categories that go left; all known ones) and leaf values of trees."""

    nodes: NDArray[Any]
    bitsets: NDArray[np.uint32]
    values: Floats

    def tobytes(self) -> bytes:
        """Return the content of `trees.bin`."""
        return b"".join((
            len(self.bitsets).to_bytes(8, "little"),
            self.nodes.tobytes(), self.bitsets.astype("<u4").tobytes(), self.values.astype("<f8").tobytes(),
        ))  # fmt: skip


def parse(content: bytes, trees: Trees, width: int, outputs: int) -> Nodes:
    """Read `trees.bin` and check all of it: sizes, features, thresholds, and that each tree is one."""
    leaves = sum(trees.leaves)
    inner, each = leaves - len(trees.leaves), outputs if trees.outputs is None else 1
    bitsets = int.from_bytes(content[:8], "little")
    sizes = [8, inner * NODE.itemsize, bitsets * WORDS * 4, leaves * each * 8]
    if bitsets > inner * 2 or len(content) != sum(sizes):
        raise ValueError(f"{len(content)} bytes, expected {sum(sizes)}")
    ends = list(accumulate(sizes))
    nodes = np.frombuffer(content, NODE, inner, ends[0])
    found = Nodes(
        nodes,
        np.frombuffer(content, "<u4", bitsets * WORDS, ends[1]).reshape(bitsets, WORDS),
        np.frombuffer(content, "<f8", leaves * each, ends[2]).reshape(leaves, each),
    )
    _require_sound(found, width)
    for start, end in pairwise(accumulate((count - 1 for count in trees.leaves), initial=0)):
        _require_tree(nodes[start:end])
    return found


def _require_sound(found: Nodes, width: int) -> None:
    nodes = found.nodes
    if not np.isfinite(found.values).all() or not np.isfinite(nodes["threshold"]).all():
        raise ValueError("a number that is not finite")
    near = np.abs(nodes["threshold"])
    if ((near > 0) & (near < TINY)).any():
        raise ValueError("a threshold that LightGBM would take for 0")
    if len(nodes) and not (nodes["feature"].min() >= 0 and nodes["feature"].max() < width):
        raise ValueError(f"a feature beyond the {width} columns")
    if len(nodes) and not (nodes["bitset"].min() >= -1 and nodes["bitset"].max() < len(found.bitsets) // 2):
        raise ValueError("a bitset that is not there")
    if (nodes["missing_left"] > 1).any():
        raise ValueError("neither left nor right")


def _require_tree(nodes: NDArray[Any]) -> None:
    """Raise ValueError unless each node but the first, and each leaf, is a child once, of a node before it."""
    count = len(nodes)
    if not count:
        return
    children = np.concatenate([nodes["left"], nodes["right"]])
    parents = np.concatenate([np.arange(count), np.arange(count)])
    inner = children >= 0
    expected = np.concatenate([np.arange(-count - 1, 0), np.arange(1, count)])
    if not np.array_equal(np.sort(children), expected) or (children[inner] <= parents[inner]).any():
        raise ValueError("nodes that are no tree")


def lightgbm_text(found: Nodes, leaves: Sequence[int], chosen: Sequence[int], output: int, width: int) -> str:
    """Write the `chosen` ones of checked trees as LightGBM's text of a model, whose score is one `output`."""
    head = [
        "tree", "version=v4", "num_class=1", "num_tree_per_iteration=1", "label_index=0",
        f"max_feature_idx={width - 1}", f"feature_names={' '.join(f'c{n}' for n in range(width))}",
        f"feature_infos={' '.join(['[-1e308:1e308]'] * width)}", "",
    ]  # fmt: skip
    starts = list(accumulate(leaves, initial=0))
    trees = [
        f"Tree={number}\n" + "\n".join(_tree(found, starts[tree], starts[tree + 1], tree, output))
        for number, tree in enumerate(chosen)
    ]
    return "\n".join([*head, *trees, "end of trees", ""])


def _tree(found: Nodes, start: int, end: int, tree: int, output: int) -> Iterator[str]:
    nodes = found.nodes[start - tree : end - tree - 1]
    values = found.values[start:end, output]
    yield f"num_leaves={len(values)}"
    categorical = nodes["bitset"] >= 0
    yield f"num_cat={int(categorical.sum())}"
    if len(nodes):
        yield from _splits(found.bitsets, nodes, categorical)
    yield f"leaf_value={_join(values)}"
    if len(nodes):
        yield "is_linear=0"
    yield "shrinkage=1\n"


def _splits(bitsets: NDArray[np.uint32], nodes: NDArray[Any], categorical: NDArray[np.bool_]) -> Iterator[str]:
    """LightGBM sends missing and unknown categories right: where they go left, the children change places."""
    swapped = categorical & (nodes["missing_left"] == 1)
    left = np.where(swapped, nodes["right"], nodes["left"])
    right = np.where(swapped, nodes["left"], nodes["right"])
    threshold = nodes["threshold"].copy()
    threshold[categorical] = np.arange(categorical.sum())
    kinds = np.where(categorical, 9, 8 + 2 * nodes["missing_left"])
    yield f"split_feature={_join(nodes['feature'])}"
    yield f"threshold={_join(threshold)}"
    yield f"decision_type={_join(kinds)}"
    yield f"left_child={_join(left)}"
    yield f"right_child={_join(right)}"
    if categorical.any():
        pairs = nodes["bitset"][categorical]
        goes_left, known = bitsets[pairs * 2], bitsets[pairs * 2 + 1]
        words = np.where(swapped[categorical][:, None], known & ~goes_left, goes_left)
        yield f"cat_boundaries={_join(np.arange(len(pairs) + 1) * WORDS)}"
        yield f"cat_threshold={_join(words.ravel())}"


def _join(values: Any) -> str:
    return " ".join(map(repr, values.tolist()))
