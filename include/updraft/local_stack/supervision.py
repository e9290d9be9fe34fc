"""Run the stack's processes under supervisord, and end all of them, also those that supervisord lost."""

from __future__ import annotations

import configparser
import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from updraft.local_stack.servers import ServerError, sockets_in_tmp

# In the environment of every process of a stack: the stack's home, by which `down` finds them.
MARK = "UPDRAFT_STACK"
S3_SECTION = "program:s3"
SOCKET_LENGTH = 90  # UNIX allows 107; supervisord adds its pid


@dataclass(frozen=True)
class Program:
    """One supervised command; a `group` is stopped together, `once` exits by itself with code 0."""

    name: str
    command: list[str]
    folder: Path
    group: str = "airflow"
    stop_seconds: int = 8
    stop_signal: str = "TERM"
    once: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def start(home: Path, programs: list[Program], environment: Mapping[str, str]) -> None:
    """Start supervisord for `home` in the background; it starts no program yet."""
    config = home / "run" / "supervisord.conf"
    config.write_text(_config(home, programs), encoding="utf-8")
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
    marked = {
        **environment,
        MARK: str(home),
        "SPT_NOENV": "1",  # or setproctitle removes the mark from Airflow's processes
    }
    done = subprocess.run(command, env=marked, cwd=home, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise ServerError(f"supervisord does not start: {lines[-1]}")


def processes(home: Path) -> dict[str, dict[str, Any]]:
    """Return supervisord's process info (statename, start, pid, …) by program; empty when it does not run."""
    try:
        with server(home) as proxy:
            infos: Any = proxy.supervisor.getAllProcessInfo()
        return {info["name"]: info for info in infos}
    except (OSError, xmlrpc.client.Error):
        return {}


def begin(home: Path, name: str) -> None:
    """Make supervisord start one program in the background."""
    group = processes(home)[name]["group"]
    with server(home) as proxy:
        proxy.supervisor.startProcess(f"{group}:{name}", False)


def server(home: Path) -> xmlrpc.client.ServerProxy:
    """Return supervisord's XML-RPC interface on its UNIX socket."""
    from supervisor.xmlrpc import SupervisorTransport

    return xmlrpc.client.ServerProxy("http://localhost", SupervisorTransport(None, None, f"unix://{_socket(home)}"))


def stop(home: Path, seconds: float = 30) -> int:
    """Stop every process of the stack in `home`; return their number."""
    marked = _marked(home)
    try:
        with server(home) as proxy:
            proxy.supervisor.shutdown()
        until = time.monotonic() + seconds
        while processes(home) and time.monotonic() < until:
            time.sleep(0.1)
    except (OSError, xmlrpc.client.Error):
        pass
    sweep(home)
    # A dying process has lost its environment, and with it the mark, but not yet its ports.
    psutil.wait_procs(marked, timeout=5)
    remove_sockets(home)
    return len(marked)


def remove_sockets(home: Path) -> None:
    """Remove what the stack's S3 server, as it was last started and however it ended, has left in /tmp."""
    config = configparser.RawConfigParser(strict=False)
    config.read(home / "run" / "supervisord.conf", encoding="utf-8")
    if config.has_section(S3_SECTION):
        command = shlex.split(config.get(S3_SECTION, "command").replace("%%", "%"))
        for path in sockets_in_tmp(command):
            path.unlink(missing_ok=True)


def sweep(home: Path) -> None:
    """Terminate, then kill, every process with the stack's mark, until none is left."""
    for _ in range(20):
        marked = _marked(home)
        if not marked:
            break
        for process in marked:
            _send(process, "terminate")
        _, alive = psutil.wait_procs(marked, timeout=5)
        for process in alive:
            _send(process, "kill")
        psutil.wait_procs(alive, timeout=5)
    _socket(home).unlink(missing_ok=True)


def _send(process: psutil.Process, signal: str) -> None:
    try:
        getattr(process, signal)()
    except psutil.NoSuchProcess:
        return


def _marked(home: Path) -> list[psutil.Process]:
    """Return the stack's processes, without this one and its ancestors (a task's shell may run `updraft down`)."""
    ancestors = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process for process in psutil.process_iter() if process.pid not in ancestors and _mark(process) == str(home)
    ]


def _mark(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _socket(home: Path) -> Path:
    """Return where supervisord listens; in the temporary folder when `home` is too deep for a UNIX socket."""
    inside = home / "run" / "supervisor.sock"
    if len(os.fsencode(inside)) <= SOCKET_LENGTH:
        return inside
    name = f"updraft-{os.getuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}.sock"
    outside = Path(tempfile.gettempdir()) / name
    return outside if len(os.fsencode(outside)) <= SOCKET_LENGTH else Path("/tmp") / name  # noqa: S108


def _config(home: Path, programs: list[Program]) -> str:
    socket, run = _socket(home), home / "run"
    head = [
        "[unix_http_server]", f"file={socket}", "chmod=0600", "",
        "[supervisord]", f"logfile={home / 'logs' / 'supervisord.log'}", "logfile_maxbytes=5MB", "logfile_backups=2",
        f"pidfile={run / 'supervisord.pid'}", f"directory={home}", f"childlogdir={home / 'logs'}", "umask=077", "",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface", "",
    ]  # fmt: skip
    groups = dict.fromkeys(program.group for program in programs)
    for order, group in enumerate(groups, start=1):
        names = ",".join(program.name for program in programs if program.group == group)
        head += [f"[group:{group}]", f"programs={names}", f"priority={order}", ""]
    return "\n".join([*head, *(_section(home, program) for program in programs)])


def _section(home: Path, program: Program) -> str:
    command = shlex.join(program.command).replace("%", "%%")
    lines = [
        f"[program:{program.name}]", f"command={command}", f"directory={program.folder}", "autostart=false",
        f"autorestart={'false' if program.once else 'true'}", f"startsecs={0 if program.once else 1}", "startretries=2",
        "stopasgroup=true", "killasgroup=true", f"stopwaitsecs={program.stop_seconds}",
        f"stopsignal={program.stop_signal}", "redirect_stderr=true",
        f"stdout_logfile={home / 'logs' / program.name}.log", "stdout_logfile_maxbytes=5MB", "stdout_logfile_backups=2",
    ]  # fmt: skip
    if program.environment:
        lines.append("environment=" + ",".join(f'{name}="{value}"' for name, value in program.environment.items()))
    return "\n".join([*lines, ""])
