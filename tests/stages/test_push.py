from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.support.mlflow_stand_in import MlflowStandIn
from tests.support.trained import Trained
from tests.support.versions import model_folder, overwrite
from tests.support.web_server import web_server
from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.learning.card_provenance import PLACE
from updraft.model.golden import replay
from updraft.model.model import Model
from updraft.registry import judgements
from updraft.registry.load_model import load_model
from updraft.registry.registry import NoSuchVersion, Registry, VerificationError, open_registry
from updraft.registry.rollouts import Plan, abort, finish, start
from updraft.stages.evaluate import evaluate
from updraft.stages.push import Answer, Choice, Outcome, champion, push
from updraft.stages.runs import Run, RunFiles
from updraft.stages.stage_folder import read_json, write_json
from updraft.stages.train import train
from updraft.trackers.mlflow import follow_with_tracker
from updraft.usecase import UseCase
from updraft.usecase.blocks import Rollout


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
    read = champion(case, registry)
    assert read is not None and read.number == 1
    folder = registry.pull(case.name, 1, tmp_path / "pulled")
    signature = Model.from_bytes(read.files["signature.json"], read.files["model.joblib"]).signature
    evaluation = read_json(folder / "evaluation.json")
    assert (signature.threshold, signature.candidate) == (evaluation["threshold"], evaluation["chosen"])
    assert {path.name for path in folder.iterdir()} >= {
        "model.joblib",
        "signature.json",
        "training.json",
        "evaluation.json",
        "card.html",
        "golden.json",
        "compiled.json",
        "trees.bin",
        "parity.json",
        "baseline.bin",
    }
    replay(Model.load(folder), (folder / "golden.json").read_bytes())


def test_the_manifest_says_where_the_version_comes_from(case: UseCase, run: Run, registry: Registry) -> None:
    version = push_run(case, run, registry).version
    assert version is not None
    evaluation, manifest = read_json(run.files.folder / "evaluate" / "evaluation.json"), version.manifest
    assert manifest["metrics"] == evaluation["metrics"] and manifest["choose_by"] == case.choose_by
    assert manifest["suite_sha256"] == hashlib.sha256(case.suite.read_bytes()).hexdigest()
    assert (
        manifest["data_sha256"]
        == hashlib.sha256((run.files.folder / "ingest" / "dataset.parquet").read_bytes()).hexdigest()
    )
    assert (manifest["seed"], manifest["threshold"]) == (case.seed, evaluation["threshold"])
    assert manifest["params"] == case.candidates[evaluation["chosen"]].params
    assert manifest["run_url"] == "http://airflow/run" and "scikit-learn" in manifest["libraries"]


