"""A stack of docker-compose.yaml under a project name of its own, on free ports, and what kills a part of it."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote

import pytest
import requests

from updraft.airflow_client import Airflow
from updraft.defaults import ROOT
from updraft.errors import UserError
from updraft.local_stack.servers import free_ports

log = logging.getLogger(__name__)
RUN = ("run", "--rm", "--no-deps", "-T")
IMAGES = ("airflow", "serving", "shipper")
SECRETS = """
import json, pathlib
print(json.dumps({each.name: each.read_text() for each in pathlib.Path("/secrets/all").iterdir()}))
"""


def docker_answers() -> bool:
    """Tell whether there is Docker with Compose, and its engine answers."""
    try:
        asked = [
            subprocess.run(["docker", *words], capture_output=True, check=False)
            for words in (["info"], ["compose", "version"])
        ]
    except FileNotFoundError:
        return False
    return all(each.returncode == 0 for each in asked)


class ComposeStack:
    """The stack. It sees nothing of the user's `.env` and shell but where Docker is."""

    def __init__(self, *files: str, **settings: str) -> None:
        airflow, service = free_ports(2)
        self.project = f"updraft-test-{secrets.token_hex(4)}"
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "HOME", "DOCKER_"))}
        self.environ = kept | {"AIRFLOW_PORT": str(airflow), "SERVING_PORT": str(service), **settings}
        self.environ["COMPOSE_FILE"] = ":".join(["docker-compose.yaml", *files])
        self.airflow_url, self.url = f"http://127.0.0.1:{airflow}", f"http://127.0.0.1:{service}"

    def command(self, *words: str) -> list[str]:
        """Give the words of a `docker compose` command that leaves the user's `.env` alone."""
        return ["docker", "compose", "--env-file", os.devnull, "--project-name", self.project, *words]

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `docker compose`, which may fail."""
        command = self.command(*words)
        return subprocess.run(
            command, cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False, timeout=1200
        )

    def compose(self, *words: str, check: bool = True) -> str:
        """Run `docker compose` and give what it printed."""
        done = self.attempt(*words)
        assert done.returncode == 0 or not check, (
            f"{words}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        """Run a target of the Makefile on this stack."""
        environ = self._environ_of_scripts()
        return subprocess.run(["make", target], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)

    def script(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/compose on this stack."""
        return subprocess.run(
            [f"deploy/compose/{name}.sh", *words],
            cwd=ROOT,
            env=self._environ_of_scripts(),
            capture_output=True,
            text=True,
            check=False,
        )

    def kill_restore(self, folder: str, at: str) -> None:
        """Begin to restore, and kill the script when it is at a volume."""
        command = ["deploy/compose/restore.sh", folder]
        with subprocess.Popen(
            command, cwd=ROOT, env=self._environ_of_scripts(), stdout=subprocess.DEVNULL, start_new_session=True
        ) as process:
            until(lambda: docker("ps", "--quiet", "--filter", f"volume={self.project}_{at}"), 120)
            os.killpg(process.pid, signal.SIGKILL)
            assert process.wait(30) != 0

    def volumes(self) -> list[str]:
        """Give the names of its volumes."""
        mine = f"label=com.docker.compose.project={self.project}"
        return docker("volume", "ls", "--quiet", "--filter", mine).split()

    def rename(self) -> None:
        """Go on under another project name, with the same images."""
        before, self.project = self.project, f"updraft-test-{secrets.token_hex(4)}"
        for name in IMAGES:
            docker("tag", f"{before}-{name}", f"{self.project}-{name}")
            docker("image", "rm", f"{before}-{name}")

    def _environ_of_scripts(self) -> dict[str, str]:
        return self.environ | {"COMPOSE_PROJECT_NAME": self.project, "COMPOSE_ENV_FILES": os.devnull}

    def up(self) -> float:
        """Start all of it; give the seconds until it was healthy."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--wait-timeout", "600", "--quiet-pull")
        return time.monotonic() - began

    def remove(self) -> None:
        """End it and remove its volumes and images."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "10", check=False)
        images = [f"{self.project}-{name}" for name in IMAGES]
        docker("image", "rm", "--force", *images, check=False)

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """Give what Docker knows of the containers, of some services or of all."""
        names = self.compose("ps", "--all", "--quiet", *services).split()
        return list(json.loads(docker("inspect", *names)))

    def container(self, service: str) -> dict[str, Any]:
        """Give what Docker knows of a service's one container."""
        (found,) = self.containers(service)
        return found

    def healthy(self) -> bool:
        """Tell whether all that is there says that it is well, or has ended well."""
        states = [each["State"] for each in self.containers()]
        return all(
            each["Health"]["Status"] == "healthy" if "Health" in each else not each["ExitCode"] for each in states
        )

    def secrets(self) -> dict[str, str]:
        """Give the secrets by the names of their files."""
        return dict(json.loads(self.compose(*RUN, "secrets", "python", "-c", SECRETS)))

    def leaked(self) -> set[str]:
        """Name the secrets that a log or Docker's inspection of a container tells."""
        told = self.compose("logs", "--no-color") + json.dumps(self.containers())
        lines = {
            name: value.removesuffix("-----END PRIVATE KEY-----\n").splitlines()[-1]
            for name, value in self.secrets().items()
        }
        return {name for name, line in lines.items() if line in told}

    def airflow(self, user: str) -> Airflow:
        """Log in as one of the two users."""
        return Airflow.patient(self.airflow_url, user, self.secrets()[f"airflow_{user}_password"])

    @contextmanager
    def killer(self, pid: int) -> Iterator[Callable[[], None]]:
        """Give what ends a container's processes at once as a crash does, by SIGKILL of its first from outside.

        After `docker kill` no restart policy would apply. It stands ready before it is called: a task is soon over.
        """
        command = ["docker", "run", "--rm", "--interactive", "--pid", "host", "--user", "0", "--network", "none"]
        command += ["--entrypoint", "sh", f"{self.project}-airflow", "-c", f"echo ready; read -r word && kill -9 {pid}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin and process.stdout and process.stdout.readline() == "ready\n"

            def kill() -> None:
                process.stdin.write("now\n")
                process.stdin.flush()
                assert process.wait(30) == 0

            try:
                yield kill
            finally:
                process.stdin.close()

    @contextmanager
    def mongosh(self, script: str) -> Iterator[IO[str]]:
        """Run a script in MongoDB's own container; give what it prints, while it runs."""
        login = '-u root -p "$(cat /run/updraft/password)" --authenticationDatabase admin'
        words = ["exec", "-T", "mongodb", "sh", "-c", f'exec mongosh --quiet {login} --eval "$0"', script]
        command = self.command(*words)
        with subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            try:
                yield process.stdout
            finally:
                process.kill()

    def get(self, path: str) -> Any:
        """Ask the service."""
        return requests.get(self.url + path, timeout=10).json()

    def measured(self, query: str, at: float | None = None) -> dict[str, float]:
        """Ask Prometheus, also for a moment that is past; give values by use case, or by job."""
        moment = f"&time={at}" if at else ""
        found = self._prometheus(f"query?query={quote(query)}{moment}")["result"]
        return {
            each["metric"].get("use_case") or each["metric"].get("job", ""): float(each["value"][1]) for each in found
        }

    def figures(self) -> set[str]:
        """Name every figure that Prometheus has."""
        return set(self._prometheus("label/__name__/values"))

    def families_of_the_service(self) -> set[str]:
        """Name every figure of the service, also those that have no value yet."""
        return set(re.findall(r"^# TYPE (\w+)", self._fetch("http://serving:5000/metrics"), re.M))

    def _prometheus(self, path: str) -> Any:
        return json.loads(self._fetch(f"http://127.0.0.1:9090/api/v1/{path}"))["data"]

    def _fetch(self, url: str) -> str:
        return self.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", url)


def started(stack: ComposeStack, session: pytest.Session) -> Iterator[ComposeStack]:
    """Build and start a stack with new volumes, and remove it in the end; where a test fails, show what it said."""
    failed, well = session.testsfailed, False
    try:
        began = time.monotonic()
        stack.compose("build", "--quiet")
        log.warning("build: %.0f s", time.monotonic() - began)
        log.warning("up --wait, cold: %.0f s", stack.up())
        yield stack
        well = session.testsfailed == failed
    finally:
        if not well:
            log.error("%s", stack.compose("logs", "--tail", "60", check=False))
        stack.remove()


def docker(*words: str, check: bool = True) -> str:
    """Run `docker` and give what it printed."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def until(ask: Callable[[], Any], seconds: float = 120) -> Any:
    """Give the first answer that is one; what cannot be asked at this moment is asked again."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            found = ask()
            if found:
                return found
        except (requests.RequestException, UserError, LookupError, ValueError, AssertionError) as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"nothing within {seconds} s; the last error: {last!r}")
