"""`push`: evaluation → version in the registry, and the pointer moved when the decision says so."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from updraft.learning.model_card import CARD
from updraft.model.golden import GOLDEN
from updraft.model.model import MODEL, SIGNATURE
from updraft.model.signature import Signature
from updraft.monitoring.reference import REFERENCE
from updraft.registry.folder_hashes import sha256
from updraft.registry.registry import PointerMoved, Registry, Version
from updraft.stages.evaluate import EVALUATION, Champion, evaluate
from updraft.stages.runs import Run
from updraft.stages.stage_folder import read_json, recreate_folder
from updraft.stages.train import TRAINING
from updraft.usecase import UseCase
from updraft.version import commit

log = logging.getLogger(__name__)

JUDGEMENTS = 3


@dataclass(frozen=True)
class Outcome:
    """The result of a push: the version, None when nothing was stored, and the final decision."""

    version: Version | None
    decision: str
    reason: str


def champion(case: UseCase, registry: Registry, into: Path) -> Champion | None:
    """Pull the version in production, verified, into the folder `into`; None when there is none yet."""
    number = registry.production(case.name)
    if number is None:
        return None
    shutil.rmtree(into, ignore_errors=True)
    return Champion(number, registry.pull(case.name, number, into))


def push(
    case: UseCase, models: Sequence[Path], split: Path, dataset: Path, evaluation: Path, registry: Registry, run: Run
) -> Outcome:
    """Store the chosen model as a version and, when the decision is `promote`, point production at it.

    Stores nothing when the decision is `reject`. When the pointer has moved since the evaluation, the model is judged
    again, against the new champion. A retry of the same run finds the version of the first try.
    """
    summary = read_json(evaluation / EVALUATION)
    if summary["decision"] == "reject":
        log.info("nothing is pushed: %s", summary["reason"])
        return Outcome(None, summary["decision"], summary["reason"])
    files = _collect(evaluation, _chosen(models, summary["chosen"]), run.files.out("push"))
    # A retried task makes the same bytes; a run that is cleared after a change makes others: a new version.
    once = f"{run.id}~{sha256(files / MODEL)[:12]}"
    version = registry.push(case.name, files, _metadata(case, summary, files, dataset, run), once)
    log.info("version %d is in the registry", version.number)
    for _ in range(JUDGEMENTS):
        if summary["decision"] != "promote":
            log.info("version %d is not promoted: %s", version.number, summary["reason"])
            break
        expect = (summary["champion"] or {}).get("version")
        try:
            registry.promote(case.name, version.number, expect=expect, who=run.who, why=summary["reason"])
        except PointerMoved as moved:
            log.warning("judging again: %s", moved)
            summary = _judge_again(case, models, split, registry, run)
        else:
            log.info("version %d is in production: %s", version.number, summary["reason"])
            break
    else:
        raise PointerMoved(
            f"{case.name}: the pointer moved {JUDGEMENTS} times while version {version.number} was judged"
        )
    return Outcome(version, summary["decision"], summary["reason"])


def _chosen(models: Sequence[Path], candidate: str) -> Path:
    return next(folder for folder in models if read_json(folder / TRAINING)["candidate"] == candidate)


def _collect(evaluation: Path, model: Path, out: Path) -> Path:
    """Gather the files of a version in one folder."""
    recreate_folder(out)
    for name in (MODEL, SIGNATURE, TRAINING):
        shutil.copy2(model / name, out)
    for name in (EVALUATION, CARD, REFERENCE, GOLDEN):
        shutil.copy2(evaluation / name, out)
    return out


def _metadata(case: UseCase, summary: dict[str, Any], files: Path, dataset: Path, run: Run) -> dict[str, Any]:
    """Return what the manifest says of a version: where it comes from, and its metrics."""
    signature = Signature.model_validate_json((files / SIGNATURE).read_bytes())
    return {
        "candidate": summary["chosen"],
        "params": summary["params"],
        "seed": case.seed,
        "threshold": summary["threshold"],
        "metrics": summary["metrics"],
        "data_sha256": sha256(dataset),
        "suite_sha256": sha256(case.suite),
        "configuration_sha256": case.configuration_sha256,
        "libraries": signature.versions,
        "code_commit": commit(),
        "run_url": run.url,
    }


def _judge_again(case: UseCase, models: Sequence[Path], split: Path, registry: Registry, run: Run) -> dict[str, Any]:
    current = champion(case, registry, run.files.folder / "champion")
    evaluation = evaluate(case, list(models), split, current, run.files.folder / "push_evaluation")
    summary: dict[str, Any] = read_json(evaluation / EVALUATION)
    return summary
