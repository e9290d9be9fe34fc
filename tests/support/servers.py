"""Real servers for the tests: SeaweedFS's S3 and mongod, on free ports of 127.0.0.1 and in folders of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient

from updraft.local_stack.servers import (
    free_port,
    mongod_command,
    sockets_in_tmp,
    wait_for_port,
    weed_command,
    weed_ports,
)

MONGO_LOGIN = ("updraft", "p@ss/word")
LOGIN = {"AWS_ACCESS_KEY_ID": "updraft-tests", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests"}


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server in `folder`; give the environment variables that reach it."""
    ports = weed_ports()
    with server(weed_command(folder, ports), ports["s3"], folder.with_suffix(".log"), LOGIN):
        endpoint = f"http://127.0.0.1:{ports['s3']}"
        yield {**LOGIN, "AWS_ENDPOINT_URL_S3": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def mongo_server(folder: Path, user: str = "", password: str = "") -> Iterator[str]:
    """Run mongod in `folder`, with a login when `user` is given; give host:port."""
    port = free_port()
    with server(mongod_command(folder, port, auth=bool(user)), port, folder.with_suffix(".log")):
        if user:
            with MongoClient[dict[str, object]]("127.0.0.1", port) as client:
                client.admin.command("createUser", user, pwd=password, roles=["root"])
        yield f"127.0.0.1:{port}"


@contextmanager
def server(command: list[str], port: int, log: Path, environ: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a command until the block ends; the block starts when its port is open."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **(environ or {})}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for_port(port, process, 300)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for path in sockets_in_tmp(command) if "weed" in Path(command[0]).name else ():
            path.unlink(missing_ok=True)
