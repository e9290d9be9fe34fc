"""`updraft etl`: extract, clean and load in this process, as the DAG does."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict
from datetime import UTC, datetime

import typer

from updraft.cli.owed_training import OwedTraining
from updraft.cli.start_training import start_training
from updraft.cli.steps import show_steps
from updraft.cli.store_access import find_address
from updraft.errors import UserError
from updraft.etl.check import require_valid
from updraft.etl.clean import clean
from updraft.etl.configuration import ETL
from updraft.etl.extract import extract
from updraft.etl.load import LOADED, load
from updraft.sources import open_source
from updraft.stages.configuration import FOLDER, begin_run
from updraft.stages.run_disk import explain_file_errors, warn_when_nearly_full
from updraft.stages.runs import RunFiles, artifacts
from updraft.stages.stage_folder import read_json
from updraft.usecase import from_file
from updraft.usecase.load import ETL_PREFIX
from updraft.usecase.schema import NAME, NAME_RULE


def run_etl(name: str, data: str | None, limit: int | None, as_json: bool) -> None:
    """Run the stages of an ETL, print what each store took, and start the trainings that follow a change."""
    if not NAME.fullmatch(name):  # it names a folder
        raise UserError(f"{name!r} is not a name of an ETL: {NAME_RULE}")
    run_id = f"shell__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}_{uuid.uuid4().hex[:6]}"
    files = RunFiles(artifacts(os.environ) / f"{ETL_PREFIX}{name}" / run_id, first="extract")
    owed = OwedTraining(files.folder.parent)
    with explain_file_errors(files.folder, files.folder):
        warn_when_nearly_full(files.folder)
        etl = begin_run(ETL, name, files, attempts=0)
        etl = from_file(etl, data) if data else etl
        require_valid(name, files.folder / FOLDER)
        with show_steps() as step:
            with open_source(etl.extracted, find_address, limit) as source, step("extract") as count:
                extracted = extract(etl, source, files.out("extract"), count)
            with step("clean") as count:
                cleaned = clean(etl, extracted, files.out("clean"), count)
            with step("load") as count:
                counts = load(etl, cleaned, find_address, files.out("load"), progress=count, on_change=owed.mark)
    loaded = read_json(files.out("load") / LOADED)
    if as_json:
        typer.echo(json.dumps({"etl": name, **asdict(counts), **loaded}, allow_nan=False))
    else:
        typer.echo(f"{loaded['rows']:,} clean rows: {files.out('clean')}")
        for store in loaded["destinations"]:
            words = ", ".join(f"{store[key]:,} {key}" for key in ("new", "changed", "unchanged"))
            typer.echo(f"{store['destination']}: {words}")
    changed = counts.new + counts.changed > 0
    if owed.is_owed and not changed:
        typer.echo("An earlier load had changed rows and was cut short before it started the training.", err=as_json)
    for line in start_training(etl.dag_id, run_id, changed=changed or owed.is_owed):
        typer.echo(line, err=as_json)
    owed.settle()
