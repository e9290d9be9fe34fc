"""`evaluate`: candidates and champion → one decision, with its reason."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from threadpoolctl import threadpool_limits

from updraft.learning import model_card
from updraft.learning.compile import served_form
from updraft.learning.golden_rows import make_rows
from updraft.learning.metrics import bootstrap_gain, gain, measure, measure_all
from updraft.learning.score import ScoringResult, format_metrics, score
from updraft.learning.slices import MIN_SLICE_ROWS, slices
from updraft.model import golden
from updraft.model.model import Model
from updraft.model.number_format import format_difference, format_metric, format_number
from updraft.model.version_files import EVALUATION as EVALUATION
from updraft.model.version_files import MODEL, SIGNATURE
from updraft.monitoring.reference import REFERENCE, describe, watched_by
from updraft.registry.states import Hold
from updraft.stages.stage_folder import TEST, TRAIN, read_frame, read_json, recreate_folder, write_json
from updraft.stages.train import TRAINING, choose_candidate
from updraft.usecase import UseCase
from updraft.usecase.blocks import MetricName

log = logging.getLogger(__name__)

Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Champion:
    """The version in production: its number in the registry, and its verified files' contents by name."""

    number: int
    files: Mapping[str, bytes]


NO_HOLDS: Mapping[str, Hold] = {}
WON = {"better": "beats", "not_worse": "is not worse than"}
LOST = {"better": "does not beat", "not_worse": "is worse than"}
HINT = "`gate: {interval: reported}` lets it pass"


def evaluate(
    case: UseCase,
    models: list[Path],
    split: Path,
    champion: Champion | None,
    out: Path,
    *,
    holds: Mapping[str, Hold] = NO_HOLDS,
    cause: Mapping[str, Any] | None = None,
) -> Path:
    """Choose a candidate by its validation, compare it with floors and champion on the test rows, and decide.

    Test rows are raw: never resampled, cast or imputed. All candidates' metrics are reported; only the chosen one's
    count. `holds` are the registry's, by the model's sha256: a model that is held is not promoted, however good it is.
    `cause` is why the monitor asked for the run, if it did.
    Writes `out/evaluation.json`, the model card `out/card.html`, `out/reference.json` (a profile of the training
    data and of the predictions), `out/golden.json` (the chosen model's scores of synthetic rows) and, where it can be
    compiled, the files of that form and their certificate; returns `out`.
    """
    recreate_folder(out)
    train, test = (read_frame(case, split / name) for name in (TRAIN, TEST))
    folders = {summary["candidate"]: folder for folder in models for summary in [read_json(folder / TRAINING)]}
    summaries = {name: read_json(folder / TRAINING) for name, folder in folders.items()}
    chosen = choose_candidate(case, {name: summary["validation"] for name, summary in summaries.items()})
    with threadpool_limits(limits=1):
        loaded = {name: _load(folder) for name, folder in folders.items()}
        results = {name: score(case, model, test) for name, (model, _) in loaded.items()}
        train_metrics = score(case, results[chosen].model, train).metrics if case.max_gap else None
        comparison, champion_result = _compare(case, results[chosen], champion, test)
    if champion and comparison:
        comparison["same_model"] = hashlib.sha256(champion.files[MODEL]).hexdigest() == loaded[chosen][1]
    for name, result in results.items():
        log.info("%s%s: held out %s", name, " (chosen)" if name == chosen else "", format_metrics(result.metrics))
    model, model_sha256 = loaded[chosen]
    evaluation = {
        "use_case": case.name,
        "configuration_sha256": case.configuration_sha256,
        "task": case.task,
        "chosen": chosen,
        "model_sha256": model_sha256,
        "held": str(holds[model_sha256]) if model_sha256 in holds else None,
        "params": summaries[chosen]["params"],
        "candidate_params": {name: summary["params"] for name, summary in summaries.items()},
        "rows": len(test),
        "positive": int(results[chosen].truth.sum()) if case.task == "binary" else None,
        "threshold": model.signature.threshold,
        "metrics": results[chosen].metrics,
        "train_metrics": train_metrics,
        "slices": {name: _slices(case, name, results[chosen], test) for name in case.slices},
        "validation": {name: summary["validation"] for name, summary in summaries.items()},
        "validated": _validated(summaries[chosen]),
        "candidates": {name: result.metrics for name, result in results.items()},
        "champion": comparison,
        "floors": case.floors,
        "gate": case.gate.model_dump(),
        "cause": cause,
        "uneven_quarantine": read_json(split / "split.json").get("uneven_quarantine", ""),
    }
    with threadpool_limits(limits=1):
        evaluation["serving"] = served_form.write(model, test, train, case.seed, out)
    decision, reason = decide(case, evaluation)
    log.info("decision: %s, because %s", decision, reason)
    write_json(out / EVALUATION, evaluation | {"decision": decision, "reason": reason})
    reference = describe(train, case, results[chosen].scores)
    write_json(out / REFERENCE, reference.model_dump())
    card = out / model_card.CARD
    with threadpool_limits(limits=1):
        watched = {name: watched_by(profile) for name, profile in reference.columns.items()}
        model_card.write(case, read_json(out / EVALUATION), watched, test, results[chosen], champion_result, card)
        golden.write(model, make_rows(model.signature, test, [test, train], case.seed), out)
    log.info("model card: %s", card)
    return out


