"""What a compiler makes of an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from updraft.model.compiled.layout import Linear, Link, Trees
from updraft.model.compiled.nodes import Nodes

if TYPE_CHECKING:
    from updraft.model.prediction import Floats


@dataclass(frozen=True)
class Result:
    """A compiled estimator; `of_second` says that its one output is the score of the second label.

    `covers` are the weights of the training rows in each leaf.
    """

    model: Trees | Linear
    outputs: int
    link: Link
    nodes: Nodes | None = None
    weights: Floats | None = None
    covers: Floats | None = None
    of_second: bool = False
