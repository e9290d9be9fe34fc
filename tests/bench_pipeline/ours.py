"""The stages of a use case, each as a function of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from updraft.addresses import from_environment
from updraft.sources import open_source
from updraft.stages.evaluate import evaluate
from updraft.stages.ingest import ingest
from updraft.stages.stage_folder import read_json
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.stages.validate import validate
from updraft.usecase import UseCase, load

DATASET = "ingest/dataset.parquet"


def _case() -> UseCase:
    """Load the shipped use case, with the one candidate that is compared; its forest has so many trees."""
    case, name = load("vehicle_insurance"), os.environ["CANDIDATE"]
    candidate = case.candidates[name]
    if name == "random_forest":
        params = candidate.params | {"n_estimators": int(os.environ["TREES"])}
        candidate = candidate.model_copy(update={"params": params})
    return case.model_copy(update={"candidates": {name: candidate}})


def _ingest(root: Path) -> None:
    with open_source(_case(), from_environment(os.environ)) as source:
        ingest(_case(), source, root / "ingest")


def _train(root: Path) -> None:
    train(_case(), os.environ["CANDIDATE"], root / "transform", root / "train")


def _evaluate(root: Path) -> float:
    case = _case()
    evaluate(case, [root / "train"], root / "transform", None, root / "evaluate")
    return float(read_json(root / "evaluate/evaluation.json")["metrics"]["roc_auc"])


STAGES: dict[str, Callable[[Path], object]] = {
    "ingest": _ingest,
    "validate": lambda root: validate(_case(), root / DATASET, root / "validate"),
    "transform": lambda root: transform(_case(), root / DATASET, root / "transform"),
    "train": _train,
    "evaluate": _evaluate,
}