def decide(case: UseCase, evaluation: dict[str, Any]) -> tuple[Decision, str]:
    """Decide on the chosen candidate: `reject` (not stored), `hold` (stored, for a person to promote) or `promote`.

    A model that is held already, by its bytes, is a `hold`, too, and not stored a second time.
    """
    comparison = evaluation["champion"]
    if evaluation.get("held"):
        return "hold", f"this very model is {evaluation['held']}; only a person promotes it again, with --force"
    if unmet := _unmet(case, evaluation):
        return "reject", "; ".join(unmet)
    if comparison and "error" in comparison:
        return "hold", f"the champion, version {comparison['version']}, cannot score these rows ({comparison['error']})"
    if comparison and (reason := _lost(case, comparison)):
        return "reject", reason
    reason = _describe(case, comparison, WON[case.gate.rule]) if comparison else "there is no champion yet"
    return ("hold", f"{reason}, but promote is 'never'") if case.promote == "never" else ("promote", reason)


def _lost(case: UseCase, comparison: dict[str, Any]) -> str:
    """Say why the challenger does not replace the champion by the gate's rule; "" when it does."""
    gate = case.gate
    better = gate.rule == "better"
    if not better and comparison.get("same_model"):
        return f"it is the same model as the champion's, version {comparison['version']}"
    least = 0.0 if better else -gate.margin  # the gain must be greater
    if not comparison["gain"] > least or (better and comparison["gain"] < gate.margin):
        return _describe(case, comparison, LOST[gate.rule])
    if gate.interval == "required" and not comparison["interval"][0] > least:
        above = "zero" if better else format_number(least)
        won = _describe(case, comparison, WON[gate.rule])
        return f"{won}, but it may be chance, for the interval is not above {above}; {HINT}"
    return ""


def _unmet(case: UseCase, evaluation: dict[str, Any]) -> list[str]:
    """Describe the floors, of all rows and of slices, and the limits of the train-test gap that are not met."""
    unmet = [_below("", name, evaluation["metrics"][name], floor) for name, floor in case.floors.items()]
    for column, part in case.slices.items():
        if part.floors and not evaluation["slices"][column]:
            unmet.append(f"no value of {column} has {MIN_SLICE_ROWS} held-out rows, so its floors cannot be checked")
        for value, part_of_rows in evaluation["slices"][column].items():
            unmet += [
                _below(f"{column} = {value}: ", name, part_of_rows["metrics"][name], floor)
                for name, floor in part.floors.items()
                if name in part_of_rows["metrics"]
            ]
    for name, max_gap in case.max_gap.items():
        gap = gain(name, evaluation["train_metrics"][name], evaluation["metrics"][name])
        if gap > max_gap:
            gained = f"{name} is {format_metric(gap)} better on the training rows"
            unmet.append(f"{gained}, more than max_gap {format_number(max_gap)}")
    return [message for message in unmet if message]


