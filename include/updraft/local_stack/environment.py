"""Resolve the local stack's settings, as environment variables: the user's, those of its last start, else defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from updraft.defaults import DATABASE, ROOT
from updraft.errors import UserError
from updraft.local_stack.airflow_settings import airflow_settings
from updraft.local_stack.credentials import SERVICE, credentials, write_private
from updraft.local_stack.servers import FILER_KEYS, HOST

PORTS = {"AIRFLOW_PORT": 8080, "SERVING_PORT": 5000, "MONGODB_PORT": 27017, "S3_PORT": 8333}
# The stores that are started only where UPDRAFT_WITH names them: their ports, and the variables that lead to them.
OPTIONAL_PORTS = {"postgres": ("POSTGRES_PORT", 5432), "kafka": ("KAFKA_PORT", 9092), "mlflow": ("MLFLOW_PORT", 5001)}
OPTIONAL_URLS = {"postgres": "SQL_URL", "kafka": "KAFKA_URL", "mlflow": "MLFLOW_TRACKING_URI"}
USER = "updraft"  # of MongoDB and PostgreSQL
BUCKET, DATASETS, PREDICTIONS = "updraft-models", "updraft-datasets", "updraft-predictions"
# The readers of `.updraft/env` (python-dotenv, a shell, supervisord's ini) have no common way to quote these.
UNQUOTABLE = set("'\"\\$%;#\n")
S3_NAMES = (
    "UPDRAFT_REGISTRY",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "UPDRAFT_DATASETS",
    "SERVING_PREDICTIONS",
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
        environ.update({name: settings[name] for name in S3_NAMES if name in settings})
        for name in OTHER_LOGINS:
            environ.pop(name, None)
    for name, value in settings.items():
        if name not in S3_NAMES or not elsewhere:
            environ.setdefault(name, value)


def settle(home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return all settings of the stack in `home`. The first call creates its secrets; no other file is written."""
    secret = credentials(home / "secrets")
    previous = recorded(home)
    asked = _asked(environ, previous)
    defaults = PORTS | dict(OPTIONAL_PORTS[store] for store in asked)
    ports = {
        name: _port(name, environ.get(name) or previous.get(name) or str(default)) for name, default in defaults.items()
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
        | _optional(asked, environ, previous, ports, secret)
        | (dict.fromkeys(FILER_KEYS, secret["s3_filer_key"]) if "s3" in embedded(s3) else {})
        | airflow_settings(home, ports["AIRFLOW_PORT"], secret)
        | _libraries()
    )


def train_token(environ: Mapping[str, str], secret: Mapping[str, str]) -> dict[str, str]:
    """Return the token for training; nothing where the user set one, which reaches the service unchanged."""
    external = environ.get("SERVING_TRAIN_TOKEN") or environ.get("SERVING_TRAIN_TOKEN_FILE")
    return {"SERVING_TRAIN_TOKEN": secret["train_token"]} if external in {None, "", secret["train_token"]} else {}


def embedded(settings: Mapping[str, str]) -> set[str]:
    """Return which stores are the stack's own: mongod and s3 unless they are elsewhere, others where asked for."""
    return set(f"{settings.get('UPDRAFT_EMBEDDED', '')} {settings.get('UPDRAFT_WITH', '')}".split())


def _port(name: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise StackError(f"{name}: {text!r} is not a port; expected a number from 1 to 65535")
    return int(text)


def _all_different(ports: dict[str, int]) -> None:
    for name, port in ports.items():
        twin = next((other for other in ports if other > name and ports[other] == port), None)
        if twin:
            raise StackError(f"{name} and {twin}: both are {port}; expected {len(ports)} different ports")


def _asked(environ: Mapping[str, str], previous: Mapping[str, str]) -> list[str]:
    """Return the optional stores that UPDRAFT_WITH names, or else those of the last start."""
    words = environ.get("UPDRAFT_WITH", previous.get("UPDRAFT_WITH", "")).replace(",", " ").split()
    unknown = [word for word in words if word not in OPTIONAL_PORTS]
    if unknown:
        raise StackError(f"WITH: {unknown[0]!r} is no store that can be added; expected {', '.join(OPTIONAL_PORTS)}")
    return [store for store in OPTIONAL_PORTS if store in words]


def _optional(
    asked: list[str],
    environ: Mapping[str, str],
    previous: Mapping[str, str],
    ports: Mapping[str, int],
    secret: Mapping[str, str],
) -> dict[str, str]:
    """Lead OPTIONAL_URLS to the stores that are asked for, but where the user has set another."""
    own = {"UPDRAFT_WITH": " ".join(asked)} if asked else {}
    if "postgres" in asked:
        own["SQL_URL"] = postgres_url(secret["postgres_password"], ports["POSTGRES_PORT"])
    if "kafka" in asked:
        own["KAFKA_URL"] = f"kafka://{HOST}:{ports['KAFKA_PORT']}"
    if "mlflow" in asked:
        own["MLFLOW_TRACKING_URI"] = f"http://{HOST}:{ports['MLFLOW_PORT']}"
    theirs = [name for name in OPTIONAL_URLS.values() if environ.get(name) not in (None, "", previous.get(name))]
    return {name: value for name, value in own.items() if name not in theirs}


def postgres_url(password: str, port: int, database: str = DATABASE) -> str:
    """Return the address of a database in the stack's PostgreSQL, with the login."""
    return f"postgresql://{USER}:{password}@{HOST}:{port}/{database}"


def _mongodb(
    environ: Mapping[str, str], previous: Mapping[str, str], ports: dict[str, int], secret: dict[str, str]
) -> dict[str, str]:
    """Keep a MONGODB_URL of another server; an empty one in the shell selects the embedded server again."""
    url = environ.get("MONGODB_URL", previous.get("MONGODB_URL"))
    was_embedded = not previous or "mongod" in embedded(previous)
    if url and not (was_embedded and url == previous.get("MONGODB_URL")):
        return {"MONGODB_URL": url}
    login = f"{USER}:{secret['mongodb_password']}"
    url = f"mongodb://{login}@{HOST}:{ports['MONGODB_PORT']}/{DATABASE}?authSource=admin"
    return {"MONGODB_URL": url, "UPDRAFT_EMBEDDED": "mongod"}


def _s3(
    environ: Mapping[str, str], previous: Mapping[str, str], ports: dict[str, int], secret: dict[str, str]
) -> dict[str, str]:
    """Keep a registry or endpoint of another server, without its credentials: those stay where boto3 looks for them."""
    own = {
        "UPDRAFT_REGISTRY": f"s3://{BUCKET}",
        "UPDRAFT_DATASETS": environ.get("UPDRAFT_DATASETS") or f"s3://{DATASETS}",
        "SERVING_PREDICTIONS": environ.get("SERVING_PREDICTIONS") or f"s3://{PREDICTIONS}",
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


def _libraries() -> dict[str, str]:
    """Pin threads (tasks run side by side; a model's bytes depend on the count) and switch off what calls home."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1")
    quiet = {"GX_ANALYTICS_ENABLED": "false", "SCARF_ANALYTICS": "false", "DO_NOT_TRACK": "1"}
    return threads | quiet | {"PYTHONPATH": f"{ROOT / 'include'}{os.pathsep}{ROOT}", "NO_PROXY": f"{HOST},localhost"}
