"""deploy/github/release.sh pushes to a real registry on this machine, and what it prints can be pulled and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.compose_stack import docker
from tests.support.servers import server
from updraft.defaults import ROOT
from updraft.local_stack.servers import HOST, free_port

pytestmark = pytest.mark.timeout(900)

SCRIPT = ROOT / "deploy" / "github" / "release.sh"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGES = "slim shipper"  # the small ones


class Registry:
    """Where a registry listens, and its configuration in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "registry.log"
        self.prefix = f"{HOST}:{self.port}/team/updraft"
        self.file = folder / "registry.yaml"
        self.file.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: '{folder / 'images'}'}}}}\n"
            f"http: {{addr: '{HOST}:{self.port}'}}\n"
        )

    def tags(self) -> list[str]:
        answer = requests.get(f"http://{self.prefix.replace('/', '/v2/', 1)}-serving/tags/list", timeout=60)
        return sorted(answer.json().get("tags") or [])


@pytest.fixture(scope="module")
def registry(starts_compose: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    if not shutil.which("docker-registry"):
        pytest.skip("no docker-registry here")
    it = Registry(tmp_path_factory.mktemp("registry"))
    with server(["docker-registry", "serve", str(it.file)], it.port, it.log, dict(os.environ)):
        yield it
    for tag in ("v1.4.0-slim", "v1.4.0-shipper"):
        docker("image", "rm", "--force", f"{it.prefix}-serving:{tag}", check=False)


def release(prefix: str, *, version: str = "v1.4.0", **environ: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "GITHUB_SHA": COMMIT, "IMAGES": IMAGES, **environ}
    return subprocess.run([SCRIPT, version, prefix], env=given, capture_output=True, text=True, check=False)


def test_images_are_pushed_once_and_named_by_their_digests(registry: Registry, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = release(registry.prefix, GITHUB_STEP_SUMMARY=str(summary))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    digests = dict(line.split(": ") for line in lines)
    assert [*digests] == ["slim", "shipper"]
    assert all(re.fullmatch(rf"{registry.prefix}-serving@sha256:[0-9a-f]{{64}}", each) for each in digests.values())
    assert registry.tags() == ["v1.4.0-shipper", "v1.4.0-slim"]
    assert summary.read_text() == "".join(f"- {line}\n" for line in lines)

    docker("pull", "--quiet", digests["slim"])
    labels = '{{index .Config.Labels "org.opencontainers.image.revision"}} {{.Config.User}}'
    assert docker("image", "inspect", "--format", labels, digests["slim"]).split() == [COMMIT, "serving"]
    assert docker("run", "--rm", digests["slim"], "python", "-c", "import serving.app; print('it runs')") == "it runs\n"
    docker("image", "rm", "--force", digests["slim"])

    again = release(registry.prefix)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert again.stderr.count("is there already") == 2 and "is built" not in again.stderr


@pytest.mark.parametrize(
    ("version", "images", "error"),
    [
        ("1.4", "slim", "release: 1.4: expected a release such as v1.4.0"),
        ("v1.4.0", "slim serving2", "release: IMAGES: serving2: expected airflow, serving, slim or shipper"),
    ],
)
def test_a_mistake_pushes_nothing(registry: Registry, version: str, images: str, error: str) -> None:
    before = registry.tags()
    done = release(registry.prefix, version=version, IMAGES=images)
    assert (done.returncode, done.stderr) == (1, f"{error}\n")
    assert registry.tags() == before


def test_a_registry_that_does_not_answer_is_said(starts_compose: None) -> None:
    done = release(f"{HOST}:{free_port()}/team/updraft")
    assert done.returncode == 1 and "connection refused" in done.stderr and done.stdout == ""
