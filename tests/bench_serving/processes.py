"""Servers as process trees: pinned to a core, stopped while others are measured, weighed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from tests.bench_serving.client import post
from tests.support.service import end
from updraft.local_stack.servers import free_port

SERVER_CORE, CLIENT_CORE = "0", "1"
PATIENCE = 180.0  # seconds until the first answer
ASLEEP = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}


@dataclass(frozen=True)
class Memory:
    """Megabytes of a process tree. PSS counts what several processes share once."""

    rss: float
    pss: float


@dataclass(frozen=True)
class Command:
    """How a server is started. `{port}` stands for its port in the words."""

    words: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path  # where it runs
    beside: tuple[str, ...] = ()  # another program on the same core, with the same environment


@dataclass
class Running:
    """A server that has answered, `first` seconds after its start."""

    port: int
    process: psutil.Popen
    first: float
    beside: Sequence[psutil.Popen] = ()

    def tree(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True), *self.beside]

    def cpu(self) -> float:
        """Return the seconds of processor time that its processes have had."""
        return sum(sum(each.cpu_times()[:2]) for each in self.tree())

    def memory(self) -> Memory:
        found = [each.memory_full_info() for each in self.tree()]
        return Memory(*(sum(getattr(each, kind) for each in found) / 1e6 for kind in ("rss", "pss")))

    @contextmanager
    def awake(self) -> Iterator[Running]:
        """Let it run for a block; outside of one it does not use the core."""
        for each in self.tree():
            each.resume()
        try:
            yield self
        finally:
            self.sleep()

    def sleep(self) -> None:
        """Stop its processes, and wait until each has stopped: a signal is sent at once and obeyed later."""
        tree = self.tree()
        for each in tree:
            with suppress(psutil.NoSuchProcess):
                each.suspend()
        until = time.perf_counter() + PATIENCE
        for each in tree:
            with suppress(psutil.NoSuchProcess):
                while each.status() not in ASLEEP:
                    if time.perf_counter() > until:
                        raise SystemExit(f"process {each.pid} does not stop: {each.status()}")
                    time.sleep(0.001)


@contextmanager
def running(command: Command, path: str, body: bytes, log: Path) -> Iterator[Running]:
    """Start a server on its core and send it `body` until it answers with 200."""
    port = free_port()
    words = [word.replace("{port}", str(port)) for word in command.words]
    with log.open("ab") as sink, ExitStack() as stack:
        started = time.perf_counter()
        process = stack.enter_context(_process(words, command, sink))
        while True:
            with suppress(OSError):
                if post(port, path, body)[0] == 200:
                    break
            if process.poll() is not None or time.perf_counter() - started > PATIENCE:
                raise SystemExit(f"{' '.join(words)}: no answer\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        first = time.perf_counter() - started
        beside = [stack.enter_context(_process(command.beside, command, sink))] if command.beside else []
        yield Running(port, process, first, beside)


@contextmanager
def _process(words: Sequence[str], command: Command, sink: BinaryIO) -> Iterator[psutil.Popen]:
    pinned = ["taskset", "--cpu-list", SERVER_CORE, *words]
    process = psutil.Popen(pinned, env=command.environ, cwd=command.folder, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        _end(process)


def _end(process: psutil.Popen) -> None:
    with suppress(psutil.NoSuchProcess):
        for each in [process, *process.children(recursive=True)]:
            each.resume()
    end(process)
