"""Which tests share a worker of xdist: those of a module, for they share what they start, and most that run Airflow.

Those wait more than they compute: two workers with one Airflow each leave a core to a third, and more Airflows at once
would only fight for the cores.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

# Takes about as long as those below together, and so has a worker of its own: tests/local_stack/test_end_to_end.py
RUN_AIRFLOW = (
    "tests/cli/test_train.py",
    "tests/dags/",
    "tests/deploy/test_exporter.py",
    "tests/local_stack/test_disturbed_runs.py",
    "tests/local_stack/test_mlflow_store.py",
    "tests/local_stack/test_optional_stores.py",
    "tests/local_stack/test_stack.py",
    "tests/local_stack/test_startup.py",
    "tests/plugins/",
    "tests/serving/pages/test_pages.py",
    "tests/serving/training/",
    "tests/stages/test_old_runs.py",
    "tests/test_airflow_client.py",
    "tests/test_readme.py",
)


class Lanes(LoadScopeScheduling):
    """Gives a worker one module at a time, and all of RUN_AIRFLOW as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "Airflow" if module.startswith(RUN_AIRFLOW) else module
