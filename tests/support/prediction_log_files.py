"""What a prediction log has on disk: its spool, its tables and its process; and entries to write."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from serving.prediction_log.records import Entry, new_id

COLUMNS = ["Age", "Gender"]


def entry(rows: int = 1, /, **changes: Any) -> Entry:
    told: dict[str, Any] = {
        "id": new_id(),
        "at": time.time(),
        "use_case": "vehicle_insurance",
        "version": 3,
        "status": 200,
        "seconds": 0.001,
        "columns": COLUMNS,
        "rows": [[20 + row, "Male"] for row in range(rows)],
        "predictions": [row % 2 for row in range(rows)],
        "labels": ["yes" if row % 2 else "no" for row in range(rows)],
        "probabilities": [row / max(rows, 1) for row in range(rows)],
    }
    return Entry(**told | changes)


def ask(folder: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "predictions.sqlite")) as connection:
        return connection.execute(query).fetchall()


def stored(folder: Path) -> list[str]:
    """List the ids of all requests that are in the tables, and hold the tables against each other."""
    ids = [found.hex() for (found,) in ask(folder, "SELECT id FROM requests ORDER BY number")]
    assert ask(folder, "PRAGMA integrity_check") == [("ok",)]
    [(requests, rows)] = ask(folder, "SELECT coalesce(sum(requests), 0), coalesce(sum(rows), 0) FROM totals")
    [(predictions,)] = ask(folder, "SELECT count(*) FROM predictions")
    assert (requests, rows) == (len(ids), predictions)
    answered = "SELECT number FROM requests WHERE kind IS NULL"  # a busy service may have refused others
    assert ask(folder, f"{answered} EXCEPT SELECT request FROM predictions") == []
    return ids


def facts(folder: Path) -> dict[str, int]:
    return dict(ask(folder, "SELECT name, count FROM facts"))


def files(folder: Path) -> list[Path]:
    return sorted((folder / "spool").glob("*.jsonl"))


def ingester(folder: Path) -> psutil.Process | None:
    """Return the process that ingests, if it runs."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "serving.prediction_log" in words and any(f'"folder":"{folder}"' in word for word in words):
            return process
    return None


def leader(folder: Path) -> int | None:
    """Return the worker that has started the process that ingests."""
    try:
        process = ingester(folder)
        return process and process.ppid()
    except psutil.NoSuchProcess:
        return None
