"""`train`: split → model, one candidate at a time. `evaluate`: candidates and champion → a decision with its reason."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits

from updraft import card
from updraft.data import FOLD, TEST, TRAIN, BadData, fresh, read_frame, read_json, write_json
from updraft.metrics import Bools, Floats, best_f1_threshold, bootstrap_gain, gain, measure, measure_all
from updraft.model import Label, Model, Signature
from updraft.usecase import Candidate, EstimatorName, MetricName, UseCase

log = logging.getLogger(__name__)

TRAINING, EVALUATION = "training.json", "evaluation.json"
Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Champion:
    """The version in production: its number in the registry and the folder that it was pulled into."""

    number: int
    folder: Path


@dataclass(frozen=True)
class Scored:
    """What a model made of the held-out rows."""

    model: Model
    scores: Floats
    decided: Bools
    metrics: dict[MetricName, float]

    @property
    def pair(self) -> tuple[Floats, Bools]:
        return self.scores, self.decided


def train(case: UseCase, candidate: str, split: Path, out: Path) -> Path:
    """Fit one candidate on the split's training rows into the model folder `out`, with `training.json`; return it.

    The score by which candidates are chosen and the decision threshold come from cross-validation on the training rows.
    One thread throughout: the same rows, seed and libraries give the same bytes.
    """
    fresh(out)
    started = time.monotonic()
    frame = read_frame(case, split / TRAIN)
    features, target = frame[[column.name for column in case.features]], frame[case.target]
    pipeline = build(case, case.candidates[candidate])
    with threadpool_limits(limits=1):
        scores = _out_of_fold(case, pipeline, features, target, frame[FOLD])
        pipeline.fit(features, target)
    log.info("%s: fitted on %s rows, %.1f s in all", candidate, f"{len(frame):,}", time.monotonic() - started)
    truth = (target == case.positive).to_numpy()
    threshold = best_f1_threshold(truth, scores)
    validation = measure_all(truth, scores, scores >= threshold)
    Model(_signature(case, candidate, pipeline, features, threshold, split), pipeline).save(out)
    facts = {"candidate": candidate, "choose_by": case.choose_by, "validation": validation, "threshold": threshold}
    facts |= {"rows": len(frame), "folds": case.folds, "seed": case.seed, "params": case.candidates[candidate].params}
    write_json(out / TRAINING, facts | {"seconds": round(time.monotonic() - started, 2)})
    log.info("%s: cross-validated %s; threshold %.4f", candidate, said(validation), threshold)
    return out


def evaluate(case: UseCase, models: list[Path], split: Path, champion: Champion | None, out: Path) -> Path:
    """Choose a candidate by its score from training, hold it against floors and champion on the test rows, and decide.

    Test rows are raw: never resampled, cast or filled. Every candidate's figures are reported; only the chosen one's
    count. Writes `out/evaluation.json` and the model card `out/card.html`; returns `out`.
    """
    fresh(out)
    frame = read_frame(case, split / TEST)
    truth = (frame[case.target] == case.positive).to_numpy()
    by_name = {read_json(folder / TRAINING)["candidate"]: folder for folder in models}
    chosen = choose(case, {name: read_json(folder / TRAINING)["validation"] for name, folder in by_name.items()})
    with threadpool_limits(limits=1):
        scored = {name: _score(Model.load(folder), frame, truth, case) for name, folder in by_name.items()}
    for name, each in scored.items():
        log.info("%s%s: held out %s", name, " (chosen)" if name == chosen else "", said(each.metrics))
    against, rival = _against(case, scored[chosen], champion, frame, truth)
    decision, reason = decide(case, scored[chosen].metrics, against)
    log.info("decision: %s, because %s", decision, reason)
    evaluation = {
        "use_case": case.name,
        "chosen": chosen,
        "model": by_name[chosen].as_uri(),
        "decision": decision,
        "reason": reason,
        "rows": len(frame),
        "positive": int(truth.sum()),
        "threshold": scored[chosen].model.signature.threshold,
        "metrics": scored[chosen].metrics,
        "validation": {name: read_json(folder / TRAINING)["validation"] for name, folder in by_name.items()},
        "candidates": {name: each.metrics for name, each in scored.items()},
        "champion": against,
        "floors": case.floors,
        "gate": case.gate.model_dump(),
    }
    write_json(out / EVALUATION, evaluation)
    card.write(case, evaluation, frame, truth, scored[chosen], rival, out / card.CARD)
    log.info("model card: %s", out / card.CARD)
    return out


def build(case: UseCase, candidate: Candidate) -> Pipeline:
    """Build the unfitted pipeline of a candidate; it takes raw rows and passes over columns that are no features."""
    return ESTIMATORS[candidate.estimator](case, candidate.params)


def choose(case: UseCase, validation: dict[str, dict[MetricName, float]]) -> str:
    """Name the candidate with the best cross-validated score; the first in the YAML on a tie."""
    names = [name for name in case.candidates if name in validation]
    return max(names, key=lambda name: gain(case.choose_by, validation[name][case.choose_by], 0.0))


def decide(case: UseCase, metrics: dict[MetricName, float], against: dict[str, Any] | None) -> tuple[Decision, str]:
    """Judge the chosen candidate: `reject` (not stored), `hold` (stored, for a person to promote) or `promote`."""
    below = [
        f"{name} {metrics[name]:.4f} does not reach the floor {floor:g}"
        for name, floor in case.floors.items()
        if gain(name, metrics[name], floor) < 0
    ]
    if below:
        return "reject", "; ".join(below)
    if against and "error" in against:
        return "hold", f"the champion, version {against['version']}, cannot score these rows ({against['error']})"
    if against and (against["gain"] <= 0 or against["gain"] < case.gate.margin):
        return "reject", _compared(case, against, "does not beat")
    reason = _compared(case, against, "beats") if against else "there is no champion yet"
    return ("hold", f"{reason}, but promote is 'never'") if case.promote == "never" else ("promote", reason)


def said(metrics: dict[MetricName, float]) -> str:
    """Write metrics in one line."""
    return " · ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _compared(case: UseCase, against: dict[str, Any], verb: str) -> str:
    low, high = against["interval"]
    return (
        f"{case.gate.metric} {verb} the champion's, version {against['version']}, by {case.gate.margin:g}: "
        f"{against['challenger']:.4f} against {against['champion']:.4f}, "
        f"{against['gain']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
    )


def _out_of_fold(
    case: UseCase, pipeline: Pipeline, features: pd.DataFrame, target: pd.Series[Any], folds: pd.Series[Any]
) -> Floats:
    """Score every training row by a model that has not seen it, nor a row with the same features."""
    scores = np.full(len(target), np.nan)
    for fold in range(case.folds):
        held = (folds == fold).to_numpy()
        for part in (target[held], target[~held]):
            if part.nunique() < 2:
                told = f"{case.name}: fold {fold} has {len(part)} rows of one label only"
                raise BadData(f"{told}; use fewer folds or more rows")
        started = time.monotonic()
        fitted = clone(pipeline).fit(features[~held], target[~held])
        scores[held] = fitted.predict_proba(features[held])[:, list(fitted.classes_).index(case.positive)]
        log.info("fold %d of %d: %.1f s", fold + 1, case.folds, time.monotonic() - started)
    return scores


def _score(model: Model, frame: pd.DataFrame, truth: Bools, case: UseCase) -> Scored:
    scores = model.scores(frame)
    decided = model.decide(scores) == case.positive
    return Scored(model, scores, decided, measure_all(truth, scores, decided))


def _against(
    case: UseCase, challenger: Scored, champion: Champion | None, frame: pd.DataFrame, truth: Bools
) -> tuple[dict[str, Any] | None, Scored | None]:
    """Score the champion on the same rows and compare; the gain is the challenger's, by the gate's metric."""
    if champion is None:
        return None, None
    model = Model.load(champion.folder)
    try:
        rival = _score(model, frame, truth, case)
    except (ValueError, KeyError) as error:  # scikit-learn's own, when columns were taken away or changed their type
        return {"version": champion.number, "error": " ".join(str(error).split())}, None
    name = case.gate.metric
    new, old = (measure(name, truth, *each.pair) for each in (challenger, rival))
    if model.signature.split != challenger.model.signature.split:
        log.warning("the champion was trained on another split: it may have seen these test rows, which flatters it")
    return {
        "version": champion.number,
        "metrics": rival.metrics,
        "challenger": new,
        "champion": old,
        "gain": gain(name, new, old),
        "interval": bootstrap_gain(name, truth, challenger.pair, rival.pair, case.seed),
        "same_split": model.signature.split == challenger.model.signature.split,
    }, rival


def _signature(
    case: UseCase, candidate: str, pipeline: Pipeline, features: pd.DataFrame, threshold: float, split: Path
) -> Signature:
    names = {label.value: label.name for label in case.labels}
    facts = read_json(split / "split.json")
    return Signature(
        use_case=case.name,
        title=case.title,
        candidate=candidate,
        columns=tuple(case.features),
        id=case.id,
        target=case.target,
        labels=tuple(Label(value=value, name=names[value]) for value in pipeline.classes_.tolist()),
        positive=case.positive,
        threshold=threshold,
        split={key: facts[key] for key in ("seed", "test_share")},
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        example=features.head(1).to_dict(orient="records")[0],
    )


def _codes(unknown: float, most: int | None = None) -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=unknown, max_categories=most)


def _columns(case: UseCase, encoder: OrdinalEncoder) -> ColumnTransformer:
    """Put encoded categories first, then the numbers as they are."""
    categories, numbers = _kinds(case)
    return ColumnTransformer([("categories", encoder, categories), ("numbers", "passthrough", numbers)])


def _kinds(case: UseCase) -> tuple[list[str], list[str]]:
    categories = [c.name for c in case.features if c.name in case.categorical or c.type == "str"]
    return categories, [column.name for column in case.features if column.name not in categories]


def _random_forest(case: UseCase, params: dict[str, Any]) -> Pipeline:
    forest = RandomForestClassifier(random_state=case.seed, n_jobs=1, **params)
    return Pipeline([("columns", _columns(case, _codes(unknown=-1))), ("model", forest)])


def _hist_gradient_boosting(case: UseCase, params: dict[str, Any]) -> Pipeline:
    native = list(range(len(_kinds(case)[0])))  # 255 codes at most, the rarest together; unknown is missing
    boosting = HistGradientBoostingClassifier(random_state=case.seed, categorical_features=native, **params)
    return Pipeline([("columns", _columns(case, _codes(unknown=np.nan, most=254))), ("model", boosting)])


ESTIMATORS: dict[EstimatorName, Callable[[UseCase, dict[str, Any]], Pipeline]] = {
    "RandomForestClassifier": _random_forest,
    "HistGradientBoostingClassifier": _hist_gradient_boosting,
}
LIBRARIES = ("scikit-learn", "pandas", "numpy", "joblib")
