"""Preload the tasks' heavy libraries into the process that runs tasks: each task is a fork of it and imports nothing.
That process is the scheduler or, with Celery, each worker.

Airflow imports this file in each of its processes from $AIRFLOW_HOME/config, hence the guard. Only libraries that start
no thread at import may be preloaded: a fork of a process in which another thread holds a lock can hang.
"""

import ctypes
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

PRELOADED = (
    "airflow.dag_processing.bundles.manager",
    "airflow.dag_processing.dagbag",
    "airflow.providers.standard.decorators.python",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "boto3",
    "great_expectations",
    "matplotlib.figure",
    "pandas",
    "pyarrow.parquet",
    "pymongo",
    "pymongoarrow.api",
    "sklearn.calibration",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.inspection",
    "sklearn.model_selection",
)

# These log hundreds of lines at import, of no use to anyone.
for name in ("great_expectations._docs_decorators", "great_expectations.expectations.registry"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", "pyarrow.lib.* size changed", RuntimeWarning)
warnings.filterwarnings("ignore", "The airflow.security.permissions module is deprecated")  # FAB imports it


def yield_memory() -> None:
    """When memory runs out, let the kernel kill a task, which is retried, before its supervisor or the scheduler."""
    score = Path("/proc/self/oom_score_adj")
    score.write_text(str(min(int(score.read_text()) + 300, 1000)))


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however that dies.

    A worker would outlive a killed scheduler, and a task its killed worker, each with the memory of all libraries, and
    work on what is tried again meanwhile. Linux only: elsewhere `updraft down` ends what is left.
    """
    set_signal_of_parents_death = 1
    libc.prctl(set_signal_of_parents_death, signal.SIGKILL)


def end_when_no_worker_takes_a_task(seconds: float = 10, rounds: int = 5) -> None:
    """Have the scheduler end, and so be started again, when LocalExecutor's queue is locked for that long with a task.

    Its workers share the queue's lock, and one that is killed while it waits there takes the lock with it: the others,
    and those that replace it, wait for ever. A living worker that has the lock takes the task at once and lets go, and
    busy ones leave it alone; so a slow machine, or a long queue, is no reason.
    """
    from airflow.executors.local_executor import LocalExecutor

    sync, since, seen = LocalExecutor.sync, 0.0, 0

    def watched(executor: Any) -> None:
        nonlocal since, seen
        sync(executor)
        if executor.activity_queue.empty() or is_free(executor.activity_queue._rlock):
            seen = 0
            return
        since, seen = (since if seen else time.monotonic()), seen + 1
        if seen >= rounds and time.monotonic() - since > seconds:
            logging.getLogger(__name__).error("no worker takes a task: a killed one holds the queue; starting again")
            os._exit(1)  # an orderly end would wait for the workers; `end_with_parent` ends them

    LocalExecutor.sync = watched


def is_free(lock: Any) -> bool:
    """Return whether nobody holds a lock at this moment."""
    if not lock.acquire(block=False):
        return False
    lock.release()
    return True


if sys.argv[1:3] == ["celery", "worker"]:
    from celery.signals import heartbeat_sent

    # The worker sends a heartbeat every two seconds; alive.py checks the age of the file.
    heartbeat_sent.connect(lambda **_: Path("/tmp/worker.heartbeat").touch(), weak=False)  # noqa: S108
    for folder in Path(tempfile.gettempdir()).glob("updraft-run-*"):  # left by tasks that were killed
        shutil.rmtree(folder, ignore_errors=True)
    runs_tasks = True
else:
    runs_tasks = sys.argv[1:2] == ["scheduler"] and os.environ.get("AIRFLOW__CORE__EXECUTOR") == "LocalExecutor"
if runs_tasks:
    os.register_at_fork(after_in_child=yield_memory)
    if sys.argv[1] == "scheduler" and sys.platform == "linux":
        libc = ctypes.CDLL(None)  # loaded once: a fork must not wait for a lock of the loader's
        os.register_at_fork(after_in_child=end_with_parent)
        end_when_no_worker_takes_a_task()
    for name in PRELOADED:
        importlib.import_module(name)
