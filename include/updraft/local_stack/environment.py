"""Resolve the local stack's settings, as environment variables: the user's, those of its last start, else defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from updraft.defaults import DATABASE, ROOT
from updraft.errors import UserError
from updraft.local_stack.credentials import ADMIN, SERVICE, credentials, write_private
from updraft.local_stack.servers import FILER_KEYS, HOST

PORTS = {"AIRFLOW_PORT": 8080, "SERVING_PORT": 5000, "MONGODB_PORT": 27017, "S3_PORT": 8333}
BUCKET, DATASETS = "updraft-models", "updraft-datasets"
# The readers of `.updraft/env` (python-dotenv, a shell, supervisord's ini) have no common way to quote these.
UNQUOTABLE = set("'\"\\$%;#\n")
S3_NAMES = (
    "UPDRAFT_REGISTRY",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "UPDRAFT_DATASETS",
)
# boto3 would mix these into the embedded server's key pair.
OTHER_LOGINS = ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")
OTHER_PASSWORD = "AIRFLOW_PASSWORD_FILE"  # noqa: S105  # of another Airflow: the service asks the embedded one


class StackError(UserError):
    """The stack cannot do what was requested; the message is for the user."""


def home_folder(environ: Mapping[str, str]) -> Path:
    """Return the stack's data folder: UPDRAFT_HOME, else `.updraft` beside the code."""
    home = Path(environ.get("UPDRAFT_HOME") or ROOT / ".updraft").expanduser().resolve()
    bad = UNQUOTABLE & set(str(home))
    if bad:
        raise StackError(
            f"UPDRAFT_HOME: {str(home)!r} holds {min(bad)!r}; expected a path without {' '.join(sorted(UNQUOTABLE))!r}"
        )
    return home


def recorded(home: Path) -> dict[str, str]:
    """Return the settings that the stack in `home` last started with; none before its first start."""
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(home / "env", interpolate=False).items() if value is not None}


def record(home: Path, settings: Mapping[str, str]) -> None:
    """Write `env`: for python-dotenv, and for `set -a; . env` in a shell."""
    for name, value in settings.items():
        if "'" in value or "\\" in value or "\n" in value:
            raise StackError(
                f"{name}: quotes, backslashes and line ends cannot be stored; in a URL write them as %27 and %5C"
            )
    lines = [f"{name}='{value}'" for name, value in settings.items()]
    write_private(home / "env", "\n".join(["# Written by `make up`; holds secrets.", *lines, ""]))


def load(environ: MutableMapping[str, str], home: Path) -> None:
    """Add the settings recorded in `home` to `environ` (os.environ); variables that are set already stay.

    The S3 settings are all added or none: the shell's AWS credentials must not reach the embedded server, nor the
    embedded server's credentials another one.
    """
    settings = recorded(home)
    elsewhere = any(environ.get(name, settings.get(name)) != settings.get(name) for name in S3_NAMES[:2])
    if not elsewhere and "s3" in embedded(settings):
        environ.update({name: settings[name] for name in S3_NAMES})
        for name in OTHER_LOGINS:
            environ.pop(name, None)
    for name, value in settings.items():
        if name not in S3_NAMES or not elsewhere:
            environ.setdefault(name, value)


