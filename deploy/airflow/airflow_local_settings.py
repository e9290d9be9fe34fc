"""Load the tasks' heavy libraries into the scheduler, once: every task is a fork of it and then imports nothing.

Airflow imports this file in each of its processes from $AIRFLOW_HOME/config, hence the guard. Only libraries that start
no thread at import may stand here: a fork of a process whose other thread holds a lock can hang.
"""

import importlib
import logging
import sys
import warnings

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

# Hundreds of lines at import that tell a reader of the log nothing.
for name in ("great_expectations._docs_decorators", "great_expectations.expectations.registry"):
    logging.getLogger(name).setLevel(logging.WARNING)
warnings.filterwarnings("ignore", "pyarrow.lib.* size changed", RuntimeWarning)

if "scheduler" in sys.argv[1:2]:
    for name in PRELOADED:
        importlib.import_module(name)
