"""`train`: split → model, one candidate at a time."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from updraft.errors import BadData
from updraft.learning.estimators import BadParameter, build
from updraft.learning.example_row import example_row
from updraft.learning.metrics import Floats, find_threshold, gain, measure_all
from updraft.learning.score import check_metrics, encode_target, format_metrics
from updraft.learning.splits import FOLD
from updraft.model.model import Model, decide, predict_scores
from updraft.model.signature import Signature
from updraft.stages.stage_folder import TRAIN, read_frame, read_json, recreate_folder, write_json
from updraft.usecase import UseCase
from updraft.usecase.blocks import Policy

log = logging.getLogger(__name__)

TRAINING = "training.json"
LIBRARIES = ("scikit-learn", "pandas", "numpy", "joblib")


def train(case: UseCase, candidate: str, split: Path, out: Path) -> Path:
    """Fit one candidate on the split's training rows into the model folder `out`, with `training.json`; return it.

    Its parameters (where the YAML has a `search`), the score by which candidates are chosen, and the decision threshold
    come from cross-validation on the training rows. One thread throughout: the same rows, seed and libraries give the
    same bytes. Raises BadParameter when the estimator does not take its parameters, BadData when a fold
    cannot be learned from.
    """
    recreate_folder(out)
    started = time.monotonic()
    frame = read_frame(case, split / TRAIN)
    with threadpool_limits(limits=1):
        params, validation, threshold = _cross_validate(case, candidate, frame)
        pipeline = build(case, case.candidates[candidate].estimator, params)
        pipeline.fit(frame[case.feature_names], frame[case.target])
    log.info("%s: fitted on %s rows, %.1f s in all", candidate, f"{len(frame):,}", time.monotonic() - started)
    Model(_signature(case, candidate, frame, threshold, split), pipeline).save(out)
    facts = {"candidate": candidate, "params": params, "validation": validation, "threshold": threshold}
    facts |= {"choose_by": case.choose_by, "rows": len(frame), "folds": case.folds, "seed": case.seed}
    write_json(out / TRAINING, facts | {"seconds": round(time.monotonic() - started, 2)})
    told = "" if threshold is None else f"; threshold {threshold:.4f}"
    log.info("%s: cross-validated %s%s", candidate, format_metrics(validation), told)
    return out


def _cross_validate(
    case: UseCase, candidate: str, frame: pd.DataFrame
) -> tuple[dict[str, Any], dict[Any, float], float | None]:
    """Return the parameters that score best out of fold, their figures and their threshold."""
    truth = encode_target(case, frame[case.target])
    best: tuple[float, dict[str, Any], dict[Any, float], float | None] | None = None
    tried = _combinations(case, candidate)
    for number, params in enumerate(tried, 1):
        started = time.monotonic()
        scores = _out_of_fold(case, build(case, case.candidates[candidate].estimator, params), frame)
        threshold = find_threshold(case.threshold, truth, scores) if case.task == "binary" else None
        figures = measure_all(case.metrics, truth, scores, decide(case.task, scores, threshold))
        check_metrics(case, figures)
        worth = gain(case.choose_by, figures[case.choose_by], 0.0)
        values = "".join(f", {name} {value}" for name, value in params.items()) if len(tried) > 1 else ""
        log.info(
            "%s: %d folds, %d of %d: %s %.4f, %.1f s%s", candidate, case.folds, number, len(tried),
            case.choose_by, figures[case.choose_by], time.monotonic() - started, values,
        )  # fmt: skip
        if best is None or worth > best[0]:
            best = worth, params, figures, threshold
    if best is None:
        raise BadData(f"{case.name}: candidate {candidate!r} has nothing to try")
    return best[1:]


def _combinations(case: UseCase, candidate: str) -> list[dict[str, Any]]:
    """List the parameters to try: the candidate's own, each with one combination of its search."""
    told = case.candidates[candidate]
    if told.search is None:
        return [told.params]
    grid = ParameterGrid(told.search.grid)
    if told.search.budget is None or told.search.budget >= len(grid):
        return [told.params | found for found in grid]
    return [
        told.params | found for found in ParameterSampler(told.search.grid, told.search.budget, random_state=case.seed)
    ]


def _out_of_fold(case: UseCase, pipeline: Pipeline, frame: pd.DataFrame) -> Floats:
    """Score every training row by a model that has not seen it; by the split's rule, nor a row that goes with it."""
    features, target, folds = frame[case.feature_names], frame[case.target], frame[FOLD]
    scores: Floats | None = None
    for fold in range(case.folds):
        held = (folds == fold).to_numpy()
        if not held.any() or held.all():
            raise BadData(
                f"{case.name}: fold {fold} has {held.sum()} of {len(held)} rows; use fewer folds or more rows"
            )
        if case.task != "regression" and target[~held].nunique() < 2:
            raise BadData(f"{case.name}: all rows but fold {fold} have one label only; use fewer folds or more rows")
        with _wrong_values(case):
            fitted = clone(pipeline).fit(features[~held], target[~held])
        found = predict_scores(case.task, fitted, features[held], [label.value for label in case.labels], case.positive)
        if scores is None:
            scores = np.full((len(target), *found.shape[1:]), np.nan)
        scores[held] = found
    return scores if scores is not None else np.empty(0)


@contextmanager
def _wrong_values(case: UseCase) -> Iterator[None]:
    """Tell in one line of a parameter's value that the estimator does not take."""
    try:
        yield
    except (ValueError, TypeError) as error:
        told = f"{case.name}: {' '.join(str(error).split())}"
        if "empty vocabulary" in told or "no terms remain" in told:
            raise BadData(f"{told}; text: {', '.join(case.text)}") from None
        if type(error).__name__ != "InvalidParameterError":  # scikit-learn does not export it
            raise
        raise BadParameter(told) from None


def _signature(case: UseCase, candidate: str, frame: pd.DataFrame, threshold: float | None, split: Path) -> Signature:
    facts = read_json(split / "split.json")
    return Signature(
        use_case=case.name,
        title=case.title,
        task=case.task,
        candidate=candidate,
        columns=tuple(case.features),
        text=case.text,
        id=case.id,
        target=case.target,
        labels=case.labels,
        positive=case.positive,
        threshold=threshold,
        split={"seed": facts["seed"], **facts["split"]},
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        example=example_row(case, frame),
        warn_unseen=_warned(case.serving.unseen),
        warn_out_of_range=_warned(case.serving.out_of_range),
        private=case.serving.private,
    )


def _warned(policies: dict[str, Policy]) -> tuple[str, ...]:
    return tuple(name for name, policy in policies.items() if policy == "warn")


def choose_candidate(case: UseCase, validation: dict[str, dict[Any, float]]) -> str:
    """Name the candidate with the best cross-validated score; the first in the YAML on a tie."""
    names = [name for name in case.candidates if name in validation]
    return max(names, key=lambda name: gain(case.choose_by, validation[name][case.choose_by], 0.0))
