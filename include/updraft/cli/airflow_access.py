"""The Airflow that the environment leads to."""

from __future__ import annotations

import os
from pathlib import Path

from updraft.airflow_client import Airflow


def configured_airflow() -> Airflow | None:
    """Return the Airflow at AIRFLOW_URL; None where the environment names none, or no password."""
    url, user, password = (os.environ.get(f"AIRFLOW_{word}", "") for word in ("URL", "USER", "PASSWORD"))
    if file := os.environ.get("AIRFLOW_PASSWORD_FILE"):
        password = Path(file).read_text(encoding="utf-8").strip()
    return Airflow(url, user, password) if url and password else None
