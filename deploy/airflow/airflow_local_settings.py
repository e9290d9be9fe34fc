"""Preload the tasks' heavy libraries into the process that runs tasks: each task is a fork of it and imports nothing.
That process is the scheduler or, with Celery, each worker.

Airflow imports this file in each of its processes from $AIRFLOW_HOME/config, hence the guard. Only libraries that start
no thread at import may be preloaded: a fork of a process in which another thread holds a lock can hang.
"""

import importlib
import logging
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

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
    for name in PRELOADED:
        importlib.import_module(name)
