"""Try a candidate's parameters on the training rows, in folds or on a holdout; choose the best and its threshold."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import Pipeline

from updraft.errors import BadData
from updraft.learning.estimators import BadParameter, build
from updraft.learning.fits import Engine, spread_over
from updraft.learning.metrics import Floats, find_threshold, gain, measure_all
from updraft.learning.score import check_metrics, encode_target
from updraft.learning.splits import FOLD, NOT_HELD_OUT
from updraft.model.model import predict_scores
from updraft.model.prediction import decide
from updraft.usecase import UseCase

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Combination:
    """A candidate's parameters, one combination of its search, and the unfitted pipeline that has them."""

    params: Mapping[str, Any]
    pipeline: Pipeline


@dataclass(frozen=True)
class Chosen:
    """The best combination, its metrics and its threshold, which only a binary task has.

    They are those of `validated` rows: all, in so many folds, or the holdout's, without folds.
    """

    params: dict[str, Any]
    metrics: dict[Any, float]
    threshold: float | None
    folds: int | None
    validated: int


def combinations(case: UseCase, candidate: str) -> list[Combination]:
    """List the parameters to try: the candidate's own, each with one combination of its search."""
    spec = case.candidates[candidate]
    tried = [spec.params | combination for combination in _searched(case, candidate)]
    return [Combination(params, build(case, spec.estimator, params)) for params in tried]


def _searched(case: UseCase, candidate: str) -> list[dict[str, Any]]:
    search = case.candidates[candidate].search
    if search is None:
        return [{}]
    grid = ParameterGrid(search.grid)
    if search.budget is None or search.budget >= len(grid):
        return list(grid)
    return list(ParameterSampler(search.grid, search.budget, random_state=case.seed))


def choose(case: UseCase, candidate: str, tried: Sequence[Combination], frame: pd.DataFrame, engine: Engine) -> Chosen:
    """Return the parameters with the best score on rows that the model has not seen."""
    best: tuple[float, Chosen] | None = None
    held_out = _held_out(case, frame)
    validated = np.logical_or.reduce(held_out)
    truth = encode_target(case, frame[case.target][validated])
    folds = len(held_out) if validated.all() else None
    how = f"{folds} folds" if folds else f"holdout of {len(truth):,} rows"
    fitted = [(each.pipeline, rows) for each in tried for rows in held_out]
    threads = engine.tree_threads(len(fitted))
    scores_by_fold = engine.run([
        partial(_score_fold, case, pipeline, frame, rows, number)
        for (pipeline, rows), number in zip(fitted, threads, strict=True)
    ])
    started = time.monotonic()
    for number, each in enumerate(tried, 1):
        scores = _out_of_fold(held_out, scores_by_fold)[validated]
        threshold = find_threshold(case.threshold, truth, scores) if case.task == "binary" else None
        metrics = measure_all(case.metrics, truth, scores, decide(case.task, scores, threshold))
        check_metrics(case, metrics)
        score = gain(case.choose_by, metrics[case.choose_by], 0.0)
        values = "".join(f", {name} {value}" for name, value in each.params.items()) if len(tried) > 1 else ""
        log.info(
            "%s: %s, %d of %d: %s %.4f, %.1f s%s", candidate, how, number, len(tried),
            case.choose_by, metrics[case.choose_by], time.monotonic() - started,
            values,
        )  # fmt: skip
        started = time.monotonic()
        if best is None or score > best[0]:
            best = score, Chosen(dict(each.params), metrics, threshold, folds, len(truth))
    if best is None:
        raise BadData(f"{case.name}: candidate {candidate!r} has no parameters to try")
    return best[1]


def _held_out(case: UseCase, frame: pd.DataFrame) -> list[NDArray[np.bool_]]:
    """Return the rows of each fold, or of the holdout; raise BadData where a model cannot be fitted without them."""
    with_holdout = bool((frame[FOLD] == NOT_HELD_OUT).any())
    masks = [(frame[FOLD] == fold).to_numpy() for fold in range(1 if with_holdout else case.folds)]
    for fold, rows in enumerate(masks):
        part = "the holdout" if with_holdout else f"fold {fold}"
        hint = "another share" if with_holdout else "fewer folds"
        if not rows.any() or rows.all():
            message = f"{case.name}: {part} has {rows.sum()} of {len(rows)} rows; use {hint} or more rows"
            raise BadData(message)
        if case.task != "regression" and frame[case.target][~rows].nunique() < 2:
            raise BadData(f"{case.name}: all rows but {part} have one label only; use {hint} or more rows")
    return masks


def _score_fold(
    case: UseCase, pipeline: Pipeline, frame: pd.DataFrame, held_out: NDArray[np.bool_], threads: int
) -> Floats:
    """Score the rows of a fold by a model that is fitted without them."""
    features, target = frame[case.feature_names], frame[case.target]
    fitted = clone(pipeline)
    with _one_line_errors(case), spread_over(threads, fitted["model"]):
        fitted.fit(features[~held_out], target[~held_out])
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
