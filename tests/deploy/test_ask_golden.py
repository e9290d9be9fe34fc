"""What a deployment asks a service: its golden rows, over HTTP, as any caller."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import small_models
from tests.support.served_models import species
from tests.support.service import Service, service, until
from tests.support.small_models import NAME, OTHER, ROW
from updraft.defaults import ROOT
from updraft.model import golden
from updraft.model.model import Model
from updraft.registry.registry import open_registry

SCRIPT = ROOT / "deploy" / "ask_golden.py"
KEY = "a-key-of-twenty-characters"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def running(s3: dict[str, str], key_files: dict[str, str], folder: Path) -> Iterator[Service]:
    """Run a service with a binary and a multiclass model, that asks for API keys and serves one host alone."""
    environ = {**s3, **key_files, "UPDRAFT_REGISTRY": f"s3://updraft-tests/{folder.name}"}
    registry, other = open_registry(environ), species()
    example = other.signature.example
    models: list[tuple[Model, list]] = [(small_models.model(threshold=0.3), [ROW, OTHER]), (other, [example])]
    for model, rows in models:
        record = lambda files, model=model, rows=rows: golden.write(model, rows, files)  # noqa: E731
        small_models.promote(
            registry, small_models.push(registry, folder / model.signature.use_case, model, spoil=record)
        )
    settings = {"SERVING_API_KEYS": f"deploy:{KEY}", "SERVING_HOSTS": ".example.com"}
    with service(environ, folder, **settings) as it:
        until(lambda: json.loads(it.ask("GET", "/readyz")[2]).get("versions") == {NAME: 1, "species": 1})
        yield it


def ask(running: Service, folder: Path, key: str = KEY) -> subprocess.CompletedProcess[str]:
    """Run the script as in the container: from stdin, by Python alone, with the service's variables."""
    environ = {"SERVING_CACHE": str(folder / "cache"), "SERVING_HOSTS": ".example.com"}
    command = [sys.executable, "-I", "-", f"http://127.0.0.1:{running.port}"]
    return subprocess.run(
        command, env=environ | {"SERVING_API_KEYS": f"deploy:{key}"}, input=SCRIPT.read_text(encoding="utf-8"),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_answers_as_recorded_pass(running: Service, folder: Path) -> None:
    done = ask(running, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "species version 1: 1 golden rows are answered as recorded",
        f"{NAME} version 1: 2 golden rows are answered as recorded",
    ]


@pytest.mark.parametrize("name", [NAME, "species"])
def test_an_answer_that_differs_is_named(running: Service, folder: Path, name: str) -> None:
    path = folder / "cache" / name / "0001" / "golden.json"
    recorded = path.read_bytes()
    content = json.loads(recorded)
    last = content["scores"][-1]
    content["scores"][-1] = [*last[:-1], last[-1] + 1e-4] if isinstance(last, list) else last + 1e-4
    try:
        path.write_text(json.dumps(content))
        done = ask(running, folder)
    finally:
        path.write_bytes(recorded)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} version 1: golden row {len(content['rows']) - 1}: expected ")
    assert done.stderr.count("\n") == 1


def test_a_refusal_is_told_without_the_key(running: Service, folder: Path) -> None:
    done = ask(running, folder, key="another-key-of-some-characters")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "status 401" in done.stderr or "status 403" in done.stderr
    assert "another-key" not in done.stdout + done.stderr


def test_a_service_that_does_not_answer_is_told(running: Service, folder: Path) -> None:
    done = ask(Service(1, running.log, running.process), folder)
    assert done.returncode == 1 and done.stderr.startswith("/readyz: ")
