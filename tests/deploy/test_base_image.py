"""deploy/github/base_image.sh: what a release is built on, by the digest that a real registry has for a tag."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.image_registry import ImageRegistry, image_registry
from updraft.defaults import ROOT
from updraft.local_stack.servers import HOST, free_port

SCRIPT = ROOT / "deploy" / "github" / "base_image.sh"
DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.fixture(scope="module")
def registry(starts_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    if subprocess.run(["sh", "-c", "docker buildx version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker buildx here")
    with image_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def base_image(image: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHON_IMAGE": image}
    return subprocess.run([SCRIPT], env=environ, capture_output=True, text=True, check=False)


def test_a_tag_gets_the_digest_that_the_registry_has_for_it(registry: ImageRegistry) -> None:
    digest = registry.push_empty("python", "3.11-slim")
    image = f"{registry.host}/python:3.11-slim"
    done = base_image(image)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{image}@{digest}\n", "")


def test_a_tag_that_is_not_there_is_named(registry: ImageRegistry) -> None:
    image = f"{registry.host}/python:3.10"
    done = base_image(image)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"base_image: PYTHON_IMAGE: {image}: ") and "not found" in done.stderr


@pytest.mark.usefixtures("registry")
def test_a_registry_that_does_not_answer_is_named() -> None:
    done = base_image(f"{HOST}:{free_port()}/python:3.11")
    assert done.returncode == 1 and done.stdout == "" and "connection refused" in done.stderr


def test_a_digest_is_taken_as_it_is_without_a_question() -> None:
    image = f"registry.invalid/python:3.11@{DIGEST}"
    done = base_image(image)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{image}\n", "")


@pytest.mark.parametrize("image", ["python@sha256:12", f"python@{DIGEST}0", "@" + DIGEST, f"py thon@{DIGEST}"])
def test_what_is_no_digest_is_refused(image: str) -> None:
    done = base_image(image)
    error = f"base_image: PYTHON_IMAGE: {image}: expected a digest of 64 hexadecimal digits after @sha256:\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", error)


def test_both_dockerfiles_and_compose_have_the_same_default() -> None:
    defaults = {
        found
        for name in ("Dockerfile", "serving/Dockerfile")
        for found in re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / name).read_text(encoding="utf-8"), re.M)
    }
    compose = re.findall(r"\$\{PYTHON_IMAGE:-([^}]+)\}", (ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    assert len(defaults) == 1 and {*compose} == defaults
