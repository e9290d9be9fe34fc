"""`updraft run`: all stages in this process, as the DAG runs them."""

from __future__ import annotations

import json
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from updraft.cli.parameters import next_step
from updraft.cli.registry_access import open_followed, who
from updraft.cli.steps import show_steps
from updraft.cli.store_access import find_address, require_running
from updraft.datasets.store import open_datasets
from updraft.registry.registry import Registry
from updraft.sources import open_source
from updraft.stages.check import require_valid
from updraft.stages.configuration import FOLDER, begin
from updraft.stages.evaluate import EVALUATION, NO_HOLDS, evaluate
from updraft.stages.evaluation_table import evaluation_table
from updraft.stages.ingest import ingest
from updraft.stages.keep import keep
from updraft.stages.push import Outcome, by_hand, champion, push
from updraft.stages.run_disk import explain_file_errors, warn_when_nearly_full
from updraft.stages.runs import Run, RunFiles, artifacts
from updraft.stages.stage_folder import read_json
from updraft.stages.train import train
from updraft.stages.transform import transform
from updraft.stages.validate import validate
from updraft.usecase import UseCase, check_params, from_file, with_params


def run_stages(
    name: str, data: str | None, limit: int | None, seed: int | None, promote: str | None, as_json: bool
) -> None:
    """Run the stages of a use case and print the outcome; see the options of `updraft run`."""
    params = check_params({"limit": limit, "seed": seed, "promote": promote})
    if os.environ.get("UPDRAFT_REGISTRY"):
        require_running("s3")
    store = open_followed() if os.environ.get("UPDRAFT_REGISTRY") else None
    this_run = _new_run(name)
    folder = this_run.files.folder
    with explain_file_errors(folder, folder):
        warn_when_nearly_full(folder)
        case = with_params(begin(name, this_run.files, attempts=0), params)
        case = from_file(case, data) if data else case
        with open_source(case, find_address, limit) as source, show_steps() as step:
            require_valid(name, folder / FOLDER)
            with step("ingest") as count:
                dataset = ingest(case, source, this_run.files.out("ingest"), count)
            with step("validate"):
                validate(case, dataset, this_run.files.out("validate"))
                if store:
                    _keep(case, dataset, store, this_run.id)
            with step("transform"):
                split = transform(case, dataset, this_run.files.out("transform"))
            models = []
            for candidate in case.candidates:
                with step(f"train {candidate}"):
                    models.append(train(case, candidate, split, this_run.files.out("train") / candidate, find_address))
            with step("evaluate"):
                rival = champion(case, store) if store else None
                holds = store.states(case.name).holds if store else NO_HOLDS
                evaluated = evaluate(case, models, split, rival, this_run.files.out("evaluate"), holds=holds)
            facts = read_json(evaluated / EVALUATION)
            outcome = Outcome(None, facts["decision"], f"{facts['reason']}; without UPDRAFT_REGISTRY nothing is pushed")
            if store:
                with step("push"):
                    outcome = push(case, models, split, dataset, evaluated, store, this_run)
    _print_outcome(facts, outcome, evaluated, as_json)


def _keep(case: UseCase, dataset: Path, registry: Registry, run_id: str) -> None:
    """Keep a dataset so that its rows can be had again; no run of the DAG goes on from it."""
    if datasets := open_datasets(os.environ, registry.bucket.client):
        keep(case, dataset, datasets, lambda: registry, run_id, goes_on=False)


def _new_run(name: str) -> Run:
    run_id = f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:6]}"
    return Run(run_id, RunFiles(artifacts(os.environ) / name / run_id), who=who())


def _print_outcome(facts: dict[str, Any], outcome: Outcome, evaluated: Path, as_json: bool) -> None:
    version = outcome.version.number if outcome.version else None
    if as_json:
        decision = {"version": version, "decision": outcome.decision, "reason": outcome.reason}
        copied = {name: facts[name] for name in ("chosen", "metrics", "candidates")}
        typer.echo(json.dumps({"use_case": facts["use_case"], **decision, **copied}, allow_nan=False))
        return
    console = Console()
    console.print(evaluation_table(facts))
    console.print(f"[bold]{outcome.decision}[/]: {outcome.reason}", highlight=False)
    console.print(f"version {version}" if version else "no version was pushed", highlight=False)
    if outcome.version and outcome.decision == "hold":
        console.print(f"to promote it: {by_hand(outcome.version)}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"model card: {evaluated / 'card.html'}", highlight=False, soft_wrap=True)
    if version:
        next_step(f"updraft registry show {facts['use_case']} {version}")
    elif os.environ.get("UPDRAFT_REGISTRY"):
        next_step(f"updraft registry list {facts['use_case']}")
    else:
        next_step("make up, which starts a registry, then the same command again")
