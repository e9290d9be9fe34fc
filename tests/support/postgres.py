"""A real PostgreSQL for the tests, on a free port of 127.0.0.1 and in a folder of its own."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from updraft.local_stack.postgres import as_login, command, prepare
from updraft.local_stack.servers import free_port


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
    """A server that can be stopped and started."""

    def __init__(self, folder: Path, password: str) -> None:
        self._folder, self._password, self.port = folder, password, free_port()
        self._programs = prepare(folder, "airflow", password, "--no-sync")

    def url(self, database: str = "airflow") -> str:
        """Give the URL of a database, with the login."""
        return f"postgresql://airflow:{quote(self._password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it takes someone in: its port opens before."""
        words = [*command(self._programs, self._folder, self.port), "-c", "fsync=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log, cwd="/", **as_login())
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
