"""Resolve each secret of the Docker stack: from the environment, else the stored one, else a new one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from updraft.api_keys import key_error
from updraft.compose_secrets.variables import S3_USERS, S3_VARIABLES, BadVariable, own_s3, s3_variables
from updraft.local_stack.credentials import MAKE, once, write_private

GENERATORS = MAKE | {
    "mongodb_root_password": lambda: secrets.token_hex(24),
    "redis_password": lambda: secrets.token_hex(24),
    "grafana_admin_password": lambda: secrets.token_hex(8),
    "metrics_key": lambda: secrets.token_hex(24),
}
for key, secret in map(s3_variables, S3_USERS):
    GENERATORS |= {key.lower(): MAKE["s3_access_key"], secret.lower(): MAKE["s3_secret_key"]}
# Stored data depends on these: databases keep their first password, and the Fernet key encrypts Airflow's connections.
FIXED = ("postgres_password", "mongodb_password", "grafana_admin_password", "airflow_fernet_key")
MIN_LENGTH, MIN_KEY_LENGTH = 8, 32
KEYS = ("airflow_jwt_secret", "airflow_secret_key")


def resolve_secrets(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return every secret by name, and store each as a file in `folder`; variables in `environ` take precedence.

    Raises BadVariable before any is written.
    """
    check_secrets(folder, environ)
    return {name: _resolve(folder / name, value) for name, value in _from_environment(environ).items()}


def check_secrets(folder: Path, environ: Mapping[str, str]) -> None:
    """Raise BadVariable for the first secret that is invalid, or that cannot replace the stored one."""
    for name, value in _from_environment(environ).items():
        if value:
            _check(folder / name, value)


def drop_s3_logins(folder: Path) -> None:
    """Remove the stored S3 logins, so that new ones are generated; those in the environment stay what they are."""
    for name in S3_VARIABLES:
        (folder / name.lower()).unlink(missing_ok=True)


def variable(name: str) -> str:
    """Return the environment variable of a secret."""
    return "SERVING_TRAIN_TOKEN" if name == "train_token" else name.upper()


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    values = {name: environ.get(variable(name), "") for name in GENERATORS}
    if not own_s3(environ):  # then the login is another server's
        values |= dict.fromkeys((name.lower() for name in S3_VARIABLES), "")
    return values


def _check(path: Path, value: str) -> None:
    name, min_length = variable(path.name), MIN_KEY_LENGTH if path.name in KEYS else MIN_LENGTH
    if len(value) < min_length or not value.isascii() or not value.isprintable() or value != value.strip():
        raise BadVariable(f"{name}: expected {min_length} or more printable ASCII characters in one line")
    if path.name == "train_token" and (error := key_error(value)):
        raise BadVariable(f"{name}: it {error}")
    if path.name == "airflow_fernet_key" and not _is_fernet(value):
        raise BadVariable(f"{name}: expected 32 bytes in URL-safe base64, as Fernet.generate_key() makes them")
    if path.name in FIXED and path.exists() and path.read_text(encoding="utf-8") != value:
        raise BadVariable(f"{name}: the stored data uses another one; leave it out, or change it there first")


def _is_fernet(key: str) -> bool:
    from cryptography.fernet import Fernet

    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _resolve(path: Path, value: str) -> str:
    if value and path.exists() and path.read_text(encoding="utf-8") != value:
        write_private(path, value)
    return once(path, lambda: value or GENERATORS[path.name]())
