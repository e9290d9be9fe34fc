"""A machine that deploy/ec2/deploy.sh deploys to: this one's Docker, with names, a port and a registry of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.compose_stack import docker, until
from tests.support.servers import LOGIN
from tests.support.small_models import NAME, ROW
from updraft.defaults import ROOT
from updraft.local_stack.servers import free_ports

SCRIPT = ROOT / "deploy" / "ec2" / "deploy.sh"
S3_IMAGE = "chrislusf/seaweedfs:4.48"


class Machine:
    """The machine; `registry_environ` reaches its registry from here, its containers reach it by another name."""

    def __init__(self, folder: Path, key_files: dict[str, str]) -> None:
        self.name = f"updraft-test-{secrets.token_hex(4)}"
        self.port, self.s3_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        there = {**LOGIN, "AWS_DEFAULT_REGION": "us-east-1", "UPDRAFT_REGISTRY": "s3://models/ec2"}
        self.registry_environ = {**there, **key_files, "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{self.s3_port}"}
        variables = there | {"AWS_ENDPOINT_URL_S3": f"http://{self.name}-s3:8333", "SERVING_POLL_SECONDS": "0.5"}
        (folder / "service.env").write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        verify_key = folder / "verify.pem"  # readable for the container's user
        verify_key.write_bytes(Path(key_files["UPDRAFT_VERIFY_KEY"]).read_bytes())
        verify_key.chmod(0o644)
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "HOME", "DOCKER_"))}
        self.environ = kept | {
            "UPDRAFT_NAME": self.name, "SERVING_PORT": str(self.port), "UPDRAFT_STATE": str(folder / "state"),
            "UPDRAFT_ENV_FILE": str(folder / "service.env"), "UPDRAFT_VERIFY_KEY": str(verify_key),
            "FRONT_IMAGE": "nginx", "WATCH_SECONDS": "3", "READY_SECONDS": "300",
        }  # fmt: skip

    def start_registry(self) -> None:
        docker("network", "create", self.name)
        login = [word for name, value in LOGIN.items() for word in ("--env", f"{name}={value}")]
        docker(
            "run", "--detach", "--name", f"{self.name}-s3", "--network", self.name, *login,
            "--publish", f"127.0.0.1:{self.s3_port}:8333", S3_IMAGE, "server", "-s3", "-ip.bind=0.0.0.0",
        )  # fmt: skip
        until(lambda: requests.get(f"http://127.0.0.1:{self.s3_port}/healthz", timeout=2).ok)

    def deploy(self, image: str, **settings: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPT), image]
        environ = self.environ | settings
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=900)

    def start_deploying(self, image: str, **settings: str) -> subprocess.Popen[str]:
        """Start a deployment in a process of its own, to kill it."""
        return subprocess.Popen(
            [str(SCRIPT), image],
            env=self.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def serving(self) -> str:
        """Name the container that the proxy sends requests to."""
        return requests.get(f"{self.url}/healthz", timeout=10).headers["X-Served-By"]

    def predict(self) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/predict/{NAME}", json=ROW, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def running(self) -> set[str]:
        """Name the containers that run, but for the registry's."""
        names = docker("ps", "--filter", f"name={self.name}-", "--format", "{{.Names}}").split()
        return {name.removeprefix(f"{self.name}-") for name in names} - {"s3"}

    def image_of(self, container: str) -> str:
        return str(json.loads(docker("inspect", f"{self.name}-{container}"))[0]["Image"])

    @contextmanager
    def no_request_fails(self) -> Iterator[list[str]]:
        """Ask again and again meanwhile; every request has to be answered. Yields who answered, in order."""
        ended, by, errors = threading.Event(), list[str](), list[str]()

        def ask() -> None:
            while not ended.is_set():
                try:
                    answer = requests.post(f"{self.url}/predict/{NAME}", json=ROW, timeout=30)
                    by.append(answer.headers.get("X-Served-By", ""))
                    if answer.status_code != 200:
                        errors.append(f"{answer.status_code}: {answer.text}")
                except requests.RequestException as error:
                    errors.append(repr(error))
                time.sleep(0.02)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield by
        finally:
            ended.set()
            asking.join(60)
        assert by and not errors, errors[:3]

    def remove(self) -> None:
        names = docker("ps", "--all", "--filter", f"name={self.name}-", "--format", "{{.Names}}", check=False).split()
        if names:
            docker("rm", "--force", "--volumes", *names, check=False)
        docker("volume", "rm", "--force", f"{self.name}-data", check=False)
        docker("network", "rm", self.name, check=False)


def variant(image: str, lines: str) -> str:
    """Build an image on another one with more lines; return its id."""
    command = ["docker", "build", "--quiet", "-"]
    done = subprocess.run(command, input=f"FROM {image}\n{lines}\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
