"""The local stack: MongoDB, S3, Airflow and the service as plain processes of one user, without Docker and root."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from updraft.defaults import ROOT
from updraft.local_stack import postgres, readiness, supervision
from updraft.local_stack.environment import (
    StackError,
    embedded,
    home_folder,
    record,
    recorded,
    settle,
)
from updraft.local_stack.programs import AFTER, PUBLIC_PORTS, child_environment, program_names, programs
from updraft.local_stack.servers import HOST
from updraft.local_stack.startup import Limits, Report, Startup, StartupTimeout, Wait, is_up, read_limits

FOLDERS = ("airflow/config", "artifacts", "logs", "mongodb", "run", "s3", "serving-data")
MARKER = "stack.txt"


class Stack:
    """One local stack, identified by its home folder. `environ` is the user's environment (default: os.environ)."""

    def __init__(self, home: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        self.home = home_folder(self.environ if home is None else {"UPDRAFT_HOME": str(home)})

    def up(self, only: tuple[str, ...] = (), report: Report = lambda line: None) -> None:
        """Start what does not run and wait until all of it answers; `only` names programs, default all.

        After a StartupTimeout the stack stays up. When anything else goes wrong, also Ctrl-C, everything is stopped
        before the exception is passed on.
        """
        limits = read_limits(self.environ)
        with self._one_at_a_time():
            settings = self._prepare()
            names = [name for name in program_names(settings) if not only or name in only]
            self._ports_are_free(names, settings)
            try:
                self._start(names, settings, limits, report)
            except StartupTimeout as error:
                hint = "the stack stays up: `make up` waits on, `make down` ends it"
                raise StartupTimeout(f"{error}\n{hint}") from None
            except BaseException:
                with ignore_signals():
                    self.down()
                raise

    def down(self) -> int:
        """Stop every process and free every port; data stays. Returns the number of processes."""
        return supervision.stop(self.home)

    def clean(self) -> None:
        """Stop every process and remove the home folder with all data; refuses a folder that no stack created."""
        self.down()
        if not self.home.exists():
            return
        if not (self.home / MARKER).is_file():
            raise StackError(
                f"UPDRAFT_HOME: {str(self.home)!r} has no {MARKER}, so no stack created it; nothing was removed"
            )
        shutil.rmtree(self.home)

    def wait(self, name: str, report: Report, *, pending: str, unmet: str) -> Wait:
        """Return a wait for something that a program of the stack does; see `Wait`."""
        return Wait(self.home, name, read_limits(self.environ), report, pending=pending, unmet=unmet)

    def running(self) -> bool:
        """Return whether every program of this stack runs."""
        processes = supervision.processes(self.home)
        names = program_names(self.settings()) if processes else []
        return bool(processes) and all(is_up(processes[name]) for name in names)

    def settings(self) -> dict[str, str]:
        """Return the settings that the stack last started with: what its `env` file holds."""
        return recorded(self.home)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return supervisord's process info for each program that belongs to this stack."""
        processes = supervision.processes(self.home)
        return {name: processes[name] for name in program_names(self.settings())} if processes else {}

    def _prepare(self) -> dict[str, str]:
        """Prepare settings, folders and files; before a start, stop what an earlier supervisord left behind."""
        self._own_the_folder()
        settings = settle(self.home, self.environ)
        if "postgres" in embedded(settings):
            postgres.open_home(self.home)
        if supervision.processes(self.home):
            self._same_settings(settings)
            return settings
        supervision.sweep(self.home)
        supervision.remove_sockets(self.home)
        for folder in FOLDERS:
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy" / "airflow" / "airflow_local_settings.py", self.home / "airflow" / "config")
        return settings

    def _own_the_folder(self) -> None:
        """Refuse a folder with other files, which `clean` would remove; close the folder to other users."""
        self.home.chmod(0o700)
        if (self.home / MARKER).is_file():
            return
        foreign = sorted(path.name for path in self.home.iterdir() if path.name not in ("artifacts", "run"))
        if foreign:
            raise StackError(
                f"UPDRAFT_HOME: {str(self.home)!r} holds {foreign[0]!r}; expected an empty folder or an earlier stack's"
            )
        (self.home / MARKER).write_text("Data of a local Updraft stack. `make clean` removes this folder.\n")

    def _same_settings(self, settings: dict[str, str]) -> None:
        before = self.settings()
        changed = [name for name in sorted(before.keys() | settings.keys()) if before.get(name) != settings.get(name)]
        if changed:
            raise StackError(f"the stack already runs with another {', '.join(changed)}; `make down` first")

    def _ports_are_free(self, names: list[str], settings: Mapping[str, str]) -> None:
        processes = supervision.processes(self.home)
        for name in names:
            variable = PUBLIC_PORTS.get(name)
            if variable and not is_up(processes.get(name, {})) and _taken(int(settings[variable])):
                port = settings[variable]
                raise StackError(f"port {port} is taken; choose another for {name}: make up {variable}={int(port) + 1}")

    def _start(self, names: list[str], settings: dict[str, str], limits: Limits, report: Report) -> None:
        if not supervision.processes(self.home):
            record(self.home, settings)
            environment = child_environment(self.environ, settings)
            supervision.start(self.home, programs(self.home, settings), environment)
        Startup(self.home, AFTER, readiness.checks(settings), limits, report).run(names)

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Hold the stack's lock: two `make up` at once would start everything twice."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "run").mkdir(exist_ok=True)
        with (self.home / "run" / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another `make up` or `make demo` is starting the stack in {str(self.home)!r}"
                raise StackError(message) from None
            yield


@contextmanager
def ignore_signals() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP: a second Ctrl-C must not cut the clean-up short."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: a connection in TIME_WAIT does not take the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except PermissionError:
            raise StackError(f"port {port} needs root; expected a port from 1024 up") from None
        except OSError:
            return True
    return False
