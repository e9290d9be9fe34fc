"""From a fitted TfidfVectorizer to the look-up of a compiled model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from updraft.learning.compile.errors import NotCompiled
from updraft.model.compiled.layout import MAX_NGRAM, MAX_TERMS, InputPart, Text, width_of
from updraft.model.compiled.nodes import Nodes

# What `TextInput` does; `build` leaves all of it as scikit-learn has it.
AS_IS = {
    "input": "content", "analyzer": "word", "token_pattern": r"(?u)\b\w\w+\b", "lowercase": True, "strip_accents": None,
    "preprocessor": None, "tokenizer": None, "stop_words": None, "binary": False, "norm": "l2", "use_idf": True,
}  # fmt: skip


def compile_text(vectorizer: Any, column: int) -> Text:
    """Read terms and their weights off a vectorizer. Raises NotCompiled."""
    parameters = vectorizer.get_params()
    for name, value in AS_IS.items():
        if parameters[name] != value:
            raise NotCompiled(f"there is no compiled form of TF-IDF with {name}={parameters[name]!r}")
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.__getitem__)
    if len(terms) > MAX_TERMS:
        raise NotCompiled(f"its texts have {len(terms):,} terms, at most {MAX_TERMS:,} are compiled: set max_features")
    if parameters["ngram_range"][1] > MAX_NGRAM:
        raise NotCompiled(f"its terms are longer than {MAX_NGRAM} words")
    return Text(
        column=column,
        terms=terms,
        idf=vectorizer.idf_.tolist(),
        ngrams=tuple(parameters["ngram_range"]),
        sublinear=bool(parameters["sublinear_tf"]),
    )


def keep_used(nodes: Nodes, inputs: list[InputPart]) -> tuple[Nodes, list[InputPart]]:
    """Leave out the columns of terms that no node asks for, so that rows stay short."""
    used = np.unique(nodes.nodes["feature"])
    columns: list[Any] = []
    parts: list[InputPart] = []
    start = 0
    for part in inputs:
        width = width_of(part)
        kept = np.arange(width)
        if isinstance(part, Text):
            own = used[(used >= start) & (used < start + width)] - start
            kept = own if len(own) else kept[:1]
            part = part.model_copy(update={"kept": kept.tolist()})
        parts.append(part)
        columns.append(kept + start)
        start += width
    moved = nodes.nodes.copy()
    moved["feature"] = np.searchsorted(np.concatenate(columns), moved["feature"])
    return replace(nodes, nodes=moved), parts
