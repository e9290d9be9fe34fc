"""The embedded stack: MongoDB, S3, Airflow and the service as plain processes of one user, without Docker and root."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from updraft.defaults import ROOT
from updraft.local_stack import readiness, supervision
from updraft.local_stack.credentials import credentials, mask
from updraft.local_stack.environment import (
    OTHER_LOGINS,
    OTHER_PASSWORD,
    StackError,
    embedded,
    home_folder,
    record,
    recorded,
    settle,
)
from updraft.local_stack.servers import HOST, mongod_command, weed_command, weed_ports
from updraft.local_stack.supervision import Program

# What each program waits for, in the order they are shown; `seconds` is how long a slow machine may take.
AFTER = {
    "mongod": (),
    "s3": (),
    "migrate": (),
    "api-server": ("migrate",),
    "scheduler": ("migrate",),
    "dag-processor": ("migrate",),
    "triggerer": ("migrate",),
    "serving": ("s3",),
}
SECONDS = {"mongod": 60, "s3": 60, "migrate": 180}
OTHERS_SECONDS = 240
PUBLIC_PORTS = {"api-server": "AIRFLOW_PORT", "serving": "SERVING_PORT", "mongod": "MONGODB_PORT", "s3": "S3_PORT"}
FOLDERS = ("airflow/config", "artifacts", "logs", "mongodb", "run", "s3", "serving-data")
MARKER = "stack.txt"
SECRET_NAMES = (
    "MONGODB_URL",
    "UPDRAFT_SIGNING_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW_PASSWORD",
    "SERVING_API_KEYS",
    "SERVING_TRAIN_TOKEN",
)
AIRFLOW_NEEDS = ("MONGODB_", "UPDRAFT_", "AWS_", "AIRFLOW__")
Tell = Callable[[str], None]


class Stack:
    """One embedded stack, known by its home folder. `given` is the user's environment (default: os.environ)."""

    def __init__(self, home: Path | None = None, given: Mapping[str, str] | None = None) -> None:
        self.given = dict(os.environ if given is None else given)
        self.home = home_folder(self.given if home is None else {"UPDRAFT_HOME": str(home)})

    def up(self, only: tuple[str, ...] = (), tell: Tell = lambda line: None) -> None:
        """Start what does not run and wait until all of it answers; `only` names programs, default all.

        When anything goes wrong, also Ctrl-C, everything is stopped before the exception is passed on.
        """
        with self._one_at_a_time():
            settings = self._prepare()
            names = [name for name in self._wanted(settings) if not only or name in only]
            self._ports_are_free(names, settings)
            try:
                self._start(names, settings, tell)
            except BaseException:
                with undisturbed():
                    self.down()
                raise

    def down(self) -> int:
        """End every process and free every port; data stays. Returns how many processes there were."""
        return supervision.stop(self.home)

    def clean(self) -> None:
        """End every process and remove the home folder with all data; refuses a folder that no stack made."""
        self.down()
        if not self.home.exists():
            return
        if not (self.home / MARKER).is_file():
            raise StackError(
                f"UPDRAFT_HOME: {str(self.home)!r} has no {MARKER}, so no stack made it; nothing was removed"
            )
        shutil.rmtree(self.home)

    def running(self) -> bool:
        """Tell whether every program of this stack runs."""
        processes = supervision.processes(self.home)
        wanted = self._wanted(self.environment()) if processes else []
        return bool(processes) and all(_is_up(processes[name]) for name in wanted)

    def environment(self) -> dict[str, str]:
        """Return the settings that the stack last started with: what its `env` file holds."""
        return recorded(self.home)

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return supervisord's facts on each program that belongs to this stack."""
        processes = supervision.processes(self.home)
        return {name: processes[name] for name in self._wanted(self.environment())} if processes else {}

    def _prepare(self) -> dict[str, str]:
        """Settle settings, folders and files; before a start, end what an earlier supervisord left behind."""
        self._own_the_folder()
        settings = settle(self.home, self.given)
        if supervision.processes(self.home):
            self._same_settings(settings)
            return settings
        supervision.sweep(self.home)
        for folder in FOLDERS:
            (self.home / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "deploy" / "airflow" / "airflow_local_settings.py", self.home / "airflow" / "config")
        return settings

    def _own_the_folder(self) -> None:
        """Refuse a folder with other people's files: `clean` will remove all of it one day. Close it to others."""
        self.home.chmod(0o700)
        if (self.home / MARKER).is_file():
            return
        foreign = sorted(path.name for path in self.home.iterdir() if path.name not in ("artifacts", "run"))
        if foreign:
            raise StackError(
                f"UPDRAFT_HOME: {str(self.home)!r} holds {foreign[0]!r}; expected an empty folder or an earlier stack's"
            )
        (self.home / MARKER).write_text("Data of an embedded Updraft stack. `make clean` removes this folder.\n")

    def _same_settings(self, settings: dict[str, str]) -> None:
        before = self.environment()
        changed = [name for name in sorted(before.keys() | settings.keys()) if before.get(name) != settings.get(name)]
        if changed:
            raise StackError(f"the stack already runs with another {', '.join(changed)}; `make down` first")

    def _wanted(self, settings: Mapping[str, str]) -> list[str]:
        """Name the programs that this stack has, without the stores that are elsewhere."""
        own = embedded(settings)
        return [name for name in AFTER if name not in ("mongod", "s3") or name in own]

    def _ports_are_free(self, names: list[str], settings: Mapping[str, str]) -> None:
        processes = supervision.processes(self.home)
        for name in names:
            variable = PUBLIC_PORTS.get(name)
            if variable and not _is_up(processes.get(name, {})) and _taken(int(settings[variable])):
                port = settings[variable]
                raise StackError(f"port {port} is taken; choose another for {name}: make up {variable}={int(port) + 1}")

    def _start(self, names: list[str], settings: dict[str, str], tell: Tell) -> None:
        if not supervision.processes(self.home):
            record(self.home, settings)
            supervision.start(self.home, self._programs(settings), self._child_environment(settings))
        ready = readiness.checks(settings)
        began, done = {}, {name for name in AFTER if name not in names}
        while len(done) < len(AFTER):
            for name in [name for name in names if name not in began and done.issuperset(AFTER[name])]:
                began[name] = time.monotonic()
                self._begin(name)
            processes = supervision.processes(self.home)
            for name in [name for name in began if name not in done]:
                seconds = time.monotonic() - began[name]
                if self._alive(name, processes, seconds) and ready[name](processes[name]):
                    done.add(name)
                    tell(f"{name:<14} ready   {seconds:5.1f} s")
            time.sleep(0.1)

    def _begin(self, name: str) -> None:
        if not _is_up(supervision.processes(self.home).get(name, {})):
            supervision.begin(self.home, name)

    def _alive(self, name: str, processes: dict[str, dict[str, Any]], seconds: float) -> bool:
        """Tell whether a program is worth asking; StackError when it gave up or took too long."""
        if not processes:
            raise StackError("the stack was stopped while it started")
        limit = SECONDS.get(name, OTHERS_SECONDS)
        state = processes[name]["statename"]
        if state == "FATAL" or (state == "EXITED" and processes[name]["exitstatus"] != 0) or seconds > limit:
            what = f"did not come up within {limit} seconds" if seconds > limit else "does not start"
            raise StackError(f"{name} {what}; the end of {self.log(name)}:\n{self.tail(name)}")
        return True

    def log(self, name: str) -> Path:
        """Name a program's log file."""
        return self.home / "logs" / f"{name}.log"

    def tail(self, name: str, lines: int = 10) -> str:
        """Return the last lines of a program's log, without secrets."""
        path = self.log(name)
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        end = [line for line in text.splitlines() if line.strip()][-lines:] or ["(empty)"]
        return mask("\n".join(f"    {line}" for line in end), credentials(self.home / "secrets"))

    def _child_environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        environment = self.given | dict(settings)
        left_out = {OTHER_PASSWORD, *(OTHER_LOGINS if "s3" in embedded(settings) else ())}
        environment["NO_PROXY"] = environment["no_proxy"] = ",".join(
            filter(None, [self.given.get("NO_PROXY"), settings["NO_PROXY"]])
        )
        return {name: value for name, value in environment.items() if name not in left_out}

    def _programs(self, settings: Mapping[str, str]) -> list[Program]:
        def airflow(name: str, *words: str, once: bool = False) -> Program:
            command = [sys.executable, "-m", "airflow", *words]
            return Program(name, command, self.home / "airflow", once=once, environment=_all_but(*AIRFLOW_NEEDS))

        web = ["--host", HOST, "--port", settings["SERVING_PORT"], "--workers", "1", "--workers-kill-timeout", "5"]
        web += ["--http", "1", "--http1-header-read-timeout", "5000", "--backlog", "4096", "--backpressure", "4096"]
        granian = [sys.executable, "-m", "granian", "--interface", "rsgi", "--no-ws", *web, "serving.wsgi:front"]
        return [
            *self._stores(settings),
            airflow("migrate", "db", "migrate", once=True),
            airflow("api-server", "api-server"),
            # Their log servers listen on all interfaces; on one machine the API server reads the files.
            airflow("scheduler", "scheduler", "--skip-serve-logs"),
            airflow("dag-processor", "dag-processor"),
            airflow("triggerer", "triggerer", "--skip-serve-logs"),
            # It verifies and never signs, and trains with a user of its own.
            Program("serving", granian, ROOT, environment=_all_but("AWS_", "AIRFLOW_PASSWORD", "SERVING_")),
        ]

    def _stores(self, settings: Mapping[str, str]) -> list[Program]:
        own = embedded(settings)
        stores = []
        if "mongod" in own:
            command = mongod_command(self.home / "mongodb", int(settings["MONGODB_PORT"]), auth=True)
            stores.append(Program("mongod", command, self.home / "mongodb", "stores", 20, environment=_all_but()))
        if "s3" in own:
            command = weed_command(self.home / "s3", _weed_ports(settings))
            stores.append(Program("s3", command, self.home / "s3", "stores", 10, environment=_all_but("AWS_")))
        return stores

    @contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Hold the stack's lock: two `make up` at once would start everything twice."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "run").mkdir(exist_ok=True)
        with (self.home / "run" / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StackError(
                    f"another `make up` or `make demo` is starting the stack in {str(self.home)!r}"
                ) from None
            yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and friends: a second one must not cut the clean-up short."""
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


def _is_up(process: Mapping[str, Any]) -> bool:
    """Tell whether supervisord keeps a program going, or it ended as it should (`migrate`)."""
    ended_well = process.get("name") == "migrate" and process["statename"] == "EXITED" and process["exitstatus"] == 0
    return ended_well or process.get("statename") in ("STARTING", "RUNNING", "BACKOFF")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as the servers do: a closed connection's rest is no owner
        try:
            probe.bind((HOST, port))
            probe.listen()
        except PermissionError:
            raise StackError(f"port {port} needs root; expected a port from 1024 up") from None
        except OSError:
            return True
    return False


def _all_but(*needed: str) -> dict[str, str]:
    """Blank the secrets that a program does not need: whoever reads its memory finds no more than it uses."""
    return {name: "" for name in SECRET_NAMES if not name.startswith(needed)}


def _weed_ports(settings: Mapping[str, str]) -> dict[str, int]:
    """Choose SeaweedFS's inner ports, none of them one of ours."""
    ours = {int(settings[name]) for name in PUBLIC_PORTS.values()}
    while True:
        ports = weed_ports(int(settings["S3_PORT"]))
        if not ours & {port for name, port in ports.items() if name != "s3"}:
            return ports
