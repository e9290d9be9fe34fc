"""`push`: evaluation → version in the registry, and the pointer moved when the decision says so."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from updraft.datasets.manifest import DATASET, Description, dvc_file
from updraft.errors import UserError
from updraft.learning.card_provenance import Provenance, fill_in
from updraft.model.compiled.layout import BASELINE, FILES, PARITY
from updraft.model.golden import GOLDEN
from updraft.model.signature import Signature
from updraft.model.version_files import CARD, EVALUATION, MODEL, SIGNATURE
from updraft.monitoring.reference import REFERENCE
from updraft.registry import judgements
from updraft.registry.folder_hashes import sha256
from updraft.registry.registry import HeldModel, Pointer, PointerMoved, Registry, Version
from updraft.registry.rollouts import Plan, RolloutRunning, start
from updraft.run_params import Promote
from updraft.stages.evaluate import Champion, evaluate
from updraft.stages.keep import describe
from updraft.stages.runs import Run
from updraft.stages.stage_folder import read_json, recreate_folder
from updraft.stages.train import TRAINING
from updraft.trackers.mlflow import tracker_of
from updraft.trackers.run_record import RunRecord, of_run
from updraft.usecase import UseCase
from updraft.version import commit

log = logging.getLogger(__name__)

Choice = Literal["promote", "canary", "reject"]
JUDGEMENTS = 3
DATASET_KEYS = {"source", "position", "rows", "quarantined", "md5", "size"}  # of its description, in the manifest


@dataclass(frozen=True)
class Outcome:
    """The result of a push: the version, None when nothing was stored, and the final decision."""

    version: Version | None
    decision: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """What came of the question whether to promote: what a person chose, who it was, and why.

    Without `who` nobody answered in time, which is a `reject` that holds nothing.
    """

    choice: Choice
    who: str | None
    why: str = ""


def by_hand(version: Version) -> str:
    """Return the command by which a person promotes a stored version."""
    return f'updraft registry promote {version.name} {version.number} --why "…"'


def champion(case: UseCase, registry: Registry) -> Champion | None:
    """Read the version in production, verified, into memory; None when there is none yet."""
    number = registry.production(case.name)
    if number is None:
        return None
    return Champion(number, registry.read(case.name, number, (MODEL, SIGNATURE)))


def push(
    case: UseCase,
    models: Sequence[Path],
    split: Path,
    dataset: Path,
    evaluation: Path,
    registry: Registry,
    run: Run,
    *,
    answer: Answer | None = None,
) -> Outcome:
    """Store the chosen model as a version and, when the decision is `promote`, act on it as `promote:` says.

    `auto` points production at it, `canary` and `shadow` start a rollout; where nothing is in production there is
    nothing to try it beside, and it goes into production. While another version is tried, the new one is only stored.
    By `approve` what a person answered is done, in that person's name; without an answer the version is only stored.

    Stores nothing when the decision is `reject`, nor when the model is held, by its bytes, whatever was decided before.
    When the pointer has moved since the evaluation, the model is judged again, against the new champion: before it is
    stored, or, when it moves later, with a note beside the version. A retry of the same run finds the version of the
    first try.
    """
    outcome = _push(case, models, split, dataset, evaluation, registry, run, answer)
    registry.follow(case.name)  # what its mirror and its tracker lack, of this version or of an earlier move
    if outcome.version is None and (tracker := tracker_of(registry)):
        tracker.record(case.name, lambda: _unstored(outcome, dataset, evaluation, run))
    return outcome


def _push(
    case: UseCase,
    models: Sequence[Path],
    split: Path,
    dataset: Path,
    evaluation: Path,
    registry: Registry,
    run: Run,
    answer: Answer | None,
) -> Outcome:
    summary = read_json(evaluation / EVALUATION)
    if summary["decision"] == "reject":
        log.info("nothing is pushed: %s", summary["reason"])
        return Outcome(None, summary["decision"], summary["reason"])
    model = _chosen(models, summary["chosen"])
    # A retried task makes the same bytes; a run that is cleared after a change makes others: a new version.
    model_sha256 = _require_evaluated(case, model, summary)
    once = _key(run, model_sha256)
    hold = registry.states(case.name).hold(model_sha256)
    if hold and answer and answer.choice == "reject" and (version := registry.version_of(case.name, once)):
        return Outcome(version, "reject", f"this model is {hold}")  # by an earlier try of this task
    if hold:
        reason = f"this very model is {hold}; only a person promotes it again: updraft registry promote {case.name} "
        reason += f"{hold.version} --force"
        log.warning("nothing is pushed: %s", reason)
        return Outcome(None, "hold", reason)
    if version := registry.version_of(case.name, once):
        log.info("version %d is of this run", version.number)
        if done := _done(registry.pointer(case.name), version.number):
            return Outcome(version, done, summary["reason"])
    elif summary["decision"] == "promote" and case.promote != "approve" and _moved(case, registry, summary):
        log.warning("judging again: production moved since the evaluation")
        evaluation = _judge_again(case, models, split, registry, run)
        summary = read_json(evaluation / EVALUATION)
        if summary["decision"] == "reject":
            log.info("nothing is pushed: %s", summary["reason"])
            return Outcome(None, summary["decision"], summary["reason"])
    files = _collect(evaluation, model, run.files.out("push"))
    rows = describe(dataset)
    _complete_card(case, files, rows, registry, once, run)
    (files / f"{DATASET}.dvc").write_text(dvc_file(rows.md5, rows.size), encoding="utf-8")
    metadata = _metadata(case, summary, files, rows, run)
    version = registry.push(case.name, files, metadata, once, model_sha256=model_sha256)
    log.info("version %d is in the registry", version.number)
    if case.promote == "approve" and summary["decision"] == "promote":
        return _follow(answer, case, version, summary, registry, run)
    return _promote(case, models, split, version, summary, registry, run)


def _unstored(outcome: Outcome, dataset: Path, evaluation: Path, run: Run) -> RunRecord:
    """Describe a run that stored no version, for a tracker."""
    summary = read_json(evaluation / EVALUATION) | {"decision": outcome.decision, "reason": outcome.reason}
    rows, card = describe(dataset), (evaluation / CARD).read_bytes()
    facts = {"data_sha256": rows.sha256, "rows": rows.rows, "configuration_sha256": summary["configuration_sha256"]}
    key = _key(run, str(summary.get("model_sha256")))
    return of_run(key, datetime.now(UTC), summary, facts, card=card, url=run.url, commit=commit())


def _key(run: Run, model_sha256: str) -> str:
    return f"{run.id}~{model_sha256[:12]}"


def _follow(
    answer: Answer | None, case: UseCase, version: Version, summary: dict[str, Any], registry: Registry, run: Run
) -> Outcome:
    """Do what a person answered, to the evaluation that the person saw: if production moved since, the answer is void.

    A person's `reject` holds the model. What else is not promoted is noted beside the version, and can be by hand.
    """
    if answer is None or (answer.choice == "reject" and answer.who is None):
        reason = "promote is 'approve', and nobody " + ("was asked" if answer is None else "answered in time")
        return _stored(registry, version, reason, run)
    by = replace(run, who=f"{answer.who} ({run.who})")
    if answer.choice == "reject":
        registry.hold(case.name, version.number, who=by.who, why=answer.why)
        reason = f"{answer.who} rejected it: {answer.why}"
        log.info("version %d is held: %s", version.number, reason)
        return Outcome(version, "reject", reason)
    summary = summary | {"reason": f"{answer.why}; {summary['reason']}"}
    try:
        done = _act(case, registry, version, summary, by, "auto" if answer.choice == "promote" else answer.choice)
    except PointerMoved as moved:
        return _stored(registry, version, f"what {answer.who} answered ({answer.choice}) is void: {moved}", by)
    except (HeldModel, RolloutRunning) as error:
        return _stored(registry, version, str(error), by)
    reason = f"{answer.who} approved it: {summary['reason']}"
    log.info("version %d: %s: %s", version.number, done, reason)
    return Outcome(version, done, reason)


def _stored(registry: Registry, version: Version, reason: str, run: Run) -> Outcome:
    """Note beside a version why it is only stored."""
    _note(registry, version, "hold", reason, run)
    log.warning("version %d is not promoted: %s; to promote it: %s", version.number, reason, by_hand(version))
    return Outcome(version, "hold", reason)


def _promote(
    case: UseCase,
    models: Sequence[Path],
    split: Path,
    version: Version,
    summary: dict[str, Any],
    registry: Registry,
    run: Run,
) -> Outcome:
    """Promote or try a stored version if it was decided; judge it again each time that production moves."""
    for _ in range(JUDGEMENTS):
        if summary["decision"] != "promote":
            log.info("version %d is not promoted: %s; to promote it: %s", version.number, summary["reason"],
                     by_hand(version))  # fmt: skip
            return Outcome(version, summary["decision"], summary["reason"])
        try:
            done = _act(case, registry, version, summary, run, case.promote)
        except PointerMoved as moved:
            log.warning("judging again: %s", moved)
            summary = read_json(_judge_again(case, models, split, registry, run) / EVALUATION)
            reason = f"judged again after production moved: {summary['reason']}"
            _note(registry, version, summary["decision"], reason, run)
        except (HeldModel, RolloutRunning) as error:  # since this task began
            log.warning("version %d is not promoted: %s", version.number, error)
            _note(registry, version, "hold", str(error), run)
            return Outcome(version, "hold", str(error))
        else:
            where = "in production" if done == "promote" else f"tried beside production, as a {done}"
            log.info("version %d is %s: %s", version.number, where, summary["reason"])
            return Outcome(version, done, summary["reason"])
    raise PointerMoved(f"{case.name}: the pointer moved {JUDGEMENTS} times while version {version.number} was judged")


def _act(case: UseCase, registry: Registry, version: Version, summary: dict[str, Any], run: Run, mode: Promote) -> str:
    """Promote a version, or start its rollout, against the champion that it was compared with; return what was done.

    Raises PointerMoved when another one is in production, or anything moves meanwhile; RolloutRunning; HeldModel.
    """
    expect, now = (summary["champion"] or {}).get("version"), registry.pointer(case.name)
    production, sequence = (now.production, now.sequence) if now else (None, 0)
    if production != expect:
        raise PointerMoved(f"{case.name}: production is version {production}, expected {expect}")
    if now and now.rollout and now.rollout.version != version.number:
        raise RolloutRunning(case.name, version.number, now.rollout)
    written: dict[str, Any] = {"who": run.who, "why": summary["reason"], "expected_sequence": sequence}
    if production is not None and (mode == "canary" or mode == "shadow"):
        plan = Plan(version.number, mode, case.rollout.percent if mode == "canary" else None)
        start(registry, case.name, plan, **written)
        return mode
    registry.promote(case.name, version.number, expect=expect, **written)
    return "promote"


def _done(now: Pointer | None, number: int) -> str | None:
    """Return what an earlier try has done with its version: it is in production, or in a rollout."""
    if now and now.production == number:
        return "promote"
    return now.rollout.mode if now and now.rollout and now.rollout.version == number else None


def _note(registry: Registry, version: Version, decision: str, reason: str, run: Run) -> None:
    judgements.write(registry.bucket, registry.keys, version.name, version.number, decision, reason, run.who)


def _moved(case: UseCase, registry: Registry, summary: dict[str, Any]) -> bool:
    """Whether something else is in production than what the evaluation compared with."""
    return registry.production(case.name) != (summary["champion"] or {}).get("version")


def _require_evaluated(case: UseCase, model: Path, summary: dict[str, Any]) -> str:
    """Return the sha256 of the chosen model; UserError when the file is not the one that was evaluated."""
    model_sha256 = sha256(model / MODEL)
    if model_sha256 != summary.get("model_sha256"):  # an earlier Updraft did not record it
        raise UserError(
            f"{case.name}: {str(model / MODEL)!r} is not the model that was evaluated; run `evaluate` again (clear it)"
        )
    return model_sha256


def _chosen(models: Sequence[Path], candidate: str) -> Path:
    return next(folder for folder in models if read_json(folder / TRAINING)["candidate"] == candidate)


def _collect(evaluation: Path, model: Path, out: Path) -> Path:
    """Gather the files of a version in one folder."""
    recreate_folder(out)
    for name in (MODEL, SIGNATURE, TRAINING):
        shutil.copy2(model / name, out)
    for name in (EVALUATION, CARD, REFERENCE, GOLDEN):
        shutil.copy2(evaluation / name, out)
    for name in (*FILES, PARITY, BASELINE):
        if (evaluation / name).exists():
            shutil.copy2(evaluation / name, out)
    return out


def _complete_card(case: UseCase, files: Path, rows: Description, registry: Registry, once: str, run: Run) -> None:
    """Write into the card what is known of the version by now; its number is claimed here, and `push` keeps it."""
    number, made = registry.claim(case.name, once)
    provenance = Provenance(
        use_case=case.name,
        number=number,
        made=made,
        run_id=run.id,
        who=run.who,
        run_url=run.url,
        rows=rows.rows,
        quarantined=rows.quarantined,
        data_sha256=rows.sha256,
        configuration_sha256=case.configuration_sha256,
        commit=commit(),
        seed=case.seed,
    )
    card = files / CARD
    card.write_text(fill_in(card.read_text(encoding="utf-8"), provenance), encoding="utf-8")


def _metadata(case: UseCase, summary: dict[str, Any], files: Path, dataset: Description, run: Run) -> dict[str, Any]:
    """Return what the manifest says of a version: where it comes from, and its metrics."""
    signature = Signature.model_validate_json((files / SIGNATURE).read_bytes())
    return {
        "candidate": summary["chosen"],
        "params": summary["params"],
        "seed": case.seed,
        "threshold": summary["threshold"],
        "metrics": summary["metrics"],
        "choose_by": case.choose_by,
        "data_sha256": dataset.sha256,
        "dataset": dataset.model_dump(include=DATASET_KEYS),
        "suite_sha256": sha256(case.suite),
        "configuration_sha256": case.configuration_sha256,
        "libraries": signature.versions,
        "code_commit": commit(),
        "run_url": run.url,
        "cause": run.cause,
        "serving": summary.get("serving"),
    }


def _judge_again(case: UseCase, models: Sequence[Path], split: Path, registry: Registry, run: Run) -> Path:
    current, holds = champion(case, registry), registry.states(case.name).holds
    out = run.files.folder / "push_evaluation"
    return evaluate(case, list(models), split, current, out, holds=holds, cause=run.cause)
