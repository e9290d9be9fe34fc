"""Airflow's own settings in the local stack, as environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from updraft.defaults import ROOT
from updraft.local_stack.credentials import ADMIN, SERVICE
from updraft.local_stack.servers import HOST


def airflow_settings(home: Path, port: int, secret: dict[str, str]) -> dict[str, str]:
    """Return Airflow's own settings; see its configuration reference for each."""
    settings = {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": str(
            len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        ),
        "CORE__FERNET_KEY": secret["airflow_fernet_key"],
        # The default asks DNS for the machine's full name, seconds where DNS does not answer.
        "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{SERVICE}:user",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "secrets" / "airflow_passwords.json"),
        "CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow' / 'airflow.db'}?timeout=30",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs" / "tasks"),
        "API__HOST": HOST,
        "API__PORT": str(port),
        "API__BASE_URL": f"http://{HOST}:{port}",
        "API__SECRET_KEY": secret["airflow_secret_key"],
        "API_AUTH__JWT_SECRET": secret["airflow_jwt_secret"],
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        # After a kill -9, of a task's worker or of the scheduler: how soon its tasks count as lost and are tried again.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
        # How long a task's supervisor may sleep on after the task's end, its slot still taken (the default is 5 s).
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",  # a round takes about 2 s of a core
        # How long a removed use case keeps its DAG: Airflow schedules no task of a run whose DAG is gone.
        "DAG_PROCESSOR__STALE_DAG_THRESHOLD": "3600",
    }
    return {"AIRFLOW_HOME": str(home / "airflow")} | {f"AIRFLOW__{name}": value for name, value in settings.items()}
