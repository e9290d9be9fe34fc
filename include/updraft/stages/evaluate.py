"""`evaluate`: candidates and champion → one decision, with its reason."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from threadpoolctl import threadpool_limits

from updraft.learning import model_card
from updraft.learning.metrics import bootstrap_gain, gain, measure, measure_all
from updraft.learning.score import ScoringResult, format_metrics, score
from updraft.model import golden
from updraft.model.model import Model
from updraft.monitoring.reference import REFERENCE, describe
from updraft.stages.stage_folder import TEST, TRAIN, read_frame, read_json, recreate_folder, write_json
from updraft.stages.train import TRAINING, choose_candidate
from updraft.usecase import UseCase
from updraft.usecase.blocks import MetricName

log = logging.getLogger(__name__)

EVALUATION = "evaluation.json"
SLICE_ROWS, SLICE_VALUES = 30, 20
Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Champion:
    """The version in production: its number in the registry and the folder that it was pulled into."""

    number: int
    folder: Path


def evaluate(case: UseCase, models: list[Path], split: Path, champion: Champion | None, out: Path) -> Path:
    """Choose a candidate by its score from training, hold it against floors and champion on the test rows, and decide.

    Test rows are raw: never resampled, cast or filled. Every candidate's figures are reported; only the chosen one's
    count. Writes `out/evaluation.json`, the model card `out/card.html`, `out/reference.json`, which says what the
    training data looked like, and `out/golden.json`, what the chosen model answers to made-up rows; returns `out`.
    """
    recreate_folder(out)
    frame, seen = read_frame(case, split / TEST), read_frame(case, split / TRAIN)
    trained = {told["candidate"]: (told, folder) for folder in models for told in [read_json(folder / TRAINING)]}
    chosen = choose_candidate(case, {name: told["validation"] for name, (told, _) in trained.items()})
    with threadpool_limits(limits=1):
        scored = {name: score(case, Model.load(folder), frame) for name, (_, folder) in trained.items()}
        on_train = score(case, scored[chosen].model, seen).metrics if case.max_gap else None
        against, rival = _against(case, scored[chosen], champion, frame)
    for name, each in scored.items():
        log.info("%s%s: held out %s", name, " (chosen)" if name == chosen else "", format_metrics(each.metrics))
    facts = {
        "use_case": case.name,
        "task": case.task,
        "chosen": chosen,
        "params": trained[chosen][0]["params"],
        "rows": len(frame),
        "positive": int(scored[chosen].truth.sum()) if case.task == "binary" else None,
        "threshold": scored[chosen].model.signature.threshold,
        "metrics": scored[chosen].metrics,
        "train_metrics": on_train,
        "slices": {name: _slices(case, name, scored[chosen], frame) for name in case.slices},
        "validation": {name: told["validation"] for name, (told, _) in trained.items()},
        "candidates": {name: each.metrics for name, each in scored.items()},
        "champion": against,
        "floors": case.floors,
        "gate": case.gate.model_dump(),
    }
    decision, reason = decide(case, facts)
    log.info("decision: %s, because %s", decision, reason)
    write_json(out / EVALUATION, facts | {"decision": decision, "reason": reason})
    write_json(out / REFERENCE, describe(seen, case))
    with threadpool_limits(limits=1):
        model_card.write(case, read_json(out / EVALUATION), frame, scored[chosen], rival, out / model_card.CARD)
        model = scored[chosen].model
        golden.write(model, golden.make_rows(model.signature, frame, [frame, seen], case.seed), out)
    log.info("model card: %s", out / model_card.CARD)
    return out


def decide(case: UseCase, facts: dict[str, Any]) -> tuple[Decision, str]:
    """Judge the chosen candidate: `reject` (not stored), `hold` (stored, for a person to promote) or `promote`."""
    against = facts["champion"]
    if unmet := _unmet(case, facts):
        return "reject", "; ".join(unmet)
    if against and "error" in against:
        return "hold", f"the champion, version {against['version']}, cannot score these rows ({against['error']})"
    if against and (against["gain"] <= 0 or against["gain"] < case.gate.margin):
        return "reject", _compared(case, against, "does not beat")
    reason = _compared(case, against, "beats") if against else "there is no champion yet"
    return ("hold", f"{reason}, but promote is 'never'") if case.promote == "never" else ("promote", reason)


def _unmet(case: UseCase, facts: dict[str, Any]) -> list[str]:
    """Say which floors, of all rows and of slices, and which limits of the gap between train and test do not hold."""
    unmet = [_below("", name, facts["metrics"][name], floor) for name, floor in case.floors.items()]
    for column, part in case.slices.items():
        if part.floors and not facts["slices"][column]:
            unmet.append(f"no value of {column} has {SLICE_ROWS} held-out rows, so its floors cannot be judged")
        for value, figures in facts["slices"][column].items():
            unmet += [
                _below(f"{column} = {value}: ", name, figures["metrics"][name], floor)
                for name, floor in part.floors.items()
                if name in figures["metrics"]
            ]
    for name, most in case.max_gap.items():
        gap = gain(name, facts["train_metrics"][name], facts["metrics"][name])
        if gap > most:
            unmet.append(f"{name} is {gap:.4f} better on the training rows, more than max_gap {most:g}")
    return [each for each in unmet if each]


def _below(title: str, name: MetricName, value: float, floor: float) -> str:
    return f"{title}{name} {value:.4f} does not reach the floor {floor:g}" if gain(name, value, floor) < 0 else ""


def _compared(case: UseCase, against: dict[str, Any], verb: str) -> str:
    low, high = against["interval"]
    return (
        f"{case.gate.metric} {verb} the champion's, version {against['version']}, by {case.gate.margin:g}: "
        f"{against['challenger']:.4f} against {against['champion']:.4f}, "
        f"{against['gain']:+.4f} (95 % {low:+.4f} to {high:+.4f})"
    )


def _slices(case: UseCase, column: str, scored: ScoringResult, frame: pd.DataFrame) -> dict[str, Any]:
    """Measure the rows of each value of a column: the 20 commonest, of 30 rows or more."""
    counts = frame[column].value_counts(dropna=False)
    if left_out := len(counts) - len(judged := counts.head(SLICE_VALUES)[lambda rows: rows >= SLICE_ROWS]):
        log.warning(
            "slices: %d values of %s are not judged: rarer than %d rows, or beyond the %d commonest",
            left_out, column, SLICE_ROWS, SLICE_VALUES,
        )  # fmt: skip
    found = {}
    for value, rows in judged.items():
        inside = (frame[column].isna() if value != value else frame[column] == value).to_numpy()  # NaN is not itself
        part = scored.truth[inside], scored.scores[inside], scored.decisions[inside]
        found[str(value)] = {"rows": int(rows), "metrics": measure_all(case.metrics, *part)}
    return found


def _against(
    case: UseCase, challenger: ScoringResult, champion: Champion | None, frame: pd.DataFrame
) -> tuple[dict[str, Any] | None, ScoringResult | None]:
    """Score the champion on the same rows and compare; the gain is the challenger's, by the gate's metric."""
    if champion is None:
        return None, None
    try:
        model = Model.load(champion.folder)
        _same_question(challenger.model, model)
        rival = score(case, model, frame)
    except Exception as error:  # other libraries and other columns than ours may raise anything: a person must look
        return {"version": champion.number, "error": " ".join(f"{type(error).__name__}: {error}".split())}, None
    name = case.gate.metric
    new, old = (measure(name, each.truth, *each.predictions) for each in (challenger, rival))
    same = _split_of(model) == _split_of(challenger.model)
    if not same:
        log.warning("the champion was trained on another split: it may have seen these test rows, which flatters it")
    return {
        "version": champion.number,
        "metrics": rival.metrics,
        "challenger": new,
        "champion": old,
        "gain": gain(name, new, old),
        "interval": bootstrap_gain(name, challenger.truth, challenger.predictions, rival.predictions, case.seed),
        "same_split": same,
    }, rival


def _split_of(model: Model) -> tuple[Any, ...]:
    """Name what decided which rows the model was trained on; a split by hash looks at every feature."""
    told = model.signature
    return told.split, [(column.name, column.type) for column in told.columns] if told.split.get("by") == "hash" else []


def _same_question(challenger: Model, champion: Model) -> None:
    """Raise ValueError unless both answer the same: a champion of another task or other labels cannot be compared."""
    for key in ("task", "target", "positive", "labels"):
        ours, theirs = getattr(challenger.signature, key), getattr(champion.signature, key)
        if ours != theirs:
            raise ValueError(f"its {key} is {theirs!r}, now it is {ours!r}")
