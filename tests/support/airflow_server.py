"""A real api-server of Airflow with our DAGs, without a scheduler: what is started on it stays queued."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

from tests.support.servers import server
from updraft.airflow_client import Airflow
from updraft.defaults import ROOT
from updraft.local_stack.credentials import ADMIN, SERVICE
from updraft.local_stack.servers import HOST, free_port

TOKEN = "the-token-of-the-tests"  # that the service asks for before it trains
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SERVING_URL = "http://service.test"
LIVE = "sms_spam"  # the use case whose DAG is unpaused
VIEWER = "viewer"  # a user who may look, and change nothing
FAB_ROLES = ("Viewer", "User", "Op")  # of FAB's, those of which a user is made beside `admin` and the service's
USERS = {ADMIN: "admin", SERVICE: "user", "op": "op", VIEWER: "viewer"}  # and their roles


class AirflowServer:
    """An api-server in `folder`, on a port that it keeps over a restart; `password` is the service's.

    `environ` are variables of its own, as those of a registry.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder, self.port, self.environ = folder, free_port(), environ
        self.url = f"http://{HOST}:{self.port}"
        self.password = secrets.token_hex(16)
        self.log = folder.with_suffix(".log")
        self._running = ExitStack()
        self.artifacts = folder / "artifacts"
        admin = secrets.token_hex(16)
        self._passwords = {user: secrets.token_hex(16) for user in USERS} | {ADMIN: admin, SERVICE: self.password}
        self._run(*_command("db", "migrate"))
        self._make_users()
        self._run(*_command("dags", "reserialize"))
        self.admin = Airflow.patient(self.url, ADMIN, admin)

    def start(self) -> None:
        """Start it, with a JWT secret that it never had before."""
        self._running.enter_context(server(_command("api-server"), self.port, self.log, self._environ()))

    def stop(self) -> None:
        """Stop it; its port is free then."""
        self._running.close()

    def token(self, user: str) -> str:
        """Log in as a user."""
        login = {"username": user, "password": self._passwords[user]}
        return str(requests.post(f"{self.url}/auth/token", json=login, timeout=60).json()["access_token"])

    def runs(self, dag_id: str) -> list[str]:
        """Name the runs of a DAG."""
        page = self.admin.request("GET", f"dags/{dag_id}/dagRuns?limit=100")
        return [run["dag_run_id"] for run in page["dag_runs"]]

    def _run(self, *command: str, **environ: str) -> None:
        subprocess.run(command, env=self._environ() | environ, check=True, capture_output=True)

    def _make_users(self) -> None:
        (self.folder / "passwords.json").write_text(json.dumps(self._passwords))

    def _auth_manager(self) -> dict[str, str]:
        return {
            "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.folder / "passwords.json"),
        }

    def _environ(self) -> dict[str, str]:
        settings = self._auth_manager() | {
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.folder / 'airflow.db'}",
            "API__HOST": HOST,
            "API__PORT": str(self.port),
            "API_AUTH__JWT_SECRET": secrets.token_hex(64),
        }
        path = {
            "AIRFLOW_HOME": str(self.folder),
            "UPDRAFT_ARTIFACTS": str(self.artifacts),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "include"), str(ROOT))),
        }
        return {**os.environ, **self.environ, **path, **{f"AIRFLOW__{name}": value for name, value in settings.items()}}


class FabAirflowServer(AirflowServer):
    """An api-server with FAB's auth manager, as the Docker stack has it; its users are called as their roles."""

    def _make_users(self) -> None:
        self._passwords |= {role: secrets.token_hex(16) for role in FAB_ROLES}
        users = {"AIRFLOW_ADMIN_PASSWORD": self._passwords[ADMIN], "AIRFLOW_SERVICE_PASSWORD": self.password}
        self._run(sys.executable, str(ROOT / "deploy" / "airflow" / "make_users.py"), **users)
        for role in FAB_ROLES:
            words = ("users", "create", "--username", role, "--role", role, "--password", self._passwords[role])
            self._run(*_command(*words, "--firstname", role, "--lastname", "Test", "--email", f"{role}@tests.invalid"))

    def _auth_manager(self) -> dict[str, str]:
        return {"CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"}

    def _environ(self) -> dict[str, str]:
        return super()._environ() | {"UPDRAFT_TRAINER_ROLE": "trainer"}


@contextmanager
def airflow_server(
    folder: Path, environ: Mapping[str, str], kind: type[AirflowServer] = AirflowServer
) -> Iterator[AirflowServer]:
    """Run one until the block ends."""
    it = kind(folder, environ)
    it.start()
    try:
        yield it
    finally:
        it.stop()


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *words]