def settle(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return all settings of the stack in `home`. The first call creates its secrets; no other file is written."""
    secret = credentials(home / "secrets")
    previous = recorded(home)
    ports = {
        name: _port(name, environ.get(name) or previous.get(name) or str(default)) for name, default in PORTS.items()
    }
    _all_different(ports)
    mongodb, s3 = _mongodb(environ, previous, ports, secret), _s3(environ, previous, ports, secret)
    own_stores = " ".join(sorted(embedded(mongodb) | embedded(s3)))
    own = {
        "UPDRAFT_HOME": str(home),
        "UPDRAFT_ARTIFACTS": environ.get("UPDRAFT_ARTIFACTS")
        or previous.get("UPDRAFT_ARTIFACTS")
        or str(home / "artifacts"),
        "UPDRAFT_DATA": environ.get("UPDRAFT_DATA") or previous.get("UPDRAFT_DATA") or str(home / "demo"),
        "UPDRAFT_SIGNING_KEY": environ.get("UPDRAFT_SIGNING_KEY") or str(home / "secrets" / "signing.pem"),
        "UPDRAFT_VERIFY_KEY": environ.get("UPDRAFT_VERIFY_KEY") or str(home / "secrets" / "verify.pem"),
        "AIRFLOW_URL": f"http://{HOST}:{ports['AIRFLOW_PORT']}",
        "AIRFLOW_USER": SERVICE,
        "AIRFLOW_PASSWORD": secret["airflow_service_password"],
        "SERVING_URL": f"http://{HOST}:{ports['SERVING_PORT']}",
        "SERVING_DATA": str(home / "serving-data"),
    }
    numbers = {name: str(port) for name, port in ports.items()}
    return (
        own
        | train_token(environ, secret)
        | numbers
        | mongodb
        | s3
        | {"UPDRAFT_EMBEDDED": own_stores}
        | (dict.fromkeys(FILER_KEYS, secret["s3_filer_key"]) if "s3" in embedded(s3) else {})
        | _airflow(home, ports["AIRFLOW_PORT"], secret)
        | _libraries()
    )


def train_token(environ: Mapping[str, str], secret: Mapping[str, str]) -> dict[str, str]:
    """Return the token for training; nothing where the user set one, which reaches the service unchanged."""
    external = environ.get("SERVING_TRAIN_TOKEN") or environ.get("SERVING_TRAIN_TOKEN_FILE")
    return {"SERVING_TRAIN_TOKEN": secret["train_token"]} if external in {None, "", secret["train_token"]} else {}


def embedded(settings: Mapping[str, str]) -> set[str]:
    """Return which of the two stores, mongod and s3, are the stack's own."""
    return set(settings.get("UPDRAFT_EMBEDDED", "").split())


def _port(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StackError(f"{name}: {text!r} is not a port; expected a number from 1 to 65535")
    return int(text)


def _all_different(ports: dict[str, int]) -> None:
    for name, port in ports.items():
        twin = next((other for other in ports if other > name and ports[other] == port), None)
        if twin:
            raise StackError(f"{name} and {twin}: both are {port}; expected four different ports")


def _mongodb(
    environ: Mapping[str, str], previous: Mapping[str, str], ports: dict[str, int], secret: dict[str, str]
) -> dict[str, str]:
    """Keep a MONGODB_URL of another server; an empty one in the shell selects the embedded server again."""
    url = environ.get("MONGODB_URL", previous.get("MONGODB_URL"))
    was_embedded = not previous or "mongod" in embedded(previous)
    if url and not (was_embedded and url == previous.get("MONGODB_URL")):
        return {"MONGODB_URL": url}
    login = f"updraft:{secret['mongodb_password']}"
    url = f"mongodb://{login}@{HOST}:{ports['MONGODB_PORT']}/{DATABASE}?authSource=admin"
    return {"MONGODB_URL": url, "UPDRAFT_EMBEDDED": "mongod"}


def _s3(
    environ: Mapping[str, str], previous: Mapping[str, str], ports: dict[str, int], secret: dict[str, str]
) -> dict[str, str]:
    """Keep a registry or endpoint of another server, without its credentials: those stay where boto3 looks for them."""
    own = {
        "UPDRAFT_REGISTRY": f"s3://{BUCKET}",
        "UPDRAFT_DATASETS": environ.get("UPDRAFT_DATASETS") or f"s3://{DATASETS}",
        "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{ports['S3_PORT']}",
        "AWS_ACCESS_KEY_ID": secret["s3_access_key"],
        "AWS_SECRET_ACCESS_KEY": secret["s3_secret_key"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "UPDRAFT_EMBEDDED": "s3",
    }
    was_embedded = not previous or "s3" in embedded(previous)
    explicit = [environ[name] for name in S3_NAMES[:2] if name in environ and environ[name] != previous.get(name)]
    if "" in explicit or (was_embedded and not explicit):
        return own
    current = {name: environ.get(name) or previous.get(name, "") for name in (*S3_NAMES[:2], *S3_NAMES[4:])}
    external = {
        name: value for name, value in current.items() if value and not (was_embedded and value == previous.get(name))
    }
    return {"UPDRAFT_REGISTRY": own["UPDRAFT_REGISTRY"]} | external


def _airflow(home: Path, port: int, secret: dict[str, str]) -> dict[str, str]:
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
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        # How long a removed use case keeps its DAG: Airflow schedules no task of a run whose DAG is gone.
        "DAG_PROCESSOR__STALE_DAG_THRESHOLD": "3600",
    }
    return {"AIRFLOW_HOME": str(home / "airflow")} | {f"AIRFLOW__{name}": value for name, value in settings.items()}


def _libraries() -> dict[str, str]:
    """Pin threads (tasks run side by side; a model's bytes depend on the count) and switch off what calls home."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    quiet = {"GX_ANALYTICS_ENABLED": "false", "SCARF_ANALYTICS": "false", "DO_NOT_TRACK": "1"}
    return threads | quiet | {"PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT}", "NO_PROXY": f"{HOST},localhost"}