def test_the_card_says_which_version_it_is_and_its_python_runs(
    case: UseCase, run: Run, registry: Registry, registry_environ: dict[str, str], tmp_path: Path
) -> None:
    odd = replace(run, who="ann <b>", url="http://airflow/run?a=1&b=2")
    first = push_run(case, odd, registry).version
    assert first is not None
    card = registry.read(case.name, first.number, ["card.html"])["card.html"].decode()
    manifest = first.manifest
    for words in (
        "<td>1</td>", f"{manifest['created_at'][:16].replace('T', ' ')} UTC", "manual__1", "ann &lt;b&gt;",
        "http://airflow/run?a=1&amp;b=2", f"{manifest['dataset']['rows']:,}; 0 more", manifest["data_sha256"],
        manifest["configuration_sha256"], str(manifest["code_commit"] or "unknown"),
    ):  # fmt: skip
        assert words in card, words
    assert PLACE not in card
    [lines] = re.findall(r'<pre class="scroll" id="python">(.*?)</pre>', card, re.S)
    script = unescape(lines)
    assert len(script.splitlines()) == 3
    environ = {key: value for key, value in registry_environ.items() if key != "UPDRAFT_SIGNING_KEY"}
    environ |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "include")}
    done = subprocess.run([sys.executable, "-c", script], env=environ, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    model = Model.from_bytes(*registry.read(case.name, 1, ["signature.json", "model.joblib"]).values())
    assert done.stdout.strip() == str(model.predict(model.signature.frame([model.signature.example])))


def test_a_model_that_is_not_there_cannot_be_loaded(
    registry_environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in registry_environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoSuchVersion, match="nothing is in production"):
        load_model("vehicle_insurance")
    with pytest.raises(NoSuchVersion, match="no version 7"):
        load_model("vehicle_insurance", 7)


def test_a_rejected_model_leaves_no_trace(case: UseCase, run: Run, registry: Registry) -> None:
    outcome = push_run(case, run, registry, rewrite(run, decision="reject", reason="too weak"))
    assert (outcome.version, outcome.reason) == (None, "too weak")
    assert registry.names() == []


def test_a_tracker_has_each_run_also_those_that_stored_nothing(case: UseCase, run: Run, registry: Registry) -> None:
    stand_in = MlflowStandIn()
    with web_server(stand_in.answer) as server:
        follow_with_tracker(registry, {"MLFLOW_TRACKING_URI": server.url})
        rejected = replace(run, id="manual__0")
        for _ in range(2):  # a task is tried again
            push_run(case, rejected, registry, rewrite(run, decision="reject", reason="too weak"))
        push_run(case, run, registry, rewrite(run, decision="hold", reason="promote is 'never'"))
    runs = stand_in.recorded()
    parents = {each["run_name"]: each["tags"] for each in runs if "mlflow.parentRunId" not in each["tags"]}
    assert len(runs) == 2 * (1 + len(case.candidates))
    assert {name: tags["updraft.decision"] for name, tags in parents.items()} == {
        "manual__0": "reject",
        "manual__1": "hold",
    }
    data_sha256 = hashlib.sha256((run.files.folder / "ingest" / "dataset.parquet").read_bytes()).hexdigest()
    assert {tags["updraft.data_sha256"] for tags in parents.values()} == {data_sha256}
    chosen = [each["tags"]["updraft.candidate"] for each in runs if each["tags"].get("updraft.chosen") == "true"]
    assert chosen == [read_json(run.files.folder / "evaluate" / "evaluation.json")["chosen"]] * 2
    for each in runs:
        if candidate := case.candidates.get(each["run_name"]):
            params = {key: value for key, value in candidate.params.items() if value is not None}
            texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in params.items()}
            assert each["params"] == texts


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
    model = run.files.folder / "train" / other / "model.joblib"
    push_run(
        case, run, registry, rewrite(run, chosen=other, model_sha256=hashlib.sha256(model.read_bytes()).hexdigest())
    )
    assert registry.numbers(case.name) == [1, 2]


def test_when_another_champion_came_meanwhile_the_model_is_judged_again(
    case: UseCase, run: Run, registry: Registry
) -> None:
    """The evaluation knew of no champion; by now the same model is in production: it does not beat itself."""
    other = Run("manual__0", run.files, "somebody else")
    assert push_run(case, other, registry).decision == "promote"
    outcome = push_run(case, run, registry)
    assert outcome.decision == "reject" and "version 1" in outcome.reason
    assert (outcome.version, registry.numbers(case.name), registry.production(case.name)) == (None, [1], 1)


def test_a_version_that_lost_a_race_keeps_a_judgement_that_says_so(
    case: UseCase, run: Run, registry: Registry, registry_environ: dict[str, str]
) -> None:
    """Its twin is promoted in the moment before its own pointer is written: it is stored, and does not beat it."""
    other = open_registry(registry_environ)
    twin: list[int] = []

    def promote_twin(model: Any, params: dict[str, Any], **_: Any) -> None:
        if not twin and params["url_path"].endswith("pointer.json"):
            twin.append(0)
            folder = run.files.folder / "push"
            twin[0] = other.push(case.name, folder, {}, "the twin").number
            other.promote(case.name, twin[0], expect=None, who="somebody else", why="faster")

    registry.bucket.client.meta.events.register("before-call.s3.PutObject", promote_twin)
    outcome = push_run(case, run, registry)
    assert outcome.version is not None
    assert (outcome.version.number, outcome.decision, registry.production(case.name)) == (1, "reject", 2)
    judgement = judgements.read(registry.bucket, registry.keys, case.name, 1)
    assert judgement and judgement.decision == "reject"
    assert "judged again after production moved" in judgement.reason and "version 2" in judgement.reason
    assert judgements.read(registry.bucket, registry.keys, case.name, 2) is None
    overwrite(registry, f"{case.name}/versions/0001/judged_again.json", lambda body: body.replace(b"reject", b"accept"))
    with pytest.raises(VerificationError, match="altered"):
        judgements.read(registry.bucket, registry.keys, case.name, 1)


