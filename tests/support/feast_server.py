"""Feast's own programs, in an environment of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import server
from updraft.local_stack.servers import free_port

FEAST = "feast==0.67.0"
QUIET = {"FEAST_USAGE": "False", "PYTHONDONTWRITEBYTECODE": ""}  # else each start compiles all that it imports


def feast(python: Path, repo: Path, *words: str) -> None:
    """Run a command of Feast in a feature repository."""
    done = subprocess.run(
        [python.with_name("feast"), *words],
        cwd=repo,
        env=os.environ | QUIET,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"


@contextmanager
def feature_server(python: Path, repo: Path, log: Path) -> Iterator[str]:
    """Run `feast serve` over a feature repository; yield its URL."""
    port = free_port()
    command = [str(python.with_name("feast")), "--chdir", str(repo), "serve", "--host", "127.0.0.1"]
    with server([*command, "--port", str(port)], port, log, QUIET):
        yield f"http://127.0.0.1:{port}"
