"""From a fitted pipeline to the files of a compiled model."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.inputs import compile_inputs
from updraft.learning.compile.linear import LINEAR
from updraft.learning.compile.result import Result
from updraft.learning.compile.text import keep_used
from updraft.learning.compile.trees import TREES_OF
from updraft.model.compiled.layout import (
    BASELINE,
    COMPILED,
    MAX_WEIGHTS,
    MAX_WIDTH,
    TREES,
    WEIGHTS,
    Compiled,
    InputPart,
    Linear,
    Text,
    width_of,
)
from updraft.model.model import Model

if TYPE_CHECKING:
    from updraft.model.prediction import Floats

MAX_BASELINE = 50_000  # training rows, evenly picked, whose mean is the baseline of a linear model
COMPILERS = {**TREES_OF, **LINEAR}


def compile_model(model: Model, train: pd.DataFrame | None = None) -> dict[str, bytes]:
    """Compile a model into files, by name. Raises NotCompiled, which says why there is no way to.

    With the training rows the baseline of explanations is among them, where they have one.
    """
    steps = dict(getattr(model.pipeline, "steps", ()))
    if steps.keys() != {"columns", "model"}:
        raise NotCompiled("its pipeline is not one that Updraft builds")
    estimator = steps["model"]
    compiler = COMPILERS.get(type(estimator).__name__)
    if compiler is None:
        raise NotCompiled(f"there is no compiled form of {type(estimator).__name__}")
    inputs = compile_inputs(steps["columns"], model.signature)
    result: Result = compiler(estimator, _outputs(model, estimator))
    classes = _classes(model, estimator)
    if classes is not None and len(classes) != result.outputs:
        raise NotCompiled(f"its training had only {len(classes)} of the {len(model.signature.labels)} labels")
    result, inputs = _fit_columns(result, inputs, sparse=bool(steps["columns"].sparse_output_))
    if (width := sum(map(width_of, inputs))) > min(MAX_WIDTH, MAX_WEIGHTS // result.outputs):
        numbers = f"{width:,} columns for each of {result.outputs:,} scores"
        raise NotCompiled(f"{numbers} are more than are compiled ({MAX_WIDTH:,}, {MAX_WEIGHTS:,} of all scores)")
    about = Compiled(
        inputs=inputs,
        model=result.model,
        outputs=result.outputs,
        link=result.link,
        classes=classes,
        complement=_complement(model, estimator, result),
    )
    files = _to_files(about, result)
    baseline = None if train is None else _baseline(result, steps["columns"], train[list(model.signature.names)])
    return files if baseline is None else files | {BASELINE: baseline.astype("<f8").tobytes()}


def _baseline(result: Result, columns: Any, train: pd.DataFrame) -> Floats | None:
    """Return what `model/compiled/explain.py` starts from; None where a leaf has no weight, which has no share."""
    if result.covers is not None:
        return result.covers if (result.covers > 0).all() else None
    rows = train.iloc[:: -(-len(train) // MAX_BASELINE)]
    means: Floats = np.asarray(columns.transform(rows).mean(axis=0), dtype="float64").ravel()
    return means


def _fit_columns(result: Result, inputs: list[InputPart], *, sparse: bool) -> tuple[Result, list[InputPart]]:
    """Drop the terms that no tree asks for; let a linear model add up as its pipeline does."""
    if isinstance(result.model, Linear):
        return replace(result, model=result.model.model_copy(update={"sparse": sparse})), inputs
    if result.nodes is None or not any(isinstance(part, Text) for part in inputs):
        return result, inputs
    nodes, inputs = keep_used(result.nodes, inputs)
    return replace(result, nodes=nodes), inputs


def _to_files(about: Compiled, result: Result) -> dict[str, bytes]:
    files = {COMPILED: about.model_dump_json().encode()}
    if result.nodes is not None:
        return files | {TREES: result.nodes.tobytes()}
    return files | {WEIGHTS: np.ascontiguousarray(result.weights, "<f8").tobytes()}


def _classes(model: Model, estimator: Any) -> list[int] | None:
    if model.signature.task != "multiclass":
        return None
    labels = [label.value for label in model.signature.labels]
    return [labels.index(value) for value in estimator.classes_]


def _outputs(model: Model, estimator: Any) -> list[int]:
    """List the columns of the estimator's scores that count: of a binary model the positive label's."""
    if model.signature.task == "regression":
        return [0]
    if model.signature.task == "binary":
        return [list(estimator.classes_).index(model.signature.positive)]
    return list(range(len(estimator.classes_)))


def _complement(model: Model, estimator: Any, result: Result) -> bool:
    """Whether the score is that of the other label: estimators with one sum have that of the second label."""
    if model.signature.task != "binary" or not result.of_second:
        return False
    return bool(list(estimator.classes_).index(model.signature.positive) == 0)
