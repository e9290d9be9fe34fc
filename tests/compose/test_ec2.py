"""deploy/ec2/deploy.sh, run on this machine's Docker: switches, roll backs, and a deployment that is killed.

The tests follow one another on one machine, in the order of the file.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
import requests

from tests.support import small_models
from tests.support.compose_stack import ComposeStack, docker, until
from tests.support.ec2_machine import Machine, variant
from tests.support.small_models import NAME, OTHER, ROW
from updraft.model import golden
from updraft.registry.registry import open_registry

pytestmark = [pytest.mark.timeout(1500), pytest.mark.usefixtures("starts_compose")]
# Scores are changed after the service has checked them itself.
WRONG = r"""
USER root
RUN printf '%s\n' 'right = json_answer' 'def json_answer(result):' '    headers, body = right(result)' \
    '    return headers, body.replace(b"\"probabilities\":[0.", b"\"probabilities\":[0.0")' \
    >>/app/serving/predict/responses.py
USER serving
"""


@pytest.fixture(scope="module")
def tag(starts_compose: None) -> Iterator[str]:
    """Build the service's image."""
    stack = ComposeStack(SERVING_TARGET="serving-full")
    tag = f"{stack.project}-serving"
    try:
        stack.compose("build", "--quiet", "serving")
        yield tag
    finally:
        docker("image", "rm", "--force", tag, check=False)


@pytest.fixture(scope="module")
def image(tag: str) -> str:
    """Return the image's id, a digest of its content as that of a registry is."""
    return docker("image", "inspect", "--format", "{{.Id}}", tag).strip()


@pytest.fixture(scope="module")
def machine(
    starts_compose: None, tmp_path_factory: pytest.TempPathFactory, key_files: dict[str, str]
) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("ec2")
    it = Machine(folder, key_files)
    try:
        it.start_registry()
        registry, model = open_registry(it.registry_environ), small_models.model(threshold=0.3)
        record = lambda files: golden.write(model, [ROW, OTHER], files)  # noqa: E731
        small_models.promote(registry, small_models.push(registry, folder / "run1", model, spoil=record))
        yield it
    finally:
        it.remove()


@pytest.fixture(scope="module")
def second(tag: str) -> Iterator[str]:
    """Build another image that is as good."""
    made = variant(tag, "LABEL release=second")
    yield made
    docker("image", "rm", "--force", made, check=False)


def test_a_tag_is_refused(machine: Machine) -> None:
    done = machine.deploy("updraft-serving:latest")
    assert done.returncode == 1
    assert done.stderr.startswith("deploy: updraft-serving:latest: expected IMAGE@sha256:")
    assert machine.running() == set()


def test_the_first_deployment_serves(machine: Machine, image: str) -> None:
    done = machine.deploy(image)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NAME} version 1: 2 golden rows are answered as recorded" in done.stdout
    assert machine.running() == {"front", "blue"}
    assert machine.predict()["version"] == 1


def test_a_second_deployment_switches_without_a_failed_request_and_keeps_the_log(
    machine: Machine, image: str, second: str
) -> None:
    told = machine.predict()["prediction_ids"][0]
    with machine.no_request_fails() as by:
        done = machine.deploy(second)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(dict.fromkeys(by)) == [f"{machine.name}-blue", f"{machine.name}-green"]
    assert (machine.running(), machine.image_of("green")) == ({"front", "green"}, second)
    feedback = requests.post(f"{machine.url}/feedback", json={"prediction_id": told, "label": 1}, timeout=30)
    assert feedback.status_code == 200, feedback.text  # the log of the first container


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ('CMD ["sleep", "600"]', "was not ready within 8 seconds"),
        ('CMD ["false"]', "ended before it was ready"),
        (WRONG, "does not answer as recorded"),
    ],
    ids=["never ready", "ends", "answers wrongly"],
)
def test_a_bad_image_never_gets_a_request(machine: Machine, tag: str, second: str, lines: str, reason: str) -> None:
    bad = variant(tag, lines)
    try:
        with machine.no_request_fails() as by:
            done = machine.deploy(bad, READY_SECONDS="8" if "sleep" in lines else "300")
        assert done.returncode == 1, done.stdout
        assert reason in done.stderr and f"rolled back: {machine.name}-green serves" in done.stderr, done.stderr
        assert set(by) == {f"{machine.name}-green"}
        assert (machine.running(), machine.image_of("green")) == ({"front", "green"}, second)
    finally:
        docker("image", "rm", "--force", bad, check=False)


def test_an_image_that_fails_after_the_switch_is_rolled_back(machine: Machine, image: str, second: str) -> None:
    with machine.start_deploying(image, WATCH_SECONDS="600") as deploying:
        until(lambda: machine.serving() == f"{machine.name}-blue", 300)
        docker("kill", f"{machine.name}-blue")
        assert deploying.wait(300) == 1
        assert deploying.stdout and "rolled back" in deploying.stdout.read()
    assert (machine.running(), machine.serving()) == ({"front", "green"}, f"{machine.name}-green")
    assert machine.predict()["version"] == 1


@pytest.mark.parametrize("moment", ["before the switch", "after the switch"])
def test_a_deployment_that_was_killed_can_be_repeated(machine: Machine, image: str, second: str, moment: str) -> None:
    before = machine.serving()
    new = image if machine.image_of(before.rpartition("-")[2]) == second else second
    with machine.no_request_fails():
        with machine.start_deploying(new, WATCH_SECONDS="600") as deploying:
            if moment == "before the switch":
                until(lambda: len(machine.running()) == 3, 300)
            else:
                until(lambda: machine.serving() != before, 300)
            deploying.send_signal(signal.SIGKILL)
            deploying.wait(30)
        done = machine.deploy(new)
    assert done.returncode == 0, done.stdout + done.stderr
    name = machine.serving().rpartition("-")[2]
    assert (machine.running(), machine.image_of(name)) == ({"front", name}, new)


def test_what_a_container_may_is_little(machine: Machine) -> None:
    (about,) = json.loads(docker("inspect", machine.serving()))
    host = about["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert "no-new-privileges" in host["SecurityOpt"] and host["Memory"] and host["PortBindings"] == {}
    assert docker("exec", machine.serving(), "id", "-u").strip() != "0"
