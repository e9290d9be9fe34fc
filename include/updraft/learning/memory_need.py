"""What training will take of memory, before it begins: bytes by row, by estimator, and by what columns become.

What depends on the data is measured on a sample of the rows: the matrix that columns become, the words of texts, the
nodes of trees. The factors are those that `make bench-memory` measures, rounded up.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from updraft.learning.estimators import columns_by_kind
from updraft.learning.search import Combination
from updraft.usecase import UseCase
from updraft.usecase.blocks import EstimatorName

SAMPLE = 5_000  # rows
NODE, VALUE = 64, 8  # bytes of a tree's node, and of each of its values
WORD = 250  # bytes of a vocabulary's word
CATEGORY = 90  # bytes of a row while a category is encoded: as an object, and copies of that
DATE_PARTS = 50  # bytes of a row beside the matrix, while a date is taken apart
KNN, COPIES = 2**30, 4  # scikit-learn takes distances from rows with missing numbers in chunks, and copies each
Part = Literal["columns", "trees", "words"]
TREES = (RandomForestClassifier, RandomForestRegressor, DecisionTreeClassifier, DecisionTreeRegressor)


@dataclass(frozen=True)
class Factors:
    """What a fit takes: so many times the bytes of the matrix, dense or sparse, and bytes for each row beside it.

    `label` is for a row and each label, `tree` for a row and each tree that grows at once, `word` for each word of the
    vocabulary, beside the vocabulary itself.
    """

    dense: float
    sparse: float
    row: float
    label: float = 0
    tree: float = 0
    word: float = 0


FACTORS: dict[EstimatorName, Factors] = {
    "RandomForestClassifier": Factors(2.6, 4, 10, tree=30),
    "HistGradientBoostingClassifier": Factors(3.0, 0, 20, label=16),
    "DecisionTreeClassifier": Factors(2.4, 4, 20),
    "GradientBoostingClassifier": Factors(4.2, 0, 20, label=30),
    "AdaBoostClassifier": Factors(4.2, 4, 20, label=30),
    "LogisticRegression": Factors(4.4, 3.5, 20, label=30, word=200),
    "LinearSVC": Factors(5.4, 6, 20, label=30, word=60),
    "MultinomialNB": Factors(4.4, 4, 20, label=30, word=60),
    "RandomForestRegressor": Factors(2.6, 4, 10, tree=30),
    "HistGradientBoostingRegressor": Factors(3.0, 0, 20, label=16),
    "DecisionTreeRegressor": Factors(2.4, 4, 20),
    "LinearRegression": Factors(4.6, 4, 20, word=60),
    "Ridge": Factors(4.6, 4, 20, word=60),
}


@dataclass(frozen=True)
class Words:
    """How the vocabulary of texts grows with rows, by Heaps' law: as a power of them, which falls with more rows."""

    seen: float  # in the sample
    growing: float  # of these, those that grow by the power
    growth: float

    def count(self, samples: float) -> float:
        """Return the words of so many times the rows of the sample."""
        return self.seen + self.growing * (float(max(1.0, samples) ** self.growth) - 1)


@dataclass(frozen=True)
class FitMemory:
    """What one fit takes of memory, by the number of rows that it is fitted on."""

    row: float  # bytes
    encoding: float  # bytes of a row while categories are encoded, before the rest
    tree: float  # bytes of a row for each tree that grows at once
    nodes: float  # of a row's, in bytes, in all trees
    most_nodes: float  # bytes of all trees that have grown as far as their parameters let them
    words: Words
    bytes_of_a_word: float
    sample: int
    imputed: float  # share of the rows whose distances to all rows `impute: {by: knn}` takes

    def bytes(self, rows: int, at_once: int = 1) -> float:
        """Return the bytes of a fit on so many rows, with so many trees that grow at once."""
        return sum(self.parts(rows, at_once).values())

    def parts(self, rows: int, at_once: int = 1) -> dict[Part, float]:
        """Return the bytes of each part of a fit."""
        distances = COPIES * min(KNN, 8 * rows**2 * self.imputed)
        return {
            "columns": max(self.encoding, self.row + self.tree * at_once) * rows + distances,
            "trees": min(self.nodes * rows, self.most_nodes),
            "words": self.bytes_of_a_word * self.words.count(rows / self.sample),
        }


def measure_fit(case: UseCase, estimator: EstimatorName, combination: Combination, sample: pd.DataFrame) -> FitMemory:
    """Measure on a sample of the training rows what a fit by these parameters takes."""
    factors, pipeline = FACTORS[estimator], clone(combination.pipeline)
    features, target = sample[case.feature_names], sample[case.target]
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fit will say them again
        matrix = pipeline["columns"].fit_transform(features)
        nodes, most = _trees(pipeline["model"], matrix, target)
    kinds = columns_by_kind(case)
    beside = factors.row + factors.label * max(1, len(case.labels)) + DATE_PARTS * len(kinds["dates"])
    return FitMemory(
        row=_matrix_bytes(matrix, factors) / len(sample) + beside,
        encoding=CATEGORY * len(kinds["categories"]),
        tree=factors.tree,
        nodes=nodes / len(sample),
        most_nodes=most,
        words=_words(pipeline, features),
        bytes_of_a_word=WORD + factors.word,
        sample=len(sample),
        imputed=_imputed(features[kinds["numbers"] + kinds["dates"]]) if case.impute and case.impute.by == "knn" else 0,
    )


def _imputed(numbers: pd.DataFrame) -> float:
    """Return the share of rows with a missing number: that of one row where the sample has none."""
    return max(1, int(numbers.isna().any(axis=1).sum())) / len(numbers)


def _matrix_bytes(matrix: Any, factors: Factors) -> float:
    if hasattr(matrix, "indptr"):  # sparse
        return factors.sparse * float(matrix.data.nbytes + matrix.indices.nbytes)
    return factors.dense * float(np.asarray(matrix).nbytes)


def _trees(model: Any, matrix: Any, target: pd.Series[Any]) -> tuple[float, float]:
    """Return the bytes of the nodes that the trees would have on the sample, and the most that they can have."""
    if not isinstance(model, TREES):
        return 0, 0
    forest = not isinstance(model, DecisionTreeClassifier | DecisionTreeRegressor)
    params = model.get_params()
    one = clone(model).set_params(n_estimators=1) if forest else clone(model)
    one.fit(matrix, target)
    tree = (one.estimators_[0] if forest else one).tree_
    count = params["n_estimators"] if forest else 1
    size = count * (NODE + VALUE * tree.value[0].size)
    leaves = min(2.0 ** (params["max_depth"] or 60), params["max_leaf_nodes"] or np.inf)
    return size * tree.node_count, size * 2 * leaves


def _words(pipeline: Pipeline, features: pd.DataFrame) -> Words:
    texts = [(steps, name) for _, steps, name in pipeline["columns"].transformers_ if _is_text(steps)]

    def distinct(rows: int) -> int:
        some = features.head(rows)
        return sum(len(clone(steps).fit(some[name])[-1].vocabulary_) for steps, name in texts)

    if not texts or len(features) < 8:
        return Words(0, 0, 1)
    quarter, half, all_words = (distinct(len(features) // part) for part in (4, 2, 1))
    growth = float(np.clip(np.log2(max(1, all_words - half) / max(1, half - quarter)), 0.1, 1))
    return Words(all_words, (all_words - half) / (1 - 2**-growth), growth)


def _is_text(steps: Any) -> bool:
    return isinstance(steps, Pipeline) and isinstance(steps[-1], TfidfVectorizer)
