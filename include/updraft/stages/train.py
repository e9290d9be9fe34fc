"""`train`: split → model, one candidate at a time."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from updraft.errors import BadData
from updraft.learning.estimators import BadParameter, build
from updraft.learning.example_row import example_row
from updraft.learning.fits import side_by_side, spread_over, threads_for_fits
from updraft.learning.metrics import Floats, find_threshold, gain, measure_all
from updraft.learning.score import check_metrics, encode_target, format_metrics
from updraft.learning.splits import FOLD
from updraft.model.model import Model, predict_scores
from updraft.model.prediction import decide
from updraft.model.signature import Signature
from updraft.stages.stage_folder import TRAIN, read_frame, read_json, recreate_folder, write_json
from updraft.usecase import UseCase
from updraft.usecase.blocks import Policy

log = logging.getLogger(__name__)

TRAINING = "training.json"
LIBRARIES = ("scikit-learn", "pandas", "numpy", "joblib")


def train(case: UseCase, candidate: str, split: Path, out: Path) -> Path:
    """Fit one candidate on the training rows; write the model and `training.json` to the folder `out` and return it.

    The parameters (with a `search`), the metrics by which candidates are compared, and the decision threshold come from
    cross-validation on the training rows. Fits run side by side, each computing in one thread, and a forest's trees are
    spread over threads, which changes none: equal rows, seed and libraries give equal bytes. Raises BadParameter when
    the estimator does not accept its parameters, BadData when a fold cannot be fitted.
    """
    recreate_folder(out)
    started = time.monotonic()
    frame = read_frame(case, split / TRAIN)
    threads = threads_for_fits()
    params, validation, threshold = _cross_validate(case, candidate, frame, threads)
    pipeline = build(case, case.candidates[candidate].estimator, params)
    with threadpool_limits(limits=1), spread_over(threads, pipeline["model"]):
        pipeline.fit(frame[case.feature_names], frame[case.target])
    log.info("%s: fitted on %s rows, %.1f s in all, in %d threads", candidate, f"{len(frame):,}",
             time.monotonic() - started, threads)  # fmt: skip
    Model(_signature(case, candidate, frame, threshold, split), pipeline).save(out)
    summary = {"candidate": candidate, "params": params, "validation": validation, "threshold": threshold}
    summary |= {
        "threads": threads,
        "threads_of_a_fit": 1,
        "choose_by": case.choose_by,
        "rows": len(frame),
        "folds": case.folds,
        "seed": case.seed,
    }
    summary |= {"configuration_sha256": case.configuration_sha256}
    write_json(out / TRAINING, summary | {"seconds": round(time.monotonic() - started, 2)})
    suffix = "" if threshold is None else f"; threshold {threshold:.4f}"
    log.info("%s: cross-validated %s%s", candidate, format_metrics(validation), suffix)
    return out


def _cross_validate(
    case: UseCase, candidate: str, frame: pd.DataFrame, threads: int
) -> tuple[dict[str, Any], dict[Any, float], float | None]:
    """Return the parameters with the best out-of-fold score, their metrics and their threshold."""
    truth = encode_target(case, frame[case.target])
    best: tuple[float, dict[str, Any], dict[Any, float], float | None] | None = None
    combinations = _combinations(case, candidate)
    held_out = _held_out(case, frame)
    estimator = case.candidates[candidate].estimator
    pipelines = [build(case, estimator, params) for params in combinations]
    fits = [partial(_score_fold, case, pipeline, frame, rows) for pipeline in pipelines for rows in held_out]
    scores_by_fold = side_by_side(fits, threads)
    started = time.monotonic()
    for number, params in enumerate(combinations, 1):
        scores = _out_of_fold(held_out, scores_by_fold)
        threshold = find_threshold(case.threshold, truth, scores) if case.task == "binary" else None
        metrics = measure_all(case.metrics, truth, scores, decide(case.task, scores, threshold))
        check_metrics(case, metrics)
        score = gain(case.choose_by, metrics[case.choose_by], 0.0)
        values = "".join(f", {name} {value}" for name, value in params.items()) if len(combinations) > 1 else ""
        log.info(
            "%s: %d folds, %d of %d: %s %.4f, %.1f s%s", candidate, case.folds, number, len(combinations),
            case.choose_by, metrics[case.choose_by], time.monotonic() - started,
            values,
        )  # fmt: skip
        started = time.monotonic()
        if best is None or score > best[0]:
            best = score, params, metrics, threshold
    if best is None:
        raise BadData(f"{case.name}: candidate {candidate!r} has no parameters to try")
    return best[1:]


def _combinations(case: UseCase, candidate: str) -> list[dict[str, Any]]:
    """List the parameters to try: the candidate's own, each with one combination of its search."""
    spec = case.candidates[candidate]
    if spec.search is None:
        return [spec.params]
    grid = ParameterGrid(spec.search.grid)
    if spec.search.budget is None or spec.search.budget >= len(grid):
        return [spec.params | combination for combination in grid]
    sampler = ParameterSampler(spec.search.grid, spec.search.budget, random_state=case.seed)
    return [spec.params | combination for combination in sampler]


