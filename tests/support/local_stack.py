"""The local stack in folders and on ports of its own, and what is left of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from updraft.airflow_client import Airflow
from updraft.defaults import ROOT
from updraft.local_stack import supervision
from updraft.local_stack.credentials import ADMIN
from updraft.local_stack.environment import PORTS
from updraft.local_stack.servers import free_ports
from updraft.local_stack.stack import Stack


def free_environment(**more: str) -> dict[str, str]:
    """Give what a user's shell has, without any setting of ours, and four free ports."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return plain | {name: str(port) for name, port in zip(PORTS, free_ports(4), strict=True)} | more


def updraft(home: Path, given: Mapping[str, str], *words: str, root: Path = ROOT) -> subprocess.Popen[str]:
    """Start the `updraft` command of the repository at `root`."""
    command = [
        sys.executable,
        "-c",
        "from updraft.cli.main import main; main()",
        *words,
    ]
    path = os.pathsep.join([str(root / "include"), *sys.path])
    environ = {**given, "UPDRAFT_HOME": str(home), "PYTHONPATH": path}
    return subprocess.Popen(command, cwd=root, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def marked(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(supervision.MARK) == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def listening(home: Path) -> Iterator[str]:
    """Yield the addresses that processes of the stack listen on; one that ends meanwhile listens on none."""
    for process in marked(home):
        with suppress(psutil.NoSuchProcess):
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    yield connection.laddr.ip


def free(given: Mapping[str, str]) -> bool:
    for name in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", int(given[name]))) == 0:
                return False
    return True


def airflow(stack: Stack) -> Airflow:
    """Give a client of the stack's Airflow that may do all."""
    password = (stack.home / "secrets" / "airflow_admin_password").read_text()
    return Airflow.patient(stack.settings()["AIRFLOW_URL"], ADMIN, password)


def run_ids(server: Airflow, dag: str) -> list[str]:
    """Return a DAG's runs, the first one first."""
    runs = server.request("GET", f"dags/{dag}/dagRuns?limit=100&order_by=run_after")["dag_runs"]
    return [run["dag_run_id"] for run in runs]