def test_a_model_that_was_exchanged_after_its_evaluation_is_not_pushed(
    case: UseCase, run: Run, registry: Registry
) -> None:
    chosen = read_json(run.files.folder / "evaluate" / "evaluation.json")["chosen"]
    evaluation = rewrite(run)
    of_before = {
        key: value for key, value in read_json(evaluation / "evaluation.json").items() if key != "model_sha256"
    }
    model = run.files.folder / "train" / chosen / "model.joblib"
    for change in (
        lambda: model.write_bytes(b"another"),
        lambda: write_json(evaluation / "evaluation.json", of_before),
    ):
        change()
        with pytest.raises(UserError, match="is not the model that was evaluated; run `evaluate` again"):
            push_run(case, run, registry)
    assert registry.names() == []


# --- rollouts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside(case: UseCase, run: Run, registry: Registry) -> Path:
    """Put another candidate into production as version 1, and give the run's evaluation as if it had won against it."""
    other = run.files.folder / "other"
    shutil.copytree(run.files.folder / "train", other)
    chosen = read_json(run.files.folder / "evaluate" / "evaluation.json")["chosen"]
    first = registry.push(case.name, next(path for path in other.iterdir() if path.name != chosen), {}, "before")
    registry.promote(case.name, first.number, expect=None, who="tests", why="the first")
    return rewrite(run, champion={"version": 1}, decision="promote")


@pytest.mark.parametrize(("mode", "percent"), [("canary", 25.0), ("shadow", None)])
def test_a_winner_is_tried_beside_production_once(
    mode: str, percent: float | None, case: UseCase, run: Run, registry: Registry, beside: Path
) -> None:
    tried = case.model_copy(update={"promote": mode, "rollout": Rollout(percent=25)})
    for _ in range(2):  # a retry finds it there
        assert push_run(tried, run, registry, beside).decision == mode
    pointer = registry.pointer(case.name)
    assert pointer and pointer.rollout and pointer.production == 1
    assert (pointer.rollout.version, pointer.rollout.mode, pointer.rollout.percent) == (2, mode, percent)
    read = champion(case, registry)
    assert read and read.number == 1  # the champion is what is in production, never the rollout
    finish(registry, case.name, who="ann", why="good")
    assert push_run(tried, run, registry, beside).decision == "promote"
    assert len(registry.history(case.name)) == 3


@pytest.mark.parametrize("mode", ["auto", "canary", "shadow"])
def test_a_later_winner_is_stored_while_another_version_is_tried(
    mode: str, case: UseCase, run: Run, registry: Registry, beside: Path, tmp_path: Path
) -> None:
    earlier = registry.push(case.name, model_folder(tmp_path / "earlier"), {}, "earlier").number
    start(registry, case.name, Plan(earlier, "canary", 5.0), who="tests", why="it came first")
    outcome = push_run(case.model_copy(update={"promote": mode}), run, registry, beside)
    assert outcome.version and (outcome.version.number, outcome.decision) == (3, "hold")
    assert "version 2 is in a rollout (canary 5 % since " in outcome.reason
    judgement = judgements.read(registry.bucket, registry.keys, case.name, 3)
    assert judgement and judgement.reason == outcome.reason
    pointer = registry.pointer(case.name)
    assert pointer and pointer.rollout and (pointer.production, pointer.rollout.version) == (1, 2)


def test_the_first_version_goes_into_production_as_there_is_nothing_to_try_it_beside(
    case: UseCase, run: Run, registry: Registry
) -> None:
    assert push_run(case.model_copy(update={"promote": "canary"}), run, registry).decision == "promote"
    assert registry.production(case.name) == 1


