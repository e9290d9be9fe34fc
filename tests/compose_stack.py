"""A stack of docker-compose.yaml under a project name of its own, on free ports, and what kills a part of it."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote

import pytest
import requests

from updraft.embedded.airflow_api import Airflow
from updraft.embedded.servers import free_ports
from updraft.errors import UserError
from updraft.usecase import ROOT

LONG_RUNNING = {"postgres", "mongodb", "s3", "apiserver", "scheduler", "dag-processor", "triggerer", "serving"}
LONG_RUNNING |= {"exporter", "prometheus", "grafana"}
ONCE = {"secrets", "airflow-init"}


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


MARKS = [
    pytest.mark.compose,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not os.environ.get("UPDRAFT_COMPOSE_TEST"), reason="`make compose-test` runs it"),
    pytest.mark.skipif(
        not docker_answers(), reason="no Docker here: `docker info` or `docker compose` does not answer"
    ),
]


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

    def up(self) -> float:
        """Start all of it; give the seconds until it was healthy."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--wait-timeout", "600", "--quiet-pull")
        return time.monotonic() - began

    def remove(self) -> None:
        """End it and remove its volumes and images."""
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "10", check=False)
        docker("image", "rm", "--force", f"{self.project}-airflow", f"{self.project}-serving", check=False)

    def containers(self, *services: str, by: str = "com.docker.compose.service") -> dict[str, dict[str, Any]]:
        """Give what Docker knows of the containers, by a label: their service, or their number in it."""
        names = self.compose("ps", "--all", "--quiet", *services).split()
        found = json.loads(docker("inspect", *names))
        return {each["Config"]["Labels"][by]: each for each in found}

    def secret(self, name: str) -> str:
        """Give a secret, by the name of its file."""
        return self.compose("run", "--rm", "--no-deps", "-T", "secrets", "cat", f"/secrets/all/{name}").strip()

    def airflow(self, user: str) -> Airflow:
        """Log in as one of the two users."""
        return Airflow(self.airflow_url, user, self.secret(f"airflow_{user}_password"))

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
        login = '-u updraft -p "$(cat /run/updraft/password)" --authenticationDatabase admin'
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

    def measured(self, query: str) -> dict[str, float]:
        """Ask Prometheus; give values by use case, or by job."""
        found = self._prometheus(f"query?query={quote(query)}")["result"]
        return {
            each["metric"].get("use_case") or each["metric"].get("job", ""): float(each["value"][1]) for each in found
        }

    def figures(self) -> set[str]:
        """Name every figure that Prometheus has."""
        return set(self._prometheus("label/__name__/values"))

    def _prometheus(self, path: str) -> Any:
        url = f"http://127.0.0.1:9090/api/v1/{path}"
        return json.loads(self.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", url))["data"]


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
