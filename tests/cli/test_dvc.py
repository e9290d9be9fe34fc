"""A real DVC, in an environment of its own: `dvc pull` brings a version's rows, `dvc repro` runs the stages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.environments import bin_of
from tests.support.repository import add_file_case, copy_repository
from tests.support.trained import Trained
from updraft.datasets.store import open_datasets
from updraft.registry.registry import Registry
from updraft.stages.keep import keep
from updraft.stages.push import push
from updraft.stages.runs import Run, RunFiles
from updraft.usecase import UseCase


@pytest.fixture(scope="module")
def dvc(takes_long: None) -> Path:
    """Return the `dvc` program."""
    return bin_of("dvc[s3]>=3.67") / "dvc"


def call(program: Path, folder: Path, *words: str, **environ: str) -> str:
    quiet = {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / ".site")}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "UPDRAFT_"))}
    done = subprocess.run(
        [program, *words], cwd=folder, env=inherited | quiet | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_dvc_pull_brings_exactly_the_rows_of_a_version(
    case: UseCase, trained: Trained, registry: Registry, s3: dict[str, str], dvc: Path, tmp_path: Path
) -> None:
    datasets = open_datasets(
        {
            **registry_variables(registry, tmp_path),
            "UPDRAFT_DATASETS": f"s3://updraft-tests/{registry.bucket.base}rows",
        },
        registry.bucket.client,
    )
    assert datasets is not None
    run = trained.split.parent
    dataset = run / "ingest" / "dataset.parquet"
    keep(case, dataset, datasets, lambda: registry, "run")
    outcome = push(case, trained.models, trained.split, dataset, trained.evaluation, registry,
                   Run("run", RunFiles(tmp_path / "run"), "tests"))  # fmt: skip
    assert outcome.version is not None

    folder = tmp_path / "elsewhere"
    registry.pull(case.name, outcome.version.number, folder)
    call(dvc, folder, "init", "--no-scm", "--quiet")
    call(dvc, folder, "remote", "add", "--default", "updraft", f"{datasets.bucket}/{case.name}")
    call(dvc, folder, "remote", "modify", "updraft", "endpointurl", s3["AWS_ENDPOINT_URL_S3"])
    login = {name: s3[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")}
    call(dvc, folder, "pull", **login)
    assert (folder / "dataset.parquet").read_bytes() == dataset.read_bytes()


def registry_variables(registry: Registry, folder: Path) -> dict[str, str]:
    """Write the registry's public key to a file; return the variable that names it."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = registry.keys.require_signing()
    path = folder / "signing.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {"UPDRAFT_SIGNING_KEY": str(path)}


def test_dvc_repro_runs_what_has_changed_and_nothing_else(
    dvc: Path, registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    root = copy_repository(tmp_path / "repository")
    rows = add_file_case(root, "insurance_file")
    programs = tmp_path / "bin"
    programs.mkdir()
    updraft = programs / "updraft"
    updraft.write_text(f"#!{sys.executable}\nfrom updraft.cli.main import main\nmain()\n")
    updraft.chmod(0o755)
    environ = {
        **registry_environ, "PYTHONPATH": str(root / "include"), "UPDRAFT_HOME": str(tmp_path / "home"),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }  # fmt: skip
    text = (root / "include" / "usecases" / "insurance_file.yaml").read_text()
    candidates = text[text.index("candidates:") : text.index("choose_by:")]
    one = "candidates:\n  random_forest: {estimator: RandomForestClassifier, params: {n_estimators: 10}}\n\n"
    (root / "include" / "usecases" / "insurance_file.yaml").write_text(text.replace(candidates, one))
    call(dvc, root, "init", "--no-scm", "--quiet")
    written = call(updraft, root, "dvc", "insurance_file", **environ)
    pipeline = root / "deploy" / "dvc" / "insurance_file" / "dvc.yaml"
    assert f"written: {pipeline}" in written

    def repro(last: str = "") -> list[str]:
        target = f"{pipeline.relative_to(root)}:{last}" if last else str(pipeline.relative_to(root))
        lines = call(dvc, root, "repro", target, **environ).splitlines()
        started = [line for line in lines if line.startswith("Running stage")]
        return [line.split("'")[1].rpartition(":")[2] for line in started]

    yaml = root / "include" / "usecases" / "insurance_file.yaml"
    verbs = ["settings", "ingest", "validate", "transform", "train-random_forest", "evaluate", "push"]
    assert sorted(repro()) == sorted(verbs) and registry.production("insurance_file") == 1
    assert repro() == []
    yaml.write_text(yaml.read_text() + "\n# a comment\n")
    assert repro() == ["settings"]
    yaml.write_text(yaml.read_text().replace("folds: 3", "folds: 2"))
    assert repro("transform") == ["settings", "transform"]
    rows.write_text("\n".join(rows.read_text().splitlines()[:-500]) + "\n")
    assert repro("validate") == ["ingest", "validate"]
    dataset = json.loads((root / ".updraft" / "dvc" / "insurance_file" / "ingest" / "dataset.json").read_text())
    assert 0 < dataset["rows"] <= 1000
