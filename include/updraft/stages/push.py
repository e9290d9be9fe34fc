"""`push`: evaluation → version in the registry, and the pointer moved when the decision says so."""

from __future__ import annotations

import logging
import shutil
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
from updraft.stages.stage_folder import DATASET, read_json, recreate_folder
from updraft.stages.train import TRAINING
from updraft.usecase import UseCase
from updraft.version import commit

log = logging.getLogger(__name__)

JUDGEMENTS = 3


@dataclass(frozen=True)
class Outcome:
    """What came of a push: the version, None when nothing was stored, and the decision that stood in the end."""

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


def push(case: UseCase, evaluation: Path, registry: Registry, run: Run) -> Outcome:
    """Store the chosen model as a version and, when the decision is `promote`, point production at it.

    Stores nothing when the decision is `reject`. When somebody else moved the pointer in between, the
    model is judged again, against the new champion. A second try of the same run finds the version of the first.
    """
    facts = read_json(evaluation / EVALUATION)
    if facts["decision"] == "reject":
        log.info("nothing is pushed: %s", facts["reason"])
        return Outcome(None, facts["decision"], facts["reason"])
    files = _collect(evaluation, run.files.at(f"train/{facts['chosen']}"), run.folder / "push")
    # A task that is tried again makes the same bytes; a run that is cleared after a change makes others: a new version.
    once = f"{run.id}~{sha256(files / MODEL)[:12]}"
    version = registry.push(case.name, files, _facts(case, facts, files, run), once)
    log.info("version %d is in the registry", version.number)
    for _ in range(JUDGEMENTS):
        if facts["decision"] != "promote":
            log.info("version %d is not promoted: %s", version.number, facts["reason"])
            break
        expect = (facts["champion"] or {}).get("version")
        try:
            registry.promote(case.name, version.number, expect=expect, who=run.who, why=facts["reason"])
        except PointerMoved as moved:
            log.warning("judging again: %s", moved)
            facts = _judge_again(case, facts, registry, run)
        else:
            log.info("version %d is in production: %s", version.number, facts["reason"])
            break
    else:
        raise PointerMoved(
            f"{case.name}: the pointer moved {JUDGEMENTS} times while version {version.number} was judged"
        )
    return Outcome(version, facts["decision"], facts["reason"])


def _collect(evaluation: Path, model: Path, out: Path) -> Path:
    """Gather the files of a version in one folder."""
    recreate_folder(out)
    for name in (MODEL, SIGNATURE, TRAINING):
        shutil.copy2(model / name, out)
    for name in (EVALUATION, CARD, REFERENCE, GOLDEN):
        shutil.copy2(evaluation / name, out)
    return out


def _facts(case: UseCase, facts: dict[str, Any], files: Path, run: Run) -> dict[str, Any]:
    """Say in the manifest where the version comes from and how good it was found to be."""
    signature = Signature.model_validate_json((files / SIGNATURE).read_bytes())
    return {
        "candidate": facts["chosen"],
        "params": facts["params"],
        "seed": case.seed,
        "threshold": facts["threshold"],
        "metrics": facts["metrics"],
        "data_sha256": sha256(run.files.at(f"ingest/{DATASET}")),
        "suite_sha256": sha256(case.suite),
        "libraries": signature.versions,
        "code_commit": commit(),
        "run_url": run.url,
    }


def _judge_again(case: UseCase, facts: dict[str, Any], registry: Registry, run: Run) -> dict[str, Any]:
    models = [run.files.at(f"train/{name}") for name in facts["candidates"]]
    now = champion(case, registry, run.folder / "champion")
    judged = evaluate(case, models, run.files.at("transform"), now, run.folder / "push_evaluation")
    again: dict[str, Any] = read_json(judged / EVALUATION)
    return again