def _held_out(case: UseCase, frame: pd.DataFrame) -> list[NDArray[np.bool_]]:
    """Return the rows of each fold; raise BadData where a model cannot be fitted without them."""
    masks = [(frame[FOLD] == fold).to_numpy() for fold in range(case.folds)]
    for fold, rows in enumerate(masks):
        if not rows.any() or rows.all():
            message = f"{case.name}: fold {fold} has {rows.sum()} of {len(rows)} rows; use fewer folds or more rows"
            raise BadData(message)
        if case.task != "regression" and frame[case.target][~rows].nunique() < 2:
            raise BadData(f"{case.name}: all rows but fold {fold} have one label only; use fewer folds or more rows")
    return masks


def _score_fold(case: UseCase, pipeline: Pipeline, frame: pd.DataFrame, held_out: NDArray[np.bool_]) -> Floats:
    """Score the rows of a fold by a model that is fitted without them."""
    features, target = frame[case.feature_names], frame[case.target]
    with _one_line_errors(case):
        fitted = clone(pipeline).fit(features[~held_out], target[~held_out])
    labels = [label.value for label in case.labels]
    return predict_scores(case.task, fitted, features[held_out], labels, case.positive)


def _out_of_fold(held_out: list[NDArray[np.bool_]], scores_by_fold: Iterator[Floats]) -> Floats:
    """Put the scores of the next folds together: each row's by the model that has not seen it."""
    scores = np.empty(0)
    for number, rows in enumerate(held_out):
        fold_scores = next(scores_by_fold)
        if not number:
            scores = np.full((len(rows), *fold_scores.shape[1:]), np.nan)
        scores[rows] = fold_scores
    return scores


@contextmanager
def _one_line_errors(case: UseCase) -> Iterator[None]:
    """Turn scikit-learn's errors about a parameter's value or a vocabulary into one line for the user."""
    try:
        yield
    except (ValueError, TypeError) as error:
        message = f"{case.name}: {' '.join(str(error).split())}"
        if "empty vocabulary" in message or "no terms remain" in message:
            raise BadData(f"{message}; text: {', '.join(case.text)}") from None
        if type(error).__name__ != "InvalidParameterError":  # scikit-learn does not export it
            raise
        raise BadParameter(message) from None


def _signature(case: UseCase, candidate: str, frame: pd.DataFrame, threshold: float | None, split: Path) -> Signature:
    rule = read_json(split / "split.json")
    return Signature(
        use_case=case.name,
        title=case.title,
        task=case.task,
        candidate=candidate,
        columns=tuple(case.features),
        text=case.text,
        id=case.id,
        id_type=next((column.type for column in case.columns if column.name == case.id), "str"),
        target=case.target,
        labels=case.labels,
        positive=case.positive,
        threshold=threshold,
        split={"seed": rule["seed"], **rule["split"]},
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        example=example_row(case, frame),
        warn_unseen=_warning_only(case, "unseen", case.serving.unseen),
        warn_out_of_range=_warning_only(case, "out_of_range", case.serving.out_of_range),
        private=case.serving.private,
        reading=case.read,
        left_out=tuple(_left_out(case, rule["other_columns"])),
    )


def _left_out(case: UseCase, other_columns: list[str]) -> Iterator[str]:
    """Yield the columns that the training data had and the model does not use."""
    used = {*case.feature_names, case.target, case.id}
    yield from (column.name for column in case.columns if column.name not in used)
    yield from other_columns


def _warning_only(case: UseCase, bound: str, policies: dict[str, Policy]) -> tuple[str, ...]:
    """Name the columns of which a value beyond a bound is predicted: by the YAML, else as the suite tolerates some."""
    tolerated = {column.name: "warn" for column in case.features if bound in column.tolerated}
    return tuple(name for name, policy in {**tolerated, **policies}.items() if policy == "warn")


def choose_candidate(case: UseCase, validation: dict[str, dict[Any, float]]) -> str:
    """Return the candidate with the best cross-validated score; on a tie the first in the YAML."""
    names = [name for name in case.candidates if name in validation]
    return max(names, key=lambda name: gain(case.choose_by, validation[name][case.choose_by], 0.0))
