"""`updraft dvc NAME`: a dvc.yaml by which `dvc repro` runs the stages, each when what it reads has changed."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from updraft.cli.one_stage import LEARNING_FILE, ROWS_FILE
from updraft.defaults import ROOT
from updraft.usecase import UseCase, files_of

HEADER = "# Written by `updraft dvc {name}`, which writes it anew; `dvc repro` in this folder runs it.\n"


def write_pipeline(case: UseCase, path: Path) -> Path:
    """Write a use case's dvc.yaml; its stages run in the repository's root and write below `.updraft/dvc`."""
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump({"stages": _stages(case, os.path.relpath(ROOT, path.parent.absolute()))}, text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEADER.format(name=case.name) + text.getvalue(), encoding="utf-8")
    return path


def _stages(case: UseCase, root: str) -> dict[str, Any]:
    work = f".updraft/dvc/{case.name}"
    yaml, suite = (str(file.relative_to(ROOT)) for file in files_of(case.name))
    rows, learning = f"{work}/settings/{ROWS_FILE}", f"{work}/settings/{LEARNING_FILE}"
    dataset, split, evaluation = f"{work}/ingest/dataset.parquet", f"{work}/transform", f"{work}/evaluate"
    models = [f"{work}/train/{candidate}" for candidate in case.candidates]

    def stage(verb: str, arguments: Sequence[str], deps: Sequence[str], out: str) -> dict[str, Any]:
        command = shlex.join(["updraft", "stage", verb, case.name, *arguments, "--out", out])
        return {"wdir": root, "cmd": command, "deps": list(deps), "outs": [out]}

    options = [word for model in models for word in ("--model", model)]
    ingest = stage("ingest", [], [rows], f"{work}/ingest")
    if file := _local_file(case):
        ingest["deps"].append(file)
    else:
        ingest["always_changed"] = True  # DVC cannot see whether there are new rows
    trained = {
        f"train-{candidate}": stage("train", [candidate, "--split", split], [split, learning], model)
        for candidate, model in zip(case.candidates, models, strict=True)
    }
    judged = ["--split", split, *options]
    pushed = ["--dataset", dataset, *judged, "--evaluation", evaluation]
    return {
        "settings": stage("settings", [], [yaml, suite], f"{work}/settings"),
        "ingest": ingest,
        "validate": stage("validate", ["--dataset", dataset], [dataset, suite], f"{work}/validate"),
        "transform": stage("transform", ["--dataset", dataset], [dataset, f"{work}/validate", learning], split),
        **trained,
        "evaluate": stage("evaluate", judged, [split, *models, learning], evaluation),
        "push": stage("push", pushed, [evaluation, *models], f"{work}/push"),
    }


def _local_file(case: UseCase) -> str | None:
    """Return the path of a source that is one file of this machine, from the root where it lies below it."""
    if case.source.kind != "file" or not (path := Path(str(getattr(case.source.settings, "path", "")))).is_file():
        return None
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
