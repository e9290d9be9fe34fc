"""Fitted models of every estimator on the columns of a mixed frame, and what they compile to."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import pandas as pd

from tests.support.mixed_frames import FRAME, TEXTS, TYPES, case, target
from updraft.learning.compile.pipeline import compile_model
from updraft.learning.estimators import build
from updraft.learning.golden_rows import to_json_value
from updraft.model.model import Model
from updraft.model.signature import Signature
from updraft.usecase import UseCase
from updraft.usecase.blocks import NO_TEXT, EstimatorName, Regressor

KINDS = {
    "numbers": ("number", "holes", "count", "flag", "empty", "same"),
    "categories": ("colour", "maybe"),
    "dates": ("day",),
    "missing": ("holes", "maybe", "empty"),
    "all": tuple(TYPES),
    "text": ("note",),
    "several texts": ("note", "memo"),
    "texts and all": ("note", "memo", "count", "flag", "colour", "maybe", "day", "same"),
}


def tasks_of(name: EstimatorName) -> list[str]:
    return ["regression"] if name in get_args(Regressor) else ["binary", "multiclass"]


def fitted(made: UseCase, name: EstimatorName, frame: pd.DataFrame = FRAME, **params: Any) -> Model:
    """Fit an estimator on a frame of the columns of a use case, whose target is made up where it is not there."""
    truth = frame[made.target] if made.target in frame else target(made.task)
    pipeline = build(made, name, params).fit(frame[made.feature_names], truth)
    signature = Signature(
        use_case="made",
        title="Made",
        task=made.task,
        candidate=name,
        columns=tuple(made.feature_columns),
        text=made.text,
        id=None,
        target=made.target,
        labels=made.labels,
        positive=made.positive,
        threshold=0.4 if made.task == "binary" else None,
        split={},
        versions={},
        example={column: to_json_value(frame[column].iloc[0]) for column in made.feature_names},
    )
    return Model(signature, pipeline)


def kinds_of(name: EstimatorName) -> list[str]:
    """List the kinds of columns that an estimator takes."""
    return [kind for kind, columns in KINDS.items() if name not in NO_TEXT or not TEXTS.keys() & set(columns)]


@cache
def compiled(name: EstimatorName, task: str, kind: str = "all") -> tuple[Model, dict[str, bytes]]:
    """Fit an estimator on columns of a kind, and compile it."""
    types = {column: (TYPES | TEXTS)[column] for column in KINDS[kind]}
    model = fitted(case(task, types, text=tuple(column for column in types if column in TEXTS)), name)
    return model, compile_model(model, FRAME)
