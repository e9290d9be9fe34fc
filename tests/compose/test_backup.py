"""deploy/compose/backup.sh and restore.sh on real containers and volumes in which idle programs run: what goes wrong.

test_compose.py backs up a stack that has trained. The tests follow one another on one stack, in the order of the file.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compose_stack import docker, until
from tests.support.small_stack import VOLUMES, SmallStack

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("starts_compose")]
log = logging.getLogger(__name__)
AGAIN = "deploy/compose/backup.sh: no backup is made; what was running runs again\n"


@pytest.fixture(scope="module")
def stack(starts_compose: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallStack]:
    stack = SmallStack(tmp_path_factory.mktemp("checkout"))
    try:
        yield stack
    finally:
        stack.remove()


def test_without_a_stack_or_docker_nothing_is_backed_up(stack: SmallStack, tmp_path: Path) -> None:
    done = stack.script("backup", str(tmp_path / "new"))
    assert done.returncode == 1 and f"the project {stack.project} has no data" in done.stderr
    assert_without_docker(stack, "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def assert_without_docker(stack: SmallStack, name: str, folder: Path) -> None:
    done = stack.script(name, str(folder), DOCKER_HOST=f"unix://{folder.parent}/none.sock")
    assert done.returncode == 1 and done.stderr.endswith(f"{name}.sh: Docker does not answer\n"), done.stderr


def test_what_its_owner_has_stopped_is_backed_up_and_stays_stopped(stack: SmallStack, tmp_path: Path) -> None:
    everything = stack.up()
    assert {"serving", "slow", "scheduler", "grafana"} <= everything
    for name in VOLUMES:
        stack.in_volume(name, f"echo {name} >first; touch -d 2001-02-03 first; chown 999:998 first; chmod 640 first")
    stack.compose("stop", "grafana", "mongodb")
    folder = tmp_path / "backup"
    done = stack.script("backup", str(folder))
    assert done.returncode == 0, done.stderr
    assert stack.running() == everything - {"grafana", "mongodb"}
    assert {each.name for each in folder.glob("*.tar.gz")} == {f"{name}.tar.gz" for name in VOLUMES}

    stack.compose("start", "grafana", "mongodb")
    for name in VOLUMES:
        stack.in_volume(name, "echo changed >first; mkdir later; echo later >later/file")
    done = stack.script("restore", "--overwrite", str(folder))
    assert done.returncode == 0, done.stderr
    assert stack.running() == set()
    for name in VOLUMES:
        listing = stack.in_volume(name, "find . -mindepth 1; cat first; stat -c '%u %g %a %y' first")
        assert listing.startswith(f"./first\n{name}\n999 998 640 2001-02-03 "), listing


@pytest.mark.parametrize("how", ["once", "again while it starts"])
def test_control_c_while_containers_stop_leaves_all_running(stack: SmallStack, tmp_path: Path, how: str) -> None:
    """Docker stops a container to the end, though nobody waits for it any more."""
    everything, began = stack.up(), time.time()
    with stack.start_backup(tmp_path / "backup") as script:
        assert script.stderr
        until(lambda: "stopping" in stack.compose("logs", "--since", f"{began:.0f}", "slow"), 60)
        os.killpg(script.pid, signal.SIGINT)
        assert "what was stopped starts again" in until(script.stderr.readline)
        if how != "once":
            for _ in range(2):
                time.sleep(0.3)
                os.killpg(script.pid, signal.SIGINT)
        assert (script.stderr.readlines()[-1], script.wait(120)) == (AGAIN, 1)
    time.sleep(5)  # longer than the slow one takes to stop
    assert stack.running() == everything
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGHUP], ids=lambda sent: sent.name)
def test_a_signal_while_a_volume_is_packed_ends_it_at_once(
    stack: SmallStack, tmp_path: Path, sent: signal.Signals
) -> None:
    everything = stack.up()
    stack.in_volume("s3", "truncate --size 20G large")  # packed within minutes
    try:
        with stack.start_backup(tmp_path / "backup") as script:
            until(lambda: stack.packs("s3"), 60)
            began = time.monotonic()
            os.killpg(script.pid, sent)
            assert script.stderr and script.stderr.readlines()[-1] == AGAIN
            assert script.wait(60) == 1
        log.warning("%s while a volume is packed: all runs again %.0f s later", sent.name, time.monotonic() - began)
        assert stack.running() == everything and not stack.packs("s3")
        assert list(tmp_path.iterdir()) == []
    finally:
        stack.in_volume("s3", "rm large")


def test_a_file_that_changes_while_it_is_packed_fails_the_backup(stack: SmallStack, tmp_path: Path) -> None:
    """A container that is none of the stack's goes on writing."""
    everything = stack.up()
    stack.in_volume("s3", "truncate --size 300M grows")
    write = "while :; do echo more >>/kept/grows; done"
    writer = docker("run", "--detach", "--volume", f"{stack.project}_s3:/kept", stack.image, "sh", "-c", write).strip()
    try:
        done = stack.script("backup", str(tmp_path / "backup"))
    finally:
        docker("rm", "--force", writer)
        stack.in_volume("s3", "rm grows")
    assert done.returncode == 1
    assert "file changed as we read it" in done.stderr and done.stderr.endswith(AGAIN), done.stderr
    assert stack.running() == everything
    assert list(tmp_path.iterdir()) == []


def test_while_a_command_runs_or_without_a_place_nothing_is_stopped(stack: SmallStack, tmp_path: Path) -> None:
    stack.up()
    started = [docker("inspect", "--format", "{{.State.StartedAt}}", each) for each in stack.containers()]
    running = stack.compose("run", "--detach", "scheduler", "sleep", "600").strip()
    try:
        done = stack.script("backup", str(tmp_path / "backup"))
    finally:
        docker("rm", "--force", running)
    assert done.returncode == 1 and "`docker compose run` is under way" in done.stderr
    (tmp_path / "file").touch()
    nowhere = stack.script("backup", str(tmp_path / "file" / "backup"))
    assert nowhere.returncode == 1 and nowhere.stderr.endswith(f"no folder can be made beside {tmp_path}/file/backup\n")
    docker("image", "rm", stack.image)
    try:
        done = stack.script("backup", str(tmp_path / "backup"))
    finally:
        docker("tag", stack.base, stack.image)
    assert done.returncode == 1 and f"there is no image {stack.image}: docker compose build" in done.stderr
    assert [docker("inspect", "--format", "{{.State.StartedAt}}", each) for each in stack.containers()] == started
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_backup_of_more_volumes_than_the_stack_has_is_refused(stack: SmallStack, tmp_path: Path) -> None:
    everything, folder = stack.up(), tmp_path / "backup"
    assert stack.script("backup", str(folder)).returncode == 0
    assert_without_docker(stack, "restore", folder)
    stack.define(tuple(name for name in VOLUMES if name != "mongodb"))
    done = stack.script("restore", "--overwrite", str(folder))
    assert done.returncode == 1
    assert (
        "the backup has the volume mongodb and this stack has none: set COMPOSE_FILE and COMPOSE_PROFILES"
        in done.stderr
    )
    stack.define(VOLUMES)
    with (folder / "about.txt").open("a") as about:
        about.write("volume more\n")
    done = stack.script("restore", "--overwrite", str(folder))
    assert done.returncode == 1 and f"{folder} is damaged" in done.stderr
    assert stack.running() == everything
