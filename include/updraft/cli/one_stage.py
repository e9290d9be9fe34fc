"""What the commands of `updraft stage` share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer

from updraft.cli.registry_access import open_followed, who
from updraft.cli.steps import Count, show_steps
from updraft.cli.store_access import require_running
from updraft.errors import UserError
from updraft.registry.registry import Registry
from updraft.stages.check import require_valid
from updraft.stages.evaluate import EVALUATION
from updraft.stages.push import push
from updraft.stages.runs import Run, RunFiles
from updraft.stages.stage_folder import read_json, recreate_folder, write_json
from updraft.usecase import UseCase, load
from updraft.usecase.rows_definition import RowsDefinition

# What changes no result: when, where and how often a DAG runs, whose it is, what files and pages say of it.
NO_MATTER = {"suite", "configuration_sha256", "title", "owner", "schedule", "retry", "engine", "datasets", "demo"}
ROWS = (set(RowsDefinition.model_fields) | {"target", "labels"}) - NO_MATTER

ROWS_FILE, LEARNING_FILE = "rows.json", "learning.json"


def load_checked(name: str) -> UseCase:
    """Load a use case; BadUseCase has every fault of its files, parameters of estimators and expectations included."""
    require_valid(name)
    return load(name)


def require_inputs(*files: Path) -> None:
    """Raise UserError for an input that is not there."""
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file; expected what an earlier stage wrote")


@contextmanager
def one_step(title: str) -> Iterator[Count]:
    """Show a stage as it runs, on stderr."""
    with show_steps() as step, step(title) as count:
        yield count


def write_settings(case: UseCase, out: Path) -> None:
    """Write settings as JSON, defaults included: the same settings are the same bytes."""
    recreate_folder(out)
    write_json(out / ROWS_FILE, case.model_dump(mode="json", include=ROWS))
    write_json(out / LEARNING_FILE, case.model_dump(mode="json", exclude={*NO_MATTER, "source"}))


def registry_if_any() -> Registry | None:
    """Open the registry of the environment; None where it names none."""
    if not os.environ.get("UPDRAFT_REGISTRY"):
        return None
    require_running("s3")
    return open_followed()


def push_model(name: str, models: Sequence[Path], split: Path, dataset: Path, evaluation: Path, out: Path) -> None:
    """Push as a run that is named after the model: the same model is the same run, which has one version."""
    case, registry = load(name), registry_if_any()
    if registry is None:
        raise UserError("UPDRAFT_REGISTRY: not set; expected s3://bucket or s3://bucket/prefix to push to")
    summary = read_json(evaluation / EVALUATION)
    run = Run(f"stage__{str(summary['model_sha256'])[:12]}", RunFiles(recreate_folder(out)), who=who())
    with one_step("push"):
        outcome = push(case, models, split, dataset, evaluation, registry, run)
    version = f"version {outcome.version.number}" if outcome.version else "no version was pushed"
    typer.echo(f"{outcome.decision}: {outcome.reason}\n{version}")
