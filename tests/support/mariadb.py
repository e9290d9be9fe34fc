"""A real MariaDB for the tests, on a free port of 127.0.0.1 and in a folder of its own."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import server
from updraft.local_stack.servers import free_port

PROGRAMS = ("mariadbd", "mariadb-install-db")
ABSENT = "no MariaDB here: apt-get install --no-install-recommends mariadb-server-core mariadb-client-core"
PASSWORD = "p@ss/word"


def is_installed() -> bool:
    """Return whether Debian's packages are there."""
    return all(map(shutil.which, PROGRAMS))


@contextmanager
def mariadb_server(folder: Path) -> Iterator[str]:
    """Run MariaDB with an empty database `rows` until the block ends; give its URL with a login."""
    port, data = free_port(), folder / "data"
    words = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={data}"]
    install = ["mariadb-install-db", *words, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(install, check=True, capture_output=True)
    user = "CREATE USER updraft@{0} IDENTIFIED BY '" + PASSWORD + "';\nGRANT ALL ON *.* TO updraft@{0};\n"
    users = user.format("localhost") + user.format("'127.0.0.1'")  # as which of them it sees us depends
    (folder / "init.sql").write_text(f"CREATE DATABASE `rows`;\n{users}")
    more = [
        f"--socket={folder / 'sock'}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--innodb-buffer-pool-size=16M",
    ]
    with server(["mariadbd", *words, *more, f"--init-file={folder / 'init.sql'}"], port, folder / "log"):
        yield f"mysql://updraft:{PASSWORD.replace('@', '%40').replace('/', '%2F')}@127.0.0.1:{port}/rows"
