from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support.trained import Trained
from updraft.model.golden import replay
from updraft.model.model import Model
from updraft.registry.registry import Registry
from updraft.stages.push import Outcome, champion, push
from updraft.stages.runs import Run, RunFiles
from updraft.stages.stage_folder import read_json, write_json
from updraft.usecase import UseCase


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Run:
    """Give a run whose folder is a copy of the trained one."""
    folder = tmp_path / "run"
    shutil.copytree(trained.split.parent, folder)
    return Run("manual__1", RunFiles(folder), "tests", "http://airflow/run")


def push_run(case: UseCase, run: Run, registry: Registry, evaluation: Path | None = None) -> Outcome:
    folder = run.files.folder
    models = [folder / "train" / candidate for candidate in case.candidates]
    dataset = folder / "ingest" / "dataset.parquet"
    return push(case, models, folder / "transform", dataset, evaluation or folder / "evaluate", registry, run)


def rewrite(run: Run, **facts: object) -> Path:
    path = run.files.folder / "evaluate" / "evaluation.json"
    write_json(path, read_json(path) | facts)
    return path.parent


def test_the_first_model_is_pushed_promoted_and_pulled_back_whole(
    case: UseCase, run: Run, registry: Registry, tmp_path: Path
) -> None:
    outcome = push_run(case, run, registry)
    assert outcome.version is not None and outcome.decision == "promote"
    assert registry.production(case.name) == 1
    pulled = champion(case, registry, tmp_path / "pulled")
    assert pulled is not None and pulled.number == 1
    signature = Model.load(pulled.folder).signature
    evaluation = read_json(pulled.folder / "evaluation.json")
    assert (signature.threshold, signature.candidate) == (evaluation["threshold"], evaluation["chosen"])
    assert {path.name for path in pulled.folder.iterdir()} >= {
        "model.joblib",
        "signature.json",
        "training.json",
        "evaluation.json",
        "card.html",
        "golden.json",
    }
    replay(Model.load(pulled.folder), pulled.folder)


def test_the_manifest_says_where_the_version_comes_from(case: UseCase, run: Run, registry: Registry) -> None:
    version = push_run(case, run, registry).version
    assert version is not None
    evaluation, manifest = read_json(run.files.folder / "evaluate" / "evaluation.json"), version.manifest
    assert manifest["metrics"] == evaluation["metrics"]
    assert manifest["suite_sha256"] == hashlib.sha256(case.suite.read_bytes()).hexdigest()
    assert (
        manifest["data_sha256"]
        == hashlib.sha256((run.files.folder / "ingest" / "dataset.parquet").read_bytes()).hexdigest()
    )
    assert (manifest["seed"], manifest["threshold"]) == (case.seed, evaluation["threshold"])
    assert manifest["params"] == case.candidates[evaluation["chosen"]].params
    assert manifest["run_url"] == "http://airflow/run" and "scikit-learn" in manifest["libraries"]


def test_a_rejected_model_leaves_no_trace(case: UseCase, run: Run, registry: Registry) -> None:
    outcome = push_run(case, run, registry, rewrite(run, decision="reject", reason="too weak"))
    assert (outcome.version, outcome.reason) == (None, "too weak")
    assert registry.names() == []


def test_a_held_model_is_stored_for_a_person_to_promote(case: UseCase, run: Run, registry: Registry) -> None:
    outcome = push_run(case, run, registry, rewrite(run, decision="hold", reason="promote is 'never'"))
    assert outcome.version is not None and outcome.version.number == 1
    assert registry.production(case.name) is None


def test_a_second_try_of_a_run_gives_the_same_version(case: UseCase, run: Run, registry: Registry) -> None:
    first = push_run(case, run, registry).version
    second = push_run(case, run, registry).version
    assert first == second
    assert registry.numbers(case.name) == [1] and len(registry.history(case.name)) == 1


def test_a_run_that_was_cleared_and_made_another_model_gives_another_version(
    case: UseCase, run: Run, registry: Registry
) -> None:
    push_run(case, run, registry, rewrite(run, decision="hold"))
    other = next(
        name
        for name in case.candidates
        if name != read_json(run.files.folder / "evaluate" / "evaluation.json")["chosen"]
    )
    push_run(case, run, registry, rewrite(run, chosen=other))
    assert registry.numbers(case.name) == [1, 2]


def test_when_another_champion_came_meanwhile_the_model_is_judged_again(
    case: UseCase, run: Run, registry: Registry
) -> None:
    """The evaluation knew of no champion; by now the same model is in production: it does not beat itself."""
    other = Run("manual__0", run.files, "somebody else")
    assert push_run(case, other, registry).decision == "promote"
    outcome = push_run(case, run, registry)
    assert outcome.decision == "reject" and "version 1" in outcome.reason
    assert registry.production(case.name) == 1


def test_a_spoiled_champion_stops_the_run(case: UseCase, run: Run, registry: Registry, tmp_path: Path) -> None:
    push_run(case, run, registry)
    bucket = registry.bucket
    key = f"{case.name}/versions/0001/model.joblib"
    body = bytearray(b"".join(bucket.stream(key)))
    body[len(body) // 2] ^= 1
    bucket.put(key, bytes(body))
    with pytest.raises(Exception, match=r"'model\.joblib' is not the file that was signed"):
        champion(case, registry, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