def test_a_version_that_was_taken_back_is_not_tried_again(
    case: UseCase, run: Run, registry: Registry, beside: Path
) -> None:
    tried = case.model_copy(update={"promote": "shadow"})
    assert push_run(tried, run, registry, beside).decision == "shadow"
    abort(registry, case.name, who="ann", why="it sells to nobody")
    outcome = push_run(tried, Run("manual__2", run.files, "tests", "http://airflow/run"), registry, beside)
    require_held(case, outcome, registry)


# --- what a person answered -------------------------------------------------------------------------------------------

ANN = Answer("promote", "ann", "it sells")


def push_answered(case: UseCase, run: Run, registry: Registry, beside: Path, answer: Answer | None) -> Outcome:
    folder, asked = run.files.folder, case.model_copy(update={"promote": "approve"})
    models = [folder / "train" / candidate for candidate in case.candidates]
    dataset = folder / "ingest" / "dataset.parquet"
    return push(asked, models, folder / "transform", dataset, beside, registry, run, answer=answer)


@pytest.mark.parametrize(("choice", "decision", "production"), [("promote", "promote", 2), ("canary", "canary", 1)])
def test_what_a_person_approves_is_done_in_that_persons_name(
    choice: Choice, decision: str, production: int, case: UseCase, run: Run, registry: Registry, beside: Path
) -> None:
    for _ in range(2):  # a retry finds it there
        outcome = push_answered(case, run, registry, beside, replace(ANN, choice=choice))
        assert outcome.version and (outcome.version.number, outcome.decision) == (2, decision)
    last = registry.history(case.name)[-1]
    assert (last.sequence, last.production, last.who) == (2, production, "ann (tests)")
    assert last.why.startswith("it sells; ")


def test_what_a_person_rejects_is_stored_and_held(case: UseCase, run: Run, registry: Registry, beside: Path) -> None:
    for _ in range(2):
        outcome = push_answered(case, run, registry, beside, Answer("reject", "ann", "it sells to nobody"))
        assert outcome.version and (outcome.version.number, outcome.decision) == (2, "reject")
    assert "it sells to nobody" in outcome.reason
    last = registry.history(case.name)[-1]
    assert (last.action, last.version, last.who, last.why) == ("hold", 2, "ann (tests)", "it sells to nobody")
    assert registry.production(case.name) == 1
    again = Run("manual__2", run.files, "tests", "http://airflow/run")
    require_held(case, push_answered(case, again, registry, beside, ANN), registry)


@pytest.mark.parametrize(
    ("answer", "reason"), [(None, "nobody was asked"), (Answer("reject", None), "nobody answered in time")]
)
def test_without_an_answer_the_version_is_stored_and_not_held(
    answer: Answer | None, reason: str, case: UseCase, run: Run, registry: Registry, beside: Path
) -> None:
    outcome = push_answered(case, run, registry, beside, answer)
    assert outcome.version and (outcome.version.number, outcome.decision) == (2, "hold") and reason in outcome.reason
    assert len(registry.history(case.name)) == 1
    judgement = judgements.read(registry.bucket, registry.keys, case.name, 2)
    assert judgement and (judgement.decision, judgement.reason) == ("hold", outcome.reason)
    registry.promote(case.name, 2, expect=1, who="ben", why="by hand")


@pytest.mark.parametrize("choice", ["promote", "canary"])
def test_an_answer_to_what_is_no_longer_so_is_void(
    choice: Choice, case: UseCase, run: Run, registry: Registry, beside: Path, tmp_path: Path
) -> None:
    other = registry.push(case.name, model_folder(tmp_path / "other"), {}, "other").number
    registry.promote(case.name, other, expect=1, who="ben", why="meanwhile")
    outcome = push_answered(case, run, registry, beside, replace(ANN, choice=choice))
    assert outcome.version and (outcome.version.number, outcome.decision) == (3, "hold")
    assert f"what ann answered ({choice}) is void: {case.name}: production is version 2" in outcome.reason
    judgement = judgements.read(registry.bucket, registry.keys, case.name, 3)
    assert judgement and (judgement.reason, judgement.who) == (outcome.reason, "ann (tests)")
    pointer = registry.pointer(case.name)
    assert pointer and (pointer.production, pointer.rollout) == (2, None)


