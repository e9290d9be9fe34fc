"""deploy/github/release.sh pushes to a real registry on this machine, and what it prints can be pulled and run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose_stack import docker
from tests.support.image_registry import ImageRegistry, image_registry
from updraft.defaults import ROOT
from updraft.local_stack.servers import HOST, free_port

pytestmark = pytest.mark.timeout(900)

SCRIPT = ROOT / "deploy" / "github" / "release.sh"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGES = "slim shipper"  # the small ones


@pytest.fixture(scope="module")
def registry(starts_compose: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    with image_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running
        made = [f"{prefix(running)}-serving:{tag}" for tag in ("v1.4.0-slim", "v1.4.0-shipper")]
        docker("image", "rm", "--force", *made, f"{running.host}/python:3.11", check=False)


@pytest.fixture(scope="module")
def base(registry: ImageRegistry) -> str:
    """Push the image that the Dockerfiles name to the registry; return its tag there."""
    (name,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M)
    image = f"{registry.host}/python:3.11"
    docker("tag", name, image)
    docker("push", "--quiet", image)
    return image


def prefix(registry: ImageRegistry) -> str:
    return f"{registry.host}/team/updraft"


def release(prefix: str, *, version: str = "v1.4.0", **environ: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "GITHUB_SHA": COMMIT, "IMAGES": IMAGES, **environ}
    return subprocess.run([SCRIPT, version, prefix], env=environ, capture_output=True, text=True, check=False)


def test_images_are_pushed_once_and_named_by_their_digests(registry: ImageRegistry, base: str, tmp_path: Path) -> None:
    summary, place = tmp_path / "summary.md", prefix(registry)
    done = release(place, GITHUB_STEP_SUMMARY=str(summary), PYTHON_IMAGE=base)
    assert done.returncode == 0, done.stderr
    built_on, *lines = done.stdout.splitlines()
    assert re.fullmatch(rf"base: {base}@sha256:[0-9a-f]{{64}}", built_on)
    digests = dict(line.split(": ") for line in lines)
    assert [*digests] == ["slim", "shipper"]
    assert all(re.fullmatch(rf"{place}-serving@sha256:[0-9a-f]{{64}}", each) for each in digests.values())
    assert registry.tags("team/updraft-serving") == ["v1.4.0-shipper", "v1.4.0-slim"]
    assert summary.read_text() == "".join(f"- {line}\n" for line in done.stdout.splitlines())

    docker("pull", "--quiet", digests["slim"])
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", digests["slim"]))
    assert config["User"] == "serving"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    expected = {"revision": COMMIT, "version": "v1.4.0", "base.name": base, "base.digest": built_on.rpartition("@")[2]}
    assert labels.items() >= expected.items()
    assert docker("run", "--rm", digests["slim"], "python", "-c", "import serving.app; print('it runs')") == "it runs\n"
    docker("image", "rm", "--force", digests["slim"])

    again = release(place, PYTHON_IMAGE=f"{registry.host}/python:gone")  # nothing is built, so nothing is looked up
    assert (again.returncode, again.stdout.splitlines()) == (0, lines)
    assert again.stderr.count("is there already") == 2 and "is built" not in again.stderr


def test_without_its_base_nothing_is_built(registry: ImageRegistry) -> None:
    before = registry.tags("team/updraft-serving")
    image = f"{registry.host}/python:gone"
    done = release(prefix(registry), version="v1.5.0", PYTHON_IMAGE=image)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"base_image: PYTHON_IMAGE: {image}: ") and "is built" not in done.stderr
    assert registry.tags("team/updraft-serving") == before


@pytest.mark.parametrize(
    ("version", "images", "error"),
    [
        ("1.4", "slim", "release: 1.4: expected a release such as v1.4.0"),
        ("v1.4.0", "slim serving2", "release: IMAGES: serving2: expected airflow, serving, slim or shipper"),
    ],
)
def test_a_mistake_pushes_nothing(registry: ImageRegistry, version: str, images: str, error: str) -> None:
    before = registry.tags("team/updraft-serving")
    done = release(prefix(registry), version=version, IMAGES=images)
    assert (done.returncode, done.stderr) == (1, f"{error}\n")
    assert registry.tags("team/updraft-serving") == before


def test_a_registry_that_does_not_answer_is_said(starts_compose: None) -> None:
    done = release(f"{HOST}:{free_port()}/team/updraft")
    assert done.returncode == 1 and "connection refused" in done.stderr and done.stdout == ""
