"""The workflows: what zizmor and actionlint find, and what holds for each of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from updraft.defaults import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in WORKFLOWS}
# Looked up in the actions' own repositories, at that commit.
PINNED = {
    "actions/checkout": "08c6903cd8c0fde910a37f88322edcfb5dd907a8 # v5.0.0",
    "actions/upload-artifact": "ea165f8d65b6e75b540449e92b4886f43607fa02 # v4.6.2",
    "actions/setup-python": "e797f83bcb11b83ae66e0230d6156d7c80228e7c # v6.0.0",
}


def read(name: str) -> dict[Any, Any]:
    return dict(yaml.safe_load(TEXTS[name]))


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in read(name)["jobs"].values() for step in job["steps"]]


def test_zizmor_finds_nothing() -> None:
    command = [Path(sys.executable).with_name("zizmor"), "--offline", "--no-progress", ROOT / ".github" / "workflows"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_actionlint_finds_nothing() -> None:
    done = actionlint(*WORKFLOWS)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_actionlint_knows_the_runners_of_today(tmp_path: Path) -> None:
    text = TEXTS["ci.yaml"]
    assert "ubuntu-24.04" in text
    broken = tmp_path / "ci.yaml"
    broken.write_text(text.replace("ubuntu-24.04", "ubuntu-9.04"))
    done = actionlint(broken)
    assert done.returncode == 1 and 'label "ubuntu-9.04" is unknown' in done.stdout


def actionlint(*paths: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("actionlint"), "-no-color", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", TEXTS)
def test_a_workflow_may_nothing_but_what_its_jobs_say(name: str) -> None:
    workflow = read(name)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert set(job["permissions"].items()) <= {("contents", "read"), ("id-token", "write")}
        assert job["timeout-minutes"]


@pytest.mark.parametrize("name", TEXTS)
def test_actions_are_pinned_by_the_commits_that_were_looked_up(name: str) -> None:
    used = re.findall(r"uses: ([^@\s]+)@(.+)", TEXTS[name])
    assert used and all(PINNED.get(action) == commit for action, commit in used)


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_step_runs_is_a_line_without_expressions(name: str) -> None:
    for step in steps(name):
        assert "\n" not in step.get("run", "").strip()
        assert "${{" not in step.get("run", "")  # by the environment, so that no input is read as a command
        for script in re.findall(r"^(?:deploy/\S+|\.ci/run)", step.get("run", "")):
            assert (ROOT / script).stat().st_mode & 0o111, script


STARTS = {  # what may start those that reach a machine, a registry or an Airflow
    "deploy-ec2.yaml": {"workflow_dispatch"},
    "deploy-eks.yaml": {"workflow_dispatch"},
    "release.yaml": {"push"},
    "train.yaml": {"workflow_dispatch", "schedule"},
}


@pytest.mark.parametrize("name", sorted({*TEXTS} - {"ci.yaml"}))
def test_what_reaches_production_asks_for_approval_and_is_never_cut_off(name: str) -> None:
    workflow = read(name)
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert all(job["environment"] for job in workflow["jobs"].values())
    assert set(workflow[True]) == STARTS[name]  # `on` is a truth value in YAML 1.1


def test_a_release_is_a_tag_of_a_version_and_no_branch() -> None:
    assert read("release.yaml")[True] == {"push": {"tags": ["v*"]}}
