"""The Airflow that the environment leads to."""

from __future__ import annotations

import os
from pathlib import Path

from updraft.airflow_client import Airflow
from updraft.errors import UserError


def configured_airflow(*, patient: bool = False) -> Airflow | None:
    """Return the Airflow at AIRFLOW_URL; None where the environment names none, or no password.

    A `patient` client asks again for a while where Airflow is busy or starts anew.
    """
    url, user, password = (os.environ.get(f"AIRFLOW_{word}", "") for word in ("URL", "USER", "PASSWORD"))
    if file := os.environ.get("AIRFLOW_PASSWORD_FILE"):
        password = _read(file)
    if not url or not password:
        return None
    return Airflow.patient(url, user, password) if patient else Airflow(url, user, password)


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UserError(f"AIRFLOW_PASSWORD_FILE: {file}: cannot be read: {why}") from None
