"""What a prediction log has on disk: its spool, its tables and its lock; and entries to write."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

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


def leader(folder: Path) -> int | None:
    """Ask the kernel who holds the ingester's lock."""
    try:
        inode = (folder / "ingester.lock").stat().st_ino
    except FileNotFoundError:
        return None
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None
