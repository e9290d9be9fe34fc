"""The stages of a use case, each as a function of a folder.

A stage's modules are imported when it runs: another stage's would be counted in its memory.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from updraft.usecase import UseCase, load

DATASET = "ingest/dataset.parquet"
LIBRARIES = {
    "ingest": ["updraft.sources.mongodb", "pymongoarrow.context"],
    "validate": ["great_expectations"],
    "train": ["sklearn.compose", "sklearn.ensemble", "sklearn.model_selection"],
    "evaluate": ["jinja2", "matplotlib.figure", "sklearn.calibration", "sklearn.ensemble", "sklearn.inspection"],
}


def preload(stage: str) -> None:
    """Import what a stage needs, as its seconds are without imports; in Airflow each task is a fork that has it."""
    warnings.filterwarnings("ignore", "pyarrow.* size changed", RuntimeWarning)
    for name in (f"updraft.stages.{stage}", *LIBRARIES.get(stage, ())):
        importlib.import_module(name)


def _case() -> UseCase:
    """Load the shipped use case, with the one candidate that is compared; its forest has so many trees."""
    case, name = load("vehicle_insurance"), os.environ["CANDIDATE"]
    candidate = case.candidates[name]
    if name == "random_forest":
        params = candidate.params | {"n_estimators": int(os.environ["TREES"])}
        candidate = candidate.model_copy(update={"params": params})
    return case.model_copy(update={"candidates": {name: candidate}})


def _ingest(root: Path) -> None:
    from updraft.addresses import from_environment
    from updraft.sources import open_source
    from updraft.stages.ingest import ingest

    with open_source(_case(), from_environment(os.environ)) as source:
        ingest(_case(), source, root / "ingest")


def _validate(root: Path) -> None:
    from updraft.stages.validate import validate

    validate(_case(), root / DATASET, root / "validate")


def _transform(root: Path) -> None:
    from updraft.stages.transform import transform

    transform(_case(), root / DATASET, root / "transform")


def _train(root: Path) -> None:
    from updraft.stages.train import train

    train(_case(), os.environ["CANDIDATE"], root / "transform", root / "train")


def _evaluate(root: Path) -> float:
    from updraft.stages.evaluate import evaluate
    from updraft.stages.stage_folder import read_json

    evaluate(_case(), [root / "train"], root / "transform", None, root / "evaluate")
    return float(read_json(root / "evaluate/evaluation.json")["metrics"]["roc_auc"])


STAGES: dict[str, Callable[[Path], object]] = {
    "ingest": _ingest,
    "validate": _validate,
    "transform": _transform,
    "train": _train,
    "evaluate": _evaluate,
}
