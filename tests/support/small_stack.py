"""A Compose project with the services and volumes that deploy/compose looks for, in which idle programs run."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.support.compose_stack import docker
from updraft.defaults import ROOT

STORES = ("postgres", "mongodb", "s3")
VOLUMES = ("secrets", "serving", *STORES)
IDLE = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
SLOW = "trap 'echo stopping; sleep 4; exit 0' TERM; while :; do sleep 0.1; done"
SERVING = "mkdir -p /tmp/web && touch /tmp/web/readyz && exec python -m http.server --directory /tmp/web 5000"


class SmallStack:
    """The stack, in a folder with copies of the scripts. Its image is the one that the project builds upon."""

    def __init__(self, folder: Path) -> None:
        (self.base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.M)
        self.folder, self.project = folder, f"updraft-test-{secrets.token_hex(4)}"
        self.image = f"{self.project}-airflow"
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "HOME", "DOCKER_"))}
        self.environ = kept | {"COMPOSE_PROJECT_NAME": self.project}
        shutil.copytree(ROOT / "deploy" / "compose", folder / "deploy" / "compose")
        docker("tag", self.base, self.image)
        self.define(VOLUMES)

    def define(self, volumes: tuple[str, ...]) -> None:
        """Write the Compose file, with these volumes."""
        well = {"test": ["CMD", "true"], "start_period": "60s", "start_interval": "1s"}
        services: dict[str, Any] = {
            name: {"command": ["sh", "-c", IDLE], "healthcheck": well} for name in (*STORES, "scheduler", "grafana")
        }
        services["slow"] = {"command": ["sh", "-c", SLOW]}
        services["serving"] = {"command": ["sh", "-c", SERVING]}
        for service in services.values():
            service |= {"image": self.base, "init": True}
        services["secrets"] = {"image": self.image, "command": ["true"]}
        for name in volumes:
            services[name]["volumes"] = [f"{name}:/kept"]
        text = yaml.safe_dump({"services": services, "volumes": {name: {} for name in volumes}})
        (self.folder / "docker-compose.yaml").write_text(text, encoding="utf-8")

    def compose(self, *words: str) -> str:
        """Run `docker compose`."""
        done = self._run("docker", "compose", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def script(self, name: str, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script of deploy/compose."""
        return self._run(f"deploy/compose/{name}.sh", *words, **environ)

    def start_backup(self, folder: Path) -> subprocess.Popen[str]:
        """Begin to back up, in a process group of its own as a shell's command has it."""
        command = ["deploy/compose/backup.sh", str(folder)]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def up(self) -> set[str]:
        """Start all of it; return what runs then."""
        self.compose("up", "--detach", "--wait", *self._long_running())
        self.compose("run", "--rm", "secrets")
        return self.running()

    def running(self) -> set[str]:
        """Return the names of the services that run."""
        return set(self.compose("ps", "--services", "--status", "running").split())

    def containers(self) -> list[str]:
        """Return the ids of its containers that run."""
        return docker("ps", "--quiet", "--filter", self._label).split()

    def packs(self, volume: str) -> bool:
        """Tell whether a container has the volume that is not the stack's own."""
        having = docker("ps", "--quiet", "--filter", f"volume={self.project}_{volume}").split()
        return bool(set(having) - set(self.containers()))

    def in_volume(self, volume: str, command: str) -> str:
        """Run a shell command in a volume."""
        where = f"{self.project}_{volume}:/kept"
        return docker("run", "--rm", "--volume", where, "--workdir", "/kept", self.image, "sh", "-euc", command)

    def remove(self) -> None:
        """End it, and remove its volumes and its image's tag."""
        self._run("docker", "compose", "down", "--volumes", "--remove-orphans", "--timeout", "1")
        left = docker("volume", "ls", "--quiet", "--filter", self._label).split()
        docker("volume", "rm", *left, check=False)
        docker("image", "rm", self.image, check=False)

    @property
    def _label(self) -> str:
        return f"label=com.docker.compose.project={self.project}"

    def _long_running(self) -> list[str]:
        return sorted({*self.compose("config", "--services").split()} - {"secrets"})

    def _run(self, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
