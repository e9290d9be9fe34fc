"""Start programs in their order and wait until each is ready: as long as they make progress, within limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from updraft.local_stack import supervision
from updraft.local_stack.credentials import credentials, mask
from updraft.local_stack.environment import StackError
from updraft.local_stack.progress import WINDOW, Progress
from updraft.local_stack.readiness import Ready

STARTUP_SECONDS = 900.0
LONGEST = 160  # characters of a log line that are shown
ONCE = ("migrate", "mlflow-install")  # programs that end when their work is done
LOOK_EVERY = 0.2  # seconds between two looks at what is not ready yet
Report = Callable[[str], None]


class StartupTimeout(StackError):
    """A program is not ready within the limits; it still runs."""


@dataclass(frozen=True)
class Limits:
    """How long to wait for one program, in seconds.

    `total` as long as it works or logs, `idle` once it does neither; `report` is the time between two progress lines.
    """

    total: float = STARTUP_SECONDS
    idle: float = 120.0
    report: float = 15.0
    window: float = WINDOW


def read_limits(environ: Mapping[str, str]) -> Limits:
    """Read STARTUP_SECONDS, the total; StackError when it is no number of seconds."""
    text = environ.get("STARTUP_SECONDS") or f"{STARTUP_SECONDS:.0f}"
    if not text.isdecimal() or not int(text):
        raise StackError(f"STARTUP_SECONDS: {text!r} is not a number of seconds; expected a whole number from 1")
    return Limits(total=float(text))


class Wait:
    """Waits for one program of the stack in `home`; `pending` and `unmet` say what for, in a report and in an error."""

    def __init__(
        self,
        home: Path,
        name: str,
        limits: Limits,
        report: Report,
        *,
        pending: str = "still starting",
        unmet: str = "is not ready",
    ) -> None:
        self._home, self._name, self._limits, self._report = home, name, limits, report
        self._pending, self._unmet = pending, unmet
        self._progress = Progress(log_file(home, name), limits.window)
        self._began = time.monotonic()
        self._next_report = limits.report

    @property
    def seconds(self) -> float:
        """How long this wait has taken."""
        return time.monotonic() - self._began

    def check(self, processes: Mapping[str, Mapping[str, Any]]) -> None:
        """Report now and then; StackError when the program gave up, StartupTimeout when a limit is reached."""
        if not processes:
            raise StackError("the stack was stopped while it started")
        process = processes[self._name]
        if _gave_up(process):
            log = log_file(self._home, self._name)
            failed = "failed" if self._name in ONCE else "does not start"
            raise StackError(f"{self._name} {failed}; the end of {log}:\n{tail(self._home, self._name)}")
        self._check_limits(self._progress.idle_seconds(process["pid"]))
        if self.seconds >= self._next_report:
            self._next_report = self.seconds + self._limits.report
            self._report(f"{self._name:<14} {self._pending}, {self.seconds:.0f} s: {self._last_line()}")

    def _check_limits(self, idle: float) -> None:
        late = self.seconds > self._limits.total
        if not late and idle <= self._limits.idle:
            return
        why = f"STARTUP_SECONDS is {self._limits.total:.0f}" if late else f"no work and no log line for {idle:.0f} s"
        raise StartupTimeout(
            f"{self._name} {self._unmet} after {self.seconds:.0f} s ({why}); "
            f"the last line of {log_file(self._home, self._name)}: {self._last_line()}"
        )

    def _last_line(self) -> str:
        line = tail(self._home, self._name, 1).strip()
        return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


class Startup:
    """Starts programs of the stack in `home`, each `after` those that it waits for, until each is `ready`."""

    def __init__(
        self,
        home: Path,
        after: Mapping[str, tuple[str, ...]],
        ready: Mapping[str, Ready],
        limits: Limits,
        report: Report,
    ) -> None:
        self._home, self._after, self._ready = home, after, ready
        self._limits, self._report = limits, report

    def run(self, names: list[str]) -> None:
        """Start what does not run and return when all of `names` are ready; raises as `Wait.check` does."""
        done = {name for name in self._after if name not in names}
        waits: dict[str, Wait] = {}
        while len(done) < len(self._after):
            for name in [name for name in names if name not in waits and done.issuperset(self._after[name])]:
                self._begin(name)
                waits[name] = Wait(self._home, name, self._limits, self._report)
            processes = supervision.processes(self._home)
            for name in [name for name in waits if name not in done]:
                waits[name].check(processes)
                if self._ready[name](processes[name]):
                    done.add(name)
                    self._report(f"{name:<14} ready   {waits[name].seconds:5.1f} s")
            time.sleep(LOOK_EVERY)

    def _begin(self, name: str) -> None:
        if not is_up(supervision.processes(self._home).get(name, {})):
            supervision.begin(self._home, name)


def is_up(process: Mapping[str, Any]) -> bool:
    """Return whether supervisord keeps a program running, or it ended as it should (ONCE)."""
    finished = process.get("name") in ONCE and process["statename"] == "EXITED" and process["exitstatus"] == 0
    return finished or process.get("statename") in ("STARTING", "RUNNING", "BACKOFF")


def _gave_up(process: Mapping[str, Any]) -> bool:
    return bool(process["statename"] == "FATAL" or (process["statename"] == "EXITED" and process["exitstatus"]))


def log_file(home: Path, name: str) -> Path:
    """Return the path of a program's log file."""
    return home / "logs" / f"{name}.log"


def tail(home: Path, name: str, lines: int = 10) -> str:
    """Return the last lines of a program's log, without secrets."""
    path = log_file(home, name)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    end = [line for line in text.splitlines() if line.strip()][-lines:] or ["(nothing is logged yet)"]
    return mask("\n".join(f"    {line}" for line in end), credentials(home / "secrets"))
