"""Files of a compiled model that are not what they should be are refused before LightGBM sees them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.compiled_models import compiled
from tests.support.mixed_frames import FRAME
from updraft.learning.compile.parity import rows_of
from updraft.model.compiled.compiled_model import BadCompiled, CompiledModel
from updraft.model.compiled.layout import COMPILED, TREES, WEIGHTS
from updraft.model.compiled.nodes import NODE

FOREST = "HistGradientBoostingClassifier"


def load(files: dict[str, bytes], name: Any = FOREST) -> CompiledModel:
    model, _ = compiled(name, "binary")
    return CompiledModel(model.signature, files)


def test_every_change_of_a_node_that_makes_no_tree_is_refused() -> None:
    _, files = compiled(FOREST, "binary")
    inner = sum(json.loads(files[COMPILED])["model"]["leaves"]) - len(json.loads(files[COMPILED])["model"]["leaves"])
    for field, value in [
        ("left", 0), ("left", 10**6), ("right", -(10**6)), ("left", -(2**31)), ("feature", -1), ("feature", 500),
        ("bitset", 10**6), ("bitset", -2), ("threshold", np.nan), ("threshold", np.inf), ("threshold", 1e-36),
    ]:  # fmt: skip
        nodes = np.frombuffer(files[TREES], NODE, inner, 8).copy()
        nodes[field][0] = value
        spoilt = files[TREES][:8] + nodes.tobytes() + files[TREES][8 + nodes.nbytes :]
        with pytest.raises(BadCompiled):
            load(files | {TREES: spoilt})


def test_a_circle_among_nodes_is_refused() -> None:
    _, files = compiled(FOREST, "binary")
    leaves = json.loads(files[COMPILED])["model"]["leaves"]
    inner = sum(leaves) - len(leaves)
    nodes = np.frombuffer(files[TREES], NODE, inner, 8).copy()
    side = "left" if nodes["left"][0] == 1 else "right"
    nodes[side][0], nodes["left"][1] = nodes["left"][1], nodes[side][0]
    spoilt = files[TREES][:8] + nodes.tobytes() + files[TREES][8 + nodes.nbytes :]
    with pytest.raises(BadCompiled, match="no tree"):
        load(files | {TREES: spoilt})


@pytest.mark.parametrize("cut", [0, 1, 8, 100])
def test_missing_or_longer_trees_are_refused(cut: int) -> None:
    _, files = compiled(FOREST, "binary")
    for content in (files[TREES][:cut], files[TREES] + b"x", files[TREES][:-8], b"\xff" * len(files[TREES])):
        with pytest.raises(BadCompiled):
            load(files | {TREES: content})
    with pytest.raises(BadCompiled):
        load({COMPILED: files[COMPILED]})


SPOIL: list[Callable[[dict[str, Any]], object]] = [
    lambda it: it.update(link="eval"),
    lambda it: it.update(outputs=0),
    lambda it: it.update(outputs=10**9),
    lambda it: it.update(classes=[0]),
    lambda it: it.update(more=1),
    lambda it: it["inputs"].clear(),
    lambda it: it["inputs"][0].update(column=99),
    lambda it: it["inputs"][0].update(width=10**9),
    lambda it: it["inputs"][0]["codes"].pop(),
    lambda it: it["model"].update(dtype="int8"),
    lambda it: it["model"].update(divisor=0),
    lambda it: it["model"].update(leaves=[]),
    lambda it: it["model"].update(leaves=[10**15]),
    lambda it: it["model"].update(outputs=[0]),
]


@pytest.mark.parametrize("number", range(len(SPOIL)))
def test_a_description_that_does_not_fit_is_refused(number: int) -> None:
    _, files = compiled(FOREST, "binary")
    about = json.loads(files[COMPILED])
    SPOIL[number](about)
    with pytest.raises(BadCompiled, match=r"^compiled\.json"):
        load(files | {COMPILED: json.dumps(about).encode()})


TEXTS = "LogisticRegression", "binary", "texts and all"
SPOIL_TEXT: list[Callable[[dict[str, Any]], object]] = [
    lambda it: it["terms"].pop(),
    lambda it: it["idf"].pop(),
    lambda it: it["idf"].__setitem__(0, None),
    lambda it: it["terms"].__setitem__(0, it["terms"][1]),
    lambda it: it["terms"].__setitem__(0, 7),
    lambda it: it.update(ngrams=[0, 2]),
    lambda it: it.update(ngrams=[1, 10**9]),
    lambda it: it.update(ngrams=[1]),
    lambda it: it.update(column=99),
    lambda it: it.update(kept=[1, 1]),
    lambda it: it.update(kept=[0, 10**6]),
    lambda it: it.update(kept=[-1]),
    lambda it: it.update(kept=[]),
    lambda it: it.update(pattern="(a+)+$"),
]


@pytest.mark.parametrize("number", range(len(SPOIL_TEXT)))
def test_a_description_of_a_text_that_does_not_fit_is_refused(number: int) -> None:
    model, files = compiled(*TEXTS)
    about = json.loads(files[COMPILED])
    SPOIL_TEXT[number](next(part for part in about["inputs"] if part["kind"] == "text"))
    with pytest.raises(BadCompiled, match=r"^compiled\.json"):
        CompiledModel(model.signature, files | {COMPILED: json.dumps(about).encode()})


def test_weights_that_are_not_those_of_the_columns_are_refused() -> None:
    model, files = compiled(*TEXTS)
    bad = np.frombuffer(files[WEIGHTS]).copy()
    bad[3] = np.inf
    for content in (b"", files[WEIGHTS][:-8], files[WEIGHTS] + b"12345678", bad.tobytes()):
        with pytest.raises(BadCompiled, match="weight"):
            CompiledModel(model.signature, files | {WEIGHTS: content})
    with pytest.raises(BadCompiled, match="weight"):
        CompiledModel(model.signature, {COMPILED: files[COMPILED]})


def test_what_a_description_may_ask_for_is_bounded_before_anything_is_made() -> None:
    """60 scores of 99,000 categories would be 48 MB of weights, of trees as many names of columns."""
    for name in ("LogisticRegression", "RandomForestClassifier"):
        model, files = compiled(name, "multiclass")
        about = json.loads(files[COMPILED])
        part = next(part for part in about["inputs"] if part["kind"] == "category")
        part.update(width=99_000, codes=[0.0] * len(part["codes"]), missing=None, unknown=None)
        about.update(outputs=60, classes=[0] * 60)
        if name == "LogisticRegression":
            about["model"].update(intercepts=[0.0] * 60)
        with pytest.raises(BadCompiled, match=r"columns for each of 60 scores, expected .* at most 4,000,000"):
            CompiledModel(model.signature, files | {COMPILED: json.dumps(about).encode()})


def test_random_bytes_among_the_nodes_are_refused_or_give_scores() -> None:
    """Whatever passes the checks is a model: it may be another one, but it harms nobody."""
    model, files = compiled("RandomForestClassifier", "binary")
    rows, draw = rows_of(model.signature, FRAME.head(20)), random.Random(5)
    refused = 0
    for _ in range(150):
        spoilt = bytearray(files[TREES])
        for _ in range(draw.randint(1, 4)):
            spoilt[draw.randrange(len(spoilt))] = draw.randrange(256)
        try:
            scores = load(files | {TREES: bytes(spoilt)}, "RandomForestClassifier").scores_of(rows)
        except BadCompiled:
            refused += 1
        else:
            assert scores.shape == (20,)
    assert refused
