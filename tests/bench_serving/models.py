"""Trains the models that are measured, by `updraft run` on generated rows, into a registry of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.repository import copy_repository
from updraft.demo.rows import generate, write
from updraft.registry.registry import open_registry
from updraft.usecase import load

REFERENCE = "reference_forest"
TRAINED_ON = {REFERENCE: 50_000, "vehicle_insurance": 20_000, "california_housing": 5_000, "sms_spam": 5_000}
FOREST = """\
candidates:
  forest: {estimator: RandomForestClassifier, params: {n_estimators: 100, max_depth: 14}}
choose_by: pr_auc
"""
CLI = "from updraft.cli.main import main; main()"


@dataclass(frozen=True)
class Trained:
    """A version in production: the folder of its files, and rows that it has not seen, as JSON takes them."""

    name: str
    folder: Path
    rows: list[dict[str, Any]]


def add_reference(root: Path) -> None:
    """Add the reference forest: vehicle insurance with 100 trees of depth 14 as the only candidate."""
    yaml = (root / "include/usecases/vehicle_insurance.yaml").read_text()
    yaml, replaced = re.subn(r"^candidates:.*?^choose_by:[^\n]*\n", FOREST, yaml, flags=re.M | re.S)
    assert replaced == 1
    yaml = re.sub(r"^floors:.*\n", "", yaml, flags=re.M)
    (root / f"include/usecases/{REFERENCE}.yaml").write_text(yaml)
    shutil.copy(root / "expectations/vehicle_insurance.json", root / f"expectations/{REFERENCE}.json")


def train(names: list[str], environ: Mapping[str, str], folder: Path, rows: int) -> list[Trained]:
    """Train and promote each use case in a copy of the repository; give `rows` new rows of each to send."""
    root = copy_repository(folder / "repository")
    add_reference(root)
    return [_train(name, root, environ, folder, rows) for name in names]


def _train(name: str, root: Path, environ: Mapping[str, str], folder: Path, rows: int) -> Trained:
    case = load(name, root)
    data = write(case, generate(case, TRAINED_ON[name], seed=1), folder / f"{name}.csv")
    _run(root, {**environ, "UPDRAFT_ARTIFACTS": str(folder / "artifacts")}, "run", name, "--data", str(data))
    pulled = open_registry(environ).pull(name, 1, folder / "versions" / name)
    new = generate(case, rows, seed=2).drop(columns=[column for column in (case.target, case.id) if column])
    return Trained(name, pulled, json.loads(new.to_json(orient="records")))


def _run(root: Path, environ: Mapping[str, str], *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLI, *arguments],
        cwd=root,
        env={**os.environ, **environ, "PYTHONPATH": str(root / "include"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"updraft {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
