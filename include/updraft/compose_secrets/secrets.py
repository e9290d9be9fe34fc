"""Settle each secret of the Docker stack: what the environment gives, else what was made before, else a new one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from updraft.api_keys import key_error
from updraft.compose_secrets.variables import S3_LOGIN, BadVariable, own_s3
from updraft.local_stack.credentials import MAKE, once, write_private

OURS = MAKE | {
    "postgres_password": lambda: secrets.token_hex(24),
    "mongodb_root_password": lambda: secrets.token_hex(24),
    "redis_password": lambda: secrets.token_hex(24),
    "grafana_admin_password": lambda: secrets.token_hex(8),
    "s3_reader_access_key": lambda: secrets.token_hex(10).upper(),
    "s3_reader_secret_key": lambda: secrets.token_hex(20),
    "metrics_key": lambda: secrets.token_hex(24),
}
# The data was made with these.
FIXED = ("postgres_password", "mongodb_password", "grafana_admin_password", "airflow_fernet_key")
SHORTEST, SHORTEST_KEY = 8, 32
KEYS = ("airflow_jwt_secret", "airflow_secret_key")


def settled(folder: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Give every secret by name; each is a file in `folder`. What `given` names (POSTGRES_PASSWORD, …) is taken over.

    Raises BadVariable, and then none is written.
    """
    check_secrets(folder, given)
    return {name: _kept(folder / name, value) for name, value in _wanted(given).items()}


def check_secrets(folder: Path, given: Mapping[str, str]) -> None:
    """Raise BadVariable for the first secret that is no good, or cannot take the place of the one in `folder`."""
    for name, value in _wanted(given).items():
        if value:
            _check(folder / name, value)


def variable(name: str) -> str:
    """Name the variable that a secret can be given in."""
    return "SERVING_TRAIN_TOKEN" if name == "train_token" else name.upper()


def _wanted(given: Mapping[str, str]) -> dict[str, str]:
    wanted = {name: given.get(variable(name), "") for name in OURS}
    if not own_s3(given):  # then the pair is for another server than ours
        wanted |= dict.fromkeys((name.lower() for name in S3_LOGIN), "")
    return wanted


def _check(path: Path, given: str) -> None:
    name, least = variable(path.name), SHORTEST_KEY if path.name in KEYS else SHORTEST
    if len(given) < least or not given.isascii() or not given.isprintable() or given != given.strip():
        raise BadVariable(f"{name}: expected {least} or more printable ASCII characters in one line")
    if path.name == "train_token" and (fault := key_error(given)):
        raise BadVariable(f"{name}: it {fault}")
    if path.name == "airflow_fernet_key" and not _is_fernet(given):
        raise BadVariable(f"{name}: expected 32 bytes in URL-safe base64, as Fernet.generate_key() makes them")
    if path.name in FIXED and path.exists() and path.read_text(encoding="utf-8") != given:
        raise BadVariable(f"{name}: the data was made with another one; leave it out, or change it in the data first")


def _is_fernet(key: str) -> bool:
    from cryptography.fernet import Fernet

    try:
        Fernet(key)
    except ValueError:
        return False
    return True


def _kept(path: Path, given: str) -> str:
    if given and path.exists() and path.read_text(encoding="utf-8") != given:
        write_private(path, given)
    return once(path, lambda: given or OURS[path.name]())
