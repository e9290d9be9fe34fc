"""From a fitted pipeline to the files of a compiled model."""

from __future__ import annotations

from typing import Any

from updraft.learning.compile.errors import NotCompiled
from updraft.learning.compile.inputs import compile_inputs
from updraft.learning.compile.linear import LINEAR
from updraft.learning.compile.result import Result
from updraft.learning.compile.trees import TREES_OF
from updraft.model.compiled.layout import COMPILED, TREES, Compiled
from updraft.model.model import Model

COMPILERS = {**TREES_OF, **LINEAR}


def compile_model(model: Model) -> dict[str, bytes]:
    """Compile a model into files, by name. Raises NotCompiled, which says why there is no way to."""
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
    about = Compiled(
        inputs=inputs,
        model=result.model,
        outputs=result.outputs,
        link=result.link,
        classes=classes,
        complement=_complement(model, estimator, result),
    )
    files = {COMPILED: about.model_dump_json().encode()}
    return files if result.nodes is None else files | {TREES: result.nodes.tobytes()}


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
