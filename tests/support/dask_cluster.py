"""A Dask cluster of processes on free ports of 127.0.0.1: a scheduler and workers, which come and go."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client

from updraft.local_stack.servers import free_port, wait_for_port

DASK = Path(sys.executable).parent / "dask"
SECONDS = 300


class Cluster:
    """A running scheduler; `workers` are the processes that it has been given."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler: subprocess.Popen[bytes] | None = None

    def start_scheduler(self, **environ: str) -> None:
        """Start the scheduler, at its address."""
        protocol, port = self.address.split("://")[0], int(self.address.rpartition(":")[2])
        # With a port of its own for what it says of itself: the default is one for all.
        command = [DASK, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--protocol", protocol]
        command += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        with (self.folder / "scheduler.log").open("ab") as output:
            self.scheduler = subprocess.Popen(
                command, env=os.environ | environ, stdout=output, stderr=subprocess.STDOUT
            )
        wait_for_port(port, self.scheduler, SECONDS)

    def start_worker(self, *options: str, **environ: str) -> None:
        """Start a worker, without a nanny that would start it again."""
        command = [DASK, "worker", self.address, "--host", "127.0.0.1", "--no-nanny", "--no-dashboard"]
        command += ["--local-directory", str(self.folder), *options]
        with (self.folder / f"worker-{len(self.workers)}.log").open("wb") as output:
            process = subprocess.Popen(command, env=os.environ | environ, stdout=output, stderr=subprocess.STDOUT)
        self.workers.append(process)

    def wait_for(self, workers: int) -> None:
        """Wait until the scheduler has so many workers."""
        gc.collect()  # see updraft.learning.dask_cluster
        with Client(self.address, timeout=SECONDS, set_as_default=False) as client:
            client.wait_for_workers(workers, timeout=SECONDS)

    def wait_for_status(self, status: str) -> None:
        """Wait until each worker that the scheduler has is in this state."""
        gc.collect()
        with Client(self.address, timeout=SECONDS, set_as_default=False) as client:
            for _ in range(SECONDS * 10):
                if {each["status"] for each in client.scheduler_info(n_workers=-1)["workers"].values()} == {status}:
                    return
                time.sleep(0.1)
        raise TimeoutError(f"no worker is {status}")


@contextmanager
def cluster(folder: Path, protocol: str = "tcp", **environ: str) -> Iterator[Cluster]:
    """Run a scheduler without workers."""
    running = Cluster(f"{protocol}://127.0.0.1:{free_port()}", folder)
    try:
        running.start_scheduler(**environ)
        yield running
    finally:
        for process in [*running.workers, running.scheduler]:
            if process:
                process.kill()
                process.wait()
