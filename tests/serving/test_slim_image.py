"""The packages of the image `serving`: enough for the service and for LightGBM's C library, and no pipeline's."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.environments import bin_of
from tests.support.service import PREDICT, granian, service, surroundings
from tests.support.slim_image import STARTS
from tests.support.small_models import NAME, ROW, loaded_model, promote, push
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_port
from updraft.registry.registry import open_registry

PIPELINES = {"joblib", "pandas", "scikit-learn", "scipy"}


def pins(file: str) -> list[str]:
    """List the lines of a lock that name a package."""
    return re.findall(r"^[a-z0-9].*==.*$", (ROOT / "serving" / file).read_text(), re.M)


def names(file: str) -> set[str]:
    return {line.partition("==")[0] for line in pins(file)}


@pytest.fixture(scope="module")
def slim(takes_long: None) -> Path:
    """Return the programs of an environment as the image has it."""
    return bin_of("--no-deps", *pins("requirements.txt"))


def test_the_locks_differ_by_what_pipelines_need() -> None:
    assert not names("requirements.txt") & PIPELINES
    assert names("requirements-full.txt") >= PIPELINES
    assert set(pins("requirements.txt")) < set(pins("requirements-full.txt"))


def test_the_service_and_lightgbms_library_load_without_what_pipelines_need(slim: Path) -> None:
    done = subprocess.run(
        [slim / "python", "-c", STARTS], cwd=ROOT, env=surroundings({}), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.usefixtures("starts_servers")
def test_a_version_that_needs_its_pipeline_is_refused_with_the_reason(
    slim: Path, s3: dict[str, str], key_files: dict[str, str], tmp_path: Path
) -> None:
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": "s3://test-slim"}
    registry = open_registry(environ)
    promote(registry, push(registry, tmp_path / "run", loaded_model()))
    port = free_port()
    command = [str(slim / "granian"), *granian(port)[1:]]
    with service(environ, tmp_path, command=command, port=port) as running:
        answers = {path: running.ask("GET", path) for path in ("/healthz", "/readyz", "/models")}
        answers[PREDICT] = running.ask("POST", PREDICT, json.dumps(ROW).encode())
    assert {path: status for path, (status, _, _) in answers.items()} == {
        "/healthz": 200, "/readyz": 503, "/models": 200, PREDICT: 503,
    }  # fmt: skip
    reason = f"{NAME} version 1: needs joblib: use the image serving-full"
    assert json.loads(answers["/models"][2])["models"][0]["refused"]["reason"] == reason
    for path in ("/readyz", PREDICT):
        _, headers, body = answers[path]
        assert reason in json.loads(body)["detail"] and headers["retry-after"], path