def _below(title: str, name: MetricName, value: float, floor: float) -> str:
    message = f"{title}{name} {format_metric(value)} does not reach the floor {format_number(floor)}"
    return message if gain(name, value, floor) < 0 else ""


def _describe(case: UseCase, comparison: dict[str, Any], verb: str) -> str:
    low, high = map(format_difference, comparison["interval"])
    margin = format_number(case.gate.margin)
    return (
        f"{case.gate.metric} {verb} the champion's, version {comparison['version']}, by {margin}: "
        f"{format_metric(comparison['challenger'])} against {format_metric(comparison['champion'])}, "
        f"{format_difference(comparison['gain'])} (95 % {low} to {high})"
    )


def _slices(case: UseCase, column: str, result: ScoringResult, frame: pd.DataFrame) -> dict[str, Any]:
    """Compute the metrics for each value of a column."""
    measured = {}
    for value, inside in slices(frame[column]):
        metrics = measure_all(case.metrics, result.truth[inside], result.scores[inside], result.decisions[inside])
        measured[value] = {"rows": int(inside.sum()), "metrics": metrics}
    return measured


def _compare(
    case: UseCase, challenger: ScoringResult, champion: Champion | None, frame: pd.DataFrame
) -> tuple[dict[str, Any] | None, ScoringResult | None]:
    """Score the champion on the same rows; return the comparison, by the gate's metric, and the champion's result."""
    if champion is None:
        return None, None
    try:
        model = Model.from_bytes(champion.files[SIGNATURE], champion.files[MODEL])
        _require_comparable(challenger.model, model)
        result = score(case, model, frame)
    except Exception as error:  # another library or column may raise anything: a person must look
        return {"version": champion.number, "error": " ".join(f"{type(error).__name__}: {error}".split())}, None
    name = case.gate.metric
    new, old = (measure(name, scored.truth, *scored.predictions) for scored in (challenger, result))
    same = _split_of(model) == _split_of(challenger.model)
    if not same:
        log.warning(
            "the champion was trained on another split: it may have seen these test rows, which overstates its metrics"
        )
    return {
        "version": champion.number,
        "metrics": result.metrics,
        "challenger": new,
        "champion": old,
        "gain": gain(name, new, old),
        "interval": bootstrap_gain(name, challenger.truth, challenger.predictions, result.predictions, case.seed),
        "same_split": same,
    }, result


def _validated(training: Mapping[str, Any]) -> dict[str, Any]:
    """Say on which of the training rows the candidates were compared; without folds on a holdout."""
    rows = training["rows"]
    return {"folds": training["folds"], "rows": training.get("validated_rows", rows), "training_rows": rows}


def _load(folder: Path) -> tuple[Model, str]:
    """Load a candidate, and return the sha256 of the bytes that were loaded with it."""
    content = (folder / MODEL).read_bytes()
    return Model.from_bytes((folder / SIGNATURE).read_bytes(), content), hashlib.sha256(content).hexdigest()


def _split_of(model: Model) -> tuple[Any, ...]:
    """Return what determined the model's training rows; a split by hash depends on every feature."""
    split, columns = model.signature.split, model.signature.columns
    return split, [(column.name, column.type) for column in columns] if split.get("by") == "hash" else []


def _require_comparable(challenger: Model, champion: Model) -> None:
    """Raise ValueError if the champion predicts something else: its metrics could not be compared."""
    for key in ("task", "target", "positive", "labels"):
        ours, theirs = getattr(challenger.signature, key), getattr(champion.signature, key)
        if ours != theirs:
            raise ValueError(f"its {key} is {theirs!r}, now it is {ours!r}")
