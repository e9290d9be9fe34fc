"""Waiting by progress, on small programs under a real supervisord: some work, some log, one hangs, one dies."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from updraft.local_stack import supervision
from updraft.local_stack.credentials import credentials
from updraft.local_stack.environment import StackError
from updraft.local_stack.progress import Progress
from updraft.local_stack.startup import Limits, Startup, StartupTimeout, read_limits
from updraft.local_stack.supervision import Program

# What each program does until the file `go` is there, or 4 seconds have passed; then it is ready.
LOGS = "print('step', n, flush=True); time.sleep(0.2)"
WORKS = "sum(range(10**6))"
HANGS = "time.sleep(0.2)"
SCRIPT = """
import pathlib, sys, time
print('begin', flush=True)
begin, n = time.monotonic(), 0
while not pathlib.Path('go').exists() and time.monotonic() < begin + {seconds}:
    n += 1
    {step}
pathlib.Path('ready').touch()
time.sleep(60)
"""
QUICK = Limits(total=60, idle=1.5, report=0.5, window=0.3)


@pytest.fixture
def home(starts_stack: None, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "logs").mkdir()
    (tmp_path / "run").mkdir()
    yield tmp_path
    supervision.stop(tmp_path)


def start(home: Path, script: str, limits: Limits) -> list[str]:
    """Run a script as the program `small` until it is ready; return the lines that were reported."""
    if not supervision.processes(home):
        (home / "small.py").write_text(script)
        supervision.start(home, [Program("small", [sys.executable, "small.py"], home)], {})
    lines: list[str] = []
    Startup(home, {"small": ()}, {"small": lambda _: (home / "ready").exists()}, limits, lines.append).run(["small"])
    return lines


def pid(home: Path) -> int:
    return int(supervision.processes(home)["small"]["pid"])


@pytest.mark.parametrize("step", [LOGS, WORKS])
def test_what_works_or_logs_is_waited_for_longer_than_the_idle_limit(home: Path, step: str) -> None:
    lines = start(home, SCRIPT.format(step=step, seconds=4), QUICK)
    *progress, ready = lines
    assert ready.split()[:2] == ["small", "ready"] and float(ready.split()[2]) > 4 > QUICK.idle
    assert len(progress) >= 2
    last = "step " if step == LOGS else "begin"
    assert all(line.startswith("small          still starting, ") and f" s: {last}" in line for line in progress)


def test_what_hangs_is_named_and_stays_up_for_another_try(home: Path) -> None:
    script = SCRIPT.format(step=HANGS, seconds=600)
    with pytest.raises(StartupTimeout) as caught:
        start(home, script, QUICK)
    log = home / "logs" / "small.log"
    text = str(caught.value)
    assert text.startswith("small is not ready after ") and "no work and no log line for " in text
    assert text.endswith(f"the last line of {log}: begin") and "\n" not in text

    before = pid(home)
    (home / "go").touch()
    assert "ready" in start(home, script, QUICK)[-1]
    assert pid(home) == before


def test_the_total_ends_the_wait_for_what_still_works(home: Path) -> None:
    began = time.monotonic()
    message = r"small is not ready after 2 s \(STARTUP_SECONDS is 2\); the last line of .*: step \d+$"
    with pytest.raises(StartupTimeout, match=message):
        start(home, SCRIPT.format(step=LOGS, seconds=600), Limits(total=2, idle=60, report=60, window=0.3))
    assert time.monotonic() - began < 20
    assert psutil.pid_exists(pid(home))


def test_what_dies_is_reported_at_once_with_the_end_of_its_log(home: Path) -> None:
    with pytest.raises(StackError, match=r"small does not start; the end of (.|\n)*\n    no such thing") as caught:
        start(home, "print('no such thing'); raise SystemExit(3)", Limits(total=60))
    assert not isinstance(caught.value, StartupTimeout)


def test_a_secret_in_the_last_line_is_masked(home: Path) -> None:
    token = credentials(home / "secrets")["train_token"]
    with pytest.raises(StartupTimeout, match=r"last line of .*: token \*\*\*$") as caught:
        start(home, f"import time; print('token {token}', flush=True); time.sleep(60)", QUICK)
    assert token not in str(caught.value)


@contextmanager
def running(script: str) -> Iterator[int]:
    with psutil.Popen([sys.executable, "-c", script]) as process:
        try:
            yield process.pid
        finally:
            for each in [*process.children(), process]:
                each.kill()


def idle(pid: int, log: Path, seconds: float, enough: float) -> float:
    """Return the longest idle time within `seconds`; return early when it is `enough`."""
    progress, until, longest = Progress(log, window=0.5), time.monotonic() + seconds, 0.0
    while time.monotonic() < until and longest < enough:
        longest = max(longest, progress.idle_seconds(pid))
        time.sleep(0.1)
    return longest


def test_the_work_of_a_child_is_progress(tmp_path: Path) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: {WORKS}'])"
    with running(child) as pid:
        assert idle(pid, tmp_path / "no.log", seconds=4, enough=2) < 2


def test_a_loop_that_sleeps_is_no_progress(tmp_path: Path) -> None:
    with running("import time\nwhile True: time.sleep(0.05)") as pid:
        assert idle(pid, tmp_path / "no.log", seconds=30, enough=2) >= 2


def test_the_limit_is_read() -> None:
    assert read_limits({}).total == read_limits({"STARTUP_SECONDS": ""}).total == 900
    assert read_limits({"STARTUP_SECONDS": "60"}).total == 60


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "soon", "60s", " "])
def test_another_limit_is_one_line(text: str) -> None:
    message = f"^STARTUP_SECONDS: {text!r} is not a number of seconds; expected a whole number from 1$"
    with pytest.raises(StackError, match=message):
        read_limits({"STARTUP_SECONDS": text})