# --- what a person took back -----------------------------------------------------------------------------------------


@pytest.fixture
def rolled_back(case: UseCase, run: Run, registry: Registry) -> Registry:
    """A registry with the run's model as version 2, taken back, and another one before it in production again."""
    other = run.files.folder / "other"
    shutil.copytree(run.files.folder / "train", other)
    chosen = read_json(run.files.folder / "evaluate" / "evaluation.json")["chosen"]
    first = registry.push(case.name, next(path for path in other.iterdir() if path.name != chosen), {}, "before")
    registry.promote(case.name, first.number, expect=None, who="tests", why="the first")
    easy = rewrite(run, champion={"version": 1})  # as if it had won against version 1
    assert push_run(case, run, registry, easy).decision == "promote"
    assert registry.rollback(case.name, who="ann", why="it sells to nobody") == 1
    return registry


def require_held(case: UseCase, outcome: Outcome, registry: Registry) -> None:
    assert (outcome.version, outcome.decision) == (None, "hold")
    for words in ("held as version 2 by ann", "it sells to nobody", "--force"):
        assert words in outcome.reason
    assert (registry.production(case.name), registry.numbers(case.name)) == (1, [1, 2])


def evaluate_again(case: UseCase, run: Run, registry: Registry) -> Path:
    folder = run.files.folder
    models = [folder / "train" / candidate for candidate in case.candidates]
    rival, holds = champion(case, registry), registry.states(case.name).holds
    return evaluate(case, models, folder / "transform", rival, folder / "evaluate", holds=holds)


def test_clearing_push_does_not_undo_a_rollback(case: UseCase, run: Run, rolled_back: Registry) -> None:
    require_held(case, push_run(case, run, rolled_back), rolled_back)


def test_clearing_evaluate_and_push_does_not_undo_a_rollback(case: UseCase, run: Run, rolled_back: Registry) -> None:
    evaluation = read_json(evaluate_again(case, run, rolled_back) / "evaluation.json")
    assert evaluation["decision"] == "hold" and "it sells to nobody" in evaluation["reason"]
    require_held(case, push_run(case, run, rolled_back), rolled_back)


def test_the_next_run_on_the_same_data_does_not_undo_a_rollback(case: UseCase, run: Run, rolled_back: Registry) -> None:
    following = Run("scheduled__2", RunFiles(run.files.folder), "airflow:train", None)
    for candidate in case.candidates:  # the same rows and seed give the same bytes
        train(case, candidate, run.files.folder / "transform", run.files.folder / "train" / candidate)
    assert read_json(evaluate_again(case, following, rolled_back) / "evaluation.json")["decision"] == "hold"
    require_held(case, push_run(case, following, rolled_back), rolled_back)


def test_a_model_that_is_held_while_push_runs_is_stored_and_not_promoted(
    case: UseCase, run: Run, registry: Registry, registry_environ: dict[str, str]
) -> None:
    other, held = open_registry(registry_environ), list[bool]()

    def hold(model: Any, params: dict[str, Any], **_: Any) -> None:
        if not held and params["url_path"].endswith("pointer.json"):
            held.append(True)
            other.hold(case.name, 1, who="ann", why="in the last moment")

    registry.bucket.client.meta.events.register("before-call.s3.PutObject", hold)
    outcome = push_run(case, run, registry)
    assert outcome.version is not None and outcome.decision == "hold" and "in the last moment" in outcome.reason
    assert registry.production(case.name) is None


def test_a_spoiled_champion_stops_the_run(case: UseCase, run: Run, registry: Registry) -> None:
    push_run(case, run, registry)
    bucket = registry.bucket
    key = f"{case.name}/versions/0001/model.joblib"
    body = bytearray(b"".join(bucket.stream(key)))
    body[len(body) // 2] ^= 1
    bucket.put(key, bytes(body))
    with pytest.raises(Exception, match=r"'model\.joblib' is not the file that was signed"):
        champion(case, registry)
